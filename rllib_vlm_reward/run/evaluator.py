"""How good is a trained agent by ground truth, beside random actions and a goal-blind agent?"""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.core import COMPONENT_ENV_TO_MODULE_CONNECTOR, COMPONENT_RL_MODULE
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils import force_list

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.connectors import custom_data
from rllib_vlm_reward.connectors.pipeline import (
    attach_pieces,
    embedding_piece,
    reward_piece,
    seed_next_reset,
    weights_piece,
)
from rllib_vlm_reward.errors import ConfigError
from rllib_vlm_reward.monitoring.scored_steps import Recorder

__all__ = ["Evaluator", "Moment", "Outcome"]

STEPS = 16  # of each sub-env, between two looks at who has ended


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """Means over a number of episodes.

    Attributes:
        vlm_return_mean: what the VLM paid.
        ground_truth_return_mean: the env's own return.
        ground_truth_success: share of episodes with success at any step; None if the env reports
            none.
        false_positives_per_episode: rewards that fired at a step without success; None if the env
            reports no success or there is no threshold.
        episodes: how many.
    """

    vlm_return_mean: float
    ground_truth_return_mean: float
    ground_truth_success: float | None
    false_positives_per_episode: float | None
    episodes: int


@dataclasses.dataclass(frozen=True, slots=True)
class Moment:
    """One scored frame: uint8 ``[H, W, 3]``, after action ``t`` of its episode, and its info."""

    episode: str
    t: int
    frame: npt.NDArray[np.uint8]
    goal: str
    score: float
    info: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class Evaluator:
    """Plays the algorithm's policy, without exploration, on layouts of other seeds.

    Each call plays the same layouts anew, and counts the first N episodes that begin. The first N
    to end in several sub-envs would be the short ones, which often are the successful ones.

    Args:
        algorithm: a built algorithm with a VLM reward, whose reward actors it shares.
        episodes: how many a call will play. An eighth as many sub-envs play them, at most
            ``num_envs_per_env_runner``. Where failed sub-envs are restarted there is only one,
            since RLlib 2.60 restarts all at once, which would lose the long episodes.

    Raises:
        ConfigError: the algorithm has several agents, see :func:`.evaluate_agents`.
    """

    def __init__(self, algorithm: Algorithm, *, episodes: int = 1) -> None:
        config = algorithm.config.copy(copy_frozen=False)
        if config.is_multi_agent:
            raise ConfigError(
                f"multi_agent: got the policies {sorted(config.policies)}, expected a single agent "
                "to play. `train` evaluates several agents at the end of their run."
            )
        width = max(1, min(config.num_envs_per_env_runner, episodes // 8))
        if config.restart_failed_sub_environments:
            width = 1
        begun: list[str] = []

        # A closure: RLlib 2.60's env runner copies a bound method's object deeply.
        def begin(*, episode: SingleAgentEpisode, **_: Any) -> None:
            begun.append(episode.id_)

        self._begun = begun
        users = force_list(config.callbacks_on_episode_start)
        config.callbacks(on_episode_start=[*users, begin])
        config.env_runners(
            num_envs_per_env_runner=width,
            num_env_runners=0,
            # An episode is cut every STEPS; stacked observations reach back over the cut.
            episode_lookback_horizon=max(config.episode_lookback_horizon, STEPS),
        )
        config.debugging(seed=(algorithm.config.seed or 0) + 1_000_003)
        config.freeze()
        self._algorithm = algorithm
        self._runner = SingleAgentEnvRunner(config=config, worker_index=0)
        piece = reward_piece(algorithm.env_runner)
        attach_pieces(self._runner, piece.pool.name, piece.run, evaluates=True)
        self._reports = False
        self._drawn = weights_piece(self._runner)
        training, known = len(piece.config.training_goals), len(piece.config.goal_set)
        self._training, self._held_out = range(training), range(training, known)

    def close(self) -> None:
        """Close the env."""
        self._runner.stop()

    def trained(self, episodes: int) -> Outcome:
        """Return the outcome of the present policy, with goals of training."""
        self._sync()
        return self._play(episodes)

    def held_out(self, episodes: int) -> Outcome | None:
        """Return the outcome of the present policy with goals held out of training.

        None if there are none, or no curriculum that could have the env pose them.
        """
        if self._drawn is None or not self._held_out:
            return None
        self._sync()
        return self._play(episodes, goals=self._held_out)

    def goal_blind(self, episodes: int, *, held_out: bool = False) -> Outcome | None:
        """Return the outcome of the present policy when it is shown wrong goals.

        None if :class:`.GoalEmbedding` shows it no goal, or if there is only one; with
        ``held_out``, also where :meth:`held_out` is None.
        """
        embedding = embedding_piece(self._runner)
        if embedding is None or len(embedding.config.goal_set) < 2:
            return None
        embedding.shuffle = True
        try:
            return self.held_out(episodes) if held_out else self.trained(episodes)
        finally:
            embedding.shuffle = False

    def random(self, episodes: int) -> Outcome:
        """Return the outcome of uniformly random actions."""
        self._runner.env.action_space.seed(self._runner.config.seed)
        return self._play(episodes, random_actions=True)

    def record(self, episodes: int, *, held_out: bool = False) -> list[Moment]:
        """Return every scored frame of some episodes of the present policy, in order.

        With ``held_out``, of goals held out of training, where :meth:`held_out` is not None.
        """
        assert not held_out or (self._drawn is not None and self._held_out)
        self._sync()
        with self._recording() as recorder:
            played = self._sample(episodes, goals=self._held_out if held_out else None)
        infos = {
            (chunk.id_, t): info
            for chunk in played
            for t, info in enumerate(chunk.get_infos(), chunk.t_started)
        }
        order = {id_: place for place, id_ in enumerate(dict.fromkeys(id_ for id_, _ in infos))}
        seen = [each for each in recorder.frames if each.episode in order]
        seen.sort(key=lambda each: (order[each.episode], each.t))
        return [Moment(*each[:5], infos[each.episode, each.t]) for each in seen]

    def _sync(self) -> None:
        # RLlib syncs the driver's own env runner with the learner after each update.
        parts = [COMPONENT_RL_MODULE, COMPONENT_ENV_TO_MODULE_CONNECTOR]
        self._runner.set_state(self._algorithm.env_runner.get_state(parts))

    def _sample(
        self, episodes: int, *, goals: range | None = None, random_actions: bool = False
    ) -> list[SingleAgentEpisode]:
        """Return the chunks of the first N episodes that begin, in this order, each whole."""
        if self._drawn is not None:
            self._drawn.draw_uniformly(goals or self._training)
        self._begun.clear()
        play = functools.partial(self._runner.sample, explore=False, random_actions=random_actions)
        if self._runner.num_envs == 1:
            chunks = {episode.id_: [episode] for episode in play(num_episodes=episodes)}
        else:
            chunks = {}
            seed_next_reset(self._runner)
            while not self._ended(chunks, episodes):
                for chunk in play(num_timesteps=STEPS * self._runner.num_envs):
                    chunks.setdefault(chunk.id_, []).append(chunk)
            chunks = {id_: chunks[id_] for id_ in self._begun[:episodes]}
        self._runner.get_metrics()  # until then RLlib 2.60 keeps the episodes
        return [chunk for own in chunks.values() for chunk in own]

    def _ended(self, chunks: Mapping[str, Sequence[SingleAgentEpisode]], episodes: int) -> bool:
        ended = {id_ for id_, own in chunks.items() if own[-1].is_done}
        return len(self._begun) >= episodes and ended.issuperset(self._begun[:episodes])

    def _play(
        self, episodes: int, *, goals: range | None = None, random_actions: bool = False
    ) -> Outcome:
        chunks = self._sample(episodes, goals=goals, random_actions=random_actions)
        data = [chunk.custom_data for chunk in chunks if chunk.is_done]
        # An env may report success alone, and failure never.
        self._reports = self._reports or any(custom_data.SUCCESS in each for each in data)
        successes = (
            [float(each.get(custom_data.SUCCESS, False)) for each in data] if self._reports else []
        )
        return Outcome(
            vlm_return_mean=_mean(data, custom_data.VLM_RETURN),
            ground_truth_return_mean=_mean(data, custom_data.ENV_RETURN),
            ground_truth_success=float(np.mean(successes)) if successes else None,
            false_positives_per_episode=_false_positives(chunks, reward_piece(self._runner).config),
            episodes=len(data),
        )

    @contextmanager
    def _recording(self) -> Iterator[Recorder]:
        piece, recorder = reward_piece(self._runner), Recorder()
        piece.record(recorder)
        try:
            yield recorder
        finally:
            piece.record(None)


def _false_positives(chunks: Sequence[SingleAgentEpisode], config: VLMRewardConfig) -> float | None:
    count = 0
    for chunk in chunks:
        infos = chunk.get_infos()[1:]
        if config.threshold_in_force is None or any(
            config.success_key not in info for info in infos
        ):
            return None
        env_rewards = np.array([info[custom_data.ENV_REWARD] for info in infos])
        fired = np.asarray(chunk.get_rewards()) - config.env_reward_weight * env_rewards > 0.5
        count += sum(fired & ~np.array([bool(info[config.success_key]) for info in infos]))
    return float(count / len({chunk.id_ for chunk in chunks}))


def _mean(data: list[dict[str, Any]], key: str) -> float:
    return float(np.mean([each[key] for each in data]))
