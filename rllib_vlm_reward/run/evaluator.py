"""Evaluates a trained agent by ground truth, and compares random actions and a goal-blind agent."""

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
from rllib_vlm_reward.connectors.callbacks import callbacks_of
from rllib_vlm_reward.connectors.goal_embedding import shown
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

STEPS = 16  # number of steps of each sub-env between two checks of which episodes have ended


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """Means over a number of episodes.

    Attributes:
        vlm_return_mean: the mean VLM return.
        ground_truth_return_mean: the mean return of the env's own rewards.
        ground_truth_success: share of the episodes with a success at any step; None if the env
            reports no success.
        false_positives_per_episode: mean number of steps in an episode whose reward fired without
            a success; None if the env reports no success or the reward has no threshold.
        episodes: number of episodes.
    """

    vlm_return_mean: float
    ground_truth_return_mean: float
    ground_truth_success: float | None
    false_positives_per_episode: float | None
    episodes: int


@dataclasses.dataclass(frozen=True, slots=True)
class Moment:
    """A frame and its info.

    Attributes:
        episode: id of the episode.
        t: the number of the action in its episode, from 1; the frame shows the state after it.
        frame: uint8 ``[H, W, 3]``.
        goal: text of the goal.
        score: the score of this frame, without a window; None if the frame was not scored.
        success: whether the step is a success; None if the env has no ground truth.
        info: the env's info of the step.
        goal_map: where the goal is in the frame, float32 ``[h, w, 1]``; None without ``goal_map``.
    """

    episode: str
    t: int
    frame: npt.NDArray[np.uint8]
    goal: str
    score: float | None
    success: bool | None = None
    info: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    goal_map: npt.NDArray[np.float32] | None = None


class Evaluator:
    """Plays the algorithm's policy in other layouts than those of training.

    It plays without exploration, unless the ``evaluation_config`` of RLlib's configuration sets
    ``explore: true``. Every call plays the same layouts, and counts the first N episodes that
    begin. (With several sub-envs, the first N that *end* would be the short ones, which are
    successful more often.)

    Args:
        algorithm: a built algorithm with a VLM reward. The evaluator uses its reward actors.
        episodes: number of episodes that a call will play. The evaluator has one sub-env for eight
            episodes, and at most ``num_envs_per_env_runner``. With
            ``restart_failed_sub_environments`` it has only one, because RLlib 2.60 restarts all
            sub-envs together, which would lose the long episodes.

    Raises:
        ConfigError: the algorithm has several agents; see :func:`.evaluate_agents`.
    """

    def __init__(self, algorithm: Algorithm, *, episodes: int = 1) -> None:
        config = algorithm.config.copy(copy_frozen=False)
        if config.is_multi_agent:
            raise ConfigError(
                f"multi_agent: got the policies {sorted(config.policies)}, expected a single "
                "agent. To evaluate several agents, use `train`, which does it at the end of a run."
            )
        width = max(1, min(config.num_envs_per_env_runner, episodes // 8))
        if config.restart_failed_sub_environments:
            width = 1
        begun: list[str] = []

        # A closure, since RLlib 2.60's env runner would deep-copy the object of a bound method.
        def begin(*, episode: SingleAgentEpisode, **_: Any) -> None:
            begun.append(episode.id_)

        self._begun = begun
        users = force_list(config.callbacks_on_episode_start)
        config.callbacks(on_episode_start=[*users, begin])
        config.env_runners(
            num_envs_per_env_runner=width,
            num_env_runners=0,
            # Each episode is cut after every STEPS steps, and stacked frames need the steps before.
            episode_lookback_horizon=max(config.episode_lookback_horizon, STEPS),
        )
        config.debugging(seed=(algorithm.config.seed or 0) + 1_000_003)
        config.freeze()
        self._algorithm = algorithm
        self._explore = bool((config.evaluation_config or {}).get("explore", False))
        self._runner = SingleAgentEnvRunner(config=config, worker_index=0)
        piece = reward_piece(algorithm.env_runner)
        precisions = callbacks_of(algorithm).precisions
        attach_pieces(
            self._runner, piece.pool.name, piece.run, precisions=precisions, evaluates=True
        )
        self._reports_success = False
        self._weights = weights_piece(self._runner)
        training, total = len(piece.config.training_goals), len(piece.config.goal_set)
        self._training, self._held_out = range(training), range(training, total)

    def close(self) -> None:
        """Close the env."""
        self._runner.stop()

    def trained(self, episodes: int) -> Outcome:
        """Return the outcome of the present policy with the training goals."""
        self._sync()
        return self._play(episodes)

    def held_out(self, episodes: int) -> Outcome | None:
        """Return the outcome of the present policy with the held-out goals.

        The result is None if there are no held-out goals, or no curriculum, which is needed to set
        the env's goals.
        """
        if self._weights is None or not self._held_out:
            return None
        self._sync()
        return self._play(episodes, goals=self._held_out)

    def goal_blind(self, episodes: int, *, held_out: bool = False) -> Outcome | None:
        """Return the outcome of the present policy when it is shown wrong goals.

        The result is None without :class:`.GoalEmbedding`, or with a single goal; with
        ``held_out``, also if :meth:`held_out` returns None.
        """
        embedding = embedding_piece(self._runner)
        if embedding is None or len(embedding.config.goal_set) < 2:
            return None
        piece = reward_piece(self._runner)
        piece.show_wrong_goals(True)
        try:
            return self.held_out(episodes) if held_out else self.trained(episodes)
        finally:
            piece.show_wrong_goals(False)

    def random(self, episodes: int) -> Outcome:
        """Return the outcome of uniformly random actions."""
        self._runner.env.action_space.seed(self._runner.config.seed)
        return self._play(episodes, random_actions=True)

    def record(self, episodes: int, *, held_out: bool = False) -> list[Moment]:
        """Play episodes with the present policy, and return all scored frames in order.

        Args:
            episodes: number of episodes.
            held_out: play with the held-out goals. Only if :meth:`held_out` does not return None.
        """
        assert not held_out or (self._weights is not None and self._held_out)
        self._sync()
        with self._recording() as recorder:
            played = self._sample(episodes, goals=self._held_out if held_out else None)
        infos = {
            (chunk.id_, t): info
            for chunk in played
            for t, info in enumerate(chunk.get_infos(), chunk.t_started)
        }
        maps = _maps(played)
        order = {id_: place for place, id_ in enumerate(dict.fromkeys(id_ for id_, _ in infos))}
        frames = [frame for frame in recorder.frames if frame.episode in order]
        frames.sort(key=lambda frame: (order[frame.episode], frame.t))
        places = [(frame.episode, frame.t) for frame in frames]
        return [
            Moment(*frame, infos[place], maps[place])
            for frame, place in zip(frames, places, strict=True)
        ]

    def _sync(self) -> None:
        # RLlib synchronises the driver's env runner with the learner after each update.
        parts = [COMPONENT_RL_MODULE, COMPONENT_ENV_TO_MODULE_CONNECTOR]
        self._runner.set_state(self._algorithm.env_runner.get_state(parts))

    def _sample(
        self, episodes: int, *, goals: range | None = None, random_actions: bool = False
    ) -> list[SingleAgentEpisode]:
        """Play until the first N episodes that begin have ended; return their chunks in order."""
        if self._weights is not None:
            self._weights.draw_uniformly(goals or self._training)
        self._begun.clear()
        play = functools.partial(
            self._runner.sample, explore=self._explore, random_actions=random_actions
        )
        if self._runner.num_envs == 1:
            chunks = {episode.id_: [episode] for episode in play(num_episodes=episodes)}
        else:
            chunks = {}
            seed_next_reset(self._runner)
            while not self._ended(chunks, episodes):
                for chunk in play(num_timesteps=STEPS * self._runner.num_envs):
                    chunks.setdefault(chunk.id_, []).append(chunk)
            chunks = {id_: chunks[id_] for id_ in self._begun[:episodes]}
        self._runner.get_metrics()  # RLlib 2.60 does not release the episodes before this call
        return [chunk for parts in chunks.values() for chunk in parts]

    def _ended(self, chunks: Mapping[str, Sequence[SingleAgentEpisode]], episodes: int) -> bool:
        ended = {id_ for id_, parts in chunks.items() if parts[-1].is_done}
        return len(self._begun) >= episodes and ended.issuperset(self._begun[:episodes])

    def _play(
        self, episodes: int, *, goals: range | None = None, random_actions: bool = False
    ) -> Outcome:
        chunks = self._sample(episodes, goals=goals, random_actions=random_actions)
        data = [chunk.custom_data for chunk in chunks if chunk.is_done]
        # Some envs report only success and never failure, so one report is enough.
        if any(custom_data.SUCCESS in each for each in data):
            self._reports_success = True
        successes: list[float] = []
        if self._reports_success:
            successes = [float(each.get(custom_data.SUCCESS, False)) for each in data]
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


def _maps(played: Sequence[SingleAgentEpisode]) -> dict[tuple[str, int], Any]:
    """Return the maps that the policy saw, or None, by id of the episode and step."""
    return {
        (chunk.id_, chunk.t_started + step): shown(chunk.get_observations(step)).get("map")
        for chunk in played
        for step in range(len(chunk) + 1)
    }


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
