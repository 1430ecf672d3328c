"""The connector piece that writes CLIP's rewards into the episodes."""

import logging
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.env.multi_agent_episode import MultiAgentEpisode
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.connectors.custom_data import GOAL_MAPS
from rllib_vlm_reward.connectors.early_end import end_early
from rllib_vlm_reward.connectors.episodes import Episodes, flat, separate_infos
from rllib_vlm_reward.connectors.failure import Failure
from rllib_vlm_reward.connectors.frame_source import RenderedOnce
from rllib_vlm_reward.connectors.hints import Hints
from rllib_vlm_reward.connectors.known_goals import KnownGoals
from rllib_vlm_reward.connectors.newest import newest
from rllib_vlm_reward.connectors.normalizer import RewardNormalizer
from rllib_vlm_reward.connectors.stream import RewardStream
from rllib_vlm_reward.errors import PoolError, RewardError
from rllib_vlm_reward.monitoring.monitor import RewardMonitor
from rllib_vlm_reward.monitoring.scored_steps import Recorder
from rllib_vlm_reward.serving.service import RewardService, connect_service

__all__ = ["VLMReward", "changed", "differences"]

_LOG = logging.getLogger(__name__)
# Keys of the state: the normaliser's moments, and how often each hint was paid.
_COUNTED = ("moments", "hints")


class _Stepped(NamedTuple):
    """The episodes of one reward in a vector step."""

    rows: list[int]  # the index of each stepped episode's sub-env
    episodes: list[SingleAgentEpisode]
    begun: list[tuple[int, SingleAgentEpisode]]  # new ones, see RewardStream.submit


class VLMReward(ConnectorV2):  # type: ignore[misc]
    """Replaces the env's rewards by CLIP's rewards.

    ``rewards[t]`` scores the observation *after* action t (the paper's o_{t+1}); a reset has no
    reward. The reward is ``pay(score, threshold) + bonus + hints + env_reward_weight *
    env_reward``. In each vector step the piece sends one request to the pool; with different
    rewards for different agents, one for each reward.

    In synchronous mode the piece waits for the scores in each step, so that an early end and the
    policy's map can use them; it passes the maps on in RLlib's ``shared_data``. In deferred mode it
    waits in :meth:`flush`, when the fragment ends and before the fragment leaves the env runner;
    until then a step has the provisional reward ``env_reward_weight * env_reward``.

    In a multi-agent env, an agent's reward scores the next observation of that agent after its
    action, even if the observation comes several steps later.

    Put this piece first in the env-to-module pipeline, because it reads raw observations.

    In a pipeline that was restored to use a trained policy
    (``EnvToModulePipeline.from_checkpoint``) the piece does nothing.

    Args:
        config: the reward of the run.

    Attributes:
        env: the env runner's vector env. It is not a constructor argument because RLlib pickles
            these into checkpoints.
        run: the name under which failures are reported, since several trials may share a pool.
        monitor: on the driver, the monitor of all env runners' rewards; checkpoints contain its
            state. Elsewhere None.
    """

    def __init__(
        self,
        config: VLMRewardConfig,
        input_observation_space: gym.Space[Any] | None = None,
        input_action_space: gym.Space[Any] | None = None,
    ) -> None:
        super().__init__(input_observation_space, input_action_space)
        self.config = config
        self.env: gym.vector.VectorEnv[Any, Any, Any] | None = None
        self.run = ""
        self.monitor: RewardMonitor | None = None
        self._pool_name: str | None = None
        self._pool: RewardService | None = None
        self._restored: dict[str, Any] | None = None  # state from a checkpoint, without a pool
        self._rows: dict[str, int] = {}
        # By agent. None stands for all agents without their own settings, also for a single agent.
        self._streams: dict[str | int | None, RewardStream] = {None: RewardStream(config)}
        for agent in config.agents:
            agent_config = config.for_agent(agent)
            if agent_config is not None:
                self._streams[agent] = RewardStream(agent_config, agent)
        self._encoder: str | None = None
        # Changes when a checkpoint is restored: moments with another epoch are ignored.
        self._epoch = ""
        self._is_restoring = False

    def attach(
        self,
        pool_name: str,
        run: str = "",
        *,
        gamma: float = 0.99,
        weights: Mapping[str, str] | None = None,
        precisions: Mapping[str, str] | None = None,
        evaluates: bool = False,
        runner: int = 0,
    ) -> None:
        """Set the pool that computes the scores, and the run for which it does.

        Args:
            pool_name: Ray name of the pool; the piece connects to it at the first request.
            run: the name under which failures are reported.
            gamma: discount factor, for ``normalize_rewards`` and a bonus that is a potential.
            weights: fingerprint of the weights of each expert's encoder, for checkpoints; without
                experts, of the pool's, under an empty name.
            precisions: the precision that was chosen for each scorer, by :func:`.key_of`.
            evaluates: whether this env runner runs evaluation.
            runner: RLlib's index of this env runner, for alarms about its frames.
        """
        self._pool_name, self.run, self._pool = pool_name, run, None
        self._restored = None
        known = [(weights or {}).get(expert) for expert in self.config.by_expert]
        self._encoder = None if None in known else " ".join(map(str, known))
        for stream in self._streams.values():
            stream.runner = runner
            stream.use_precisions(precisions or {})
            for each in (stream.normalizer, stream.bonus):
                if each is not None:
                    each.gamma = gamma
            stream.evaluate(evaluates)
            if stream.hints is not None:
                stream.hints.novelty.embed = self._embed

    def evaluate(self, evaluates: bool) -> None:
        """Pay as in evaluation from the next episode on, or as in training again."""
        for stream in self._streams.values():
            stream.evaluate(evaluates)

    def follow(self, known: KnownGoals) -> None:
        """Take goals that are added to ``known`` from now on; only without ``agents``."""
        self._streams[None].known = known

    @property
    def pool(self) -> RewardService:
        """What computes the scores: a pool, or those of the experts.

        Raises:
            PoolError: :meth:`attach` was not called, or no pool with this name is running.
        """
        if self._pool is None:
            if self._pool_name is None:
                raise PoolError(
                    "VLMReward: no pool was started for this env runner. Call add_vlm_reward "
                    "after config.callbacks(...), which replaces the callbacks that start it. To "
                    "use a trained policy outside of an env runner, call its pipeline without "
                    "metrics=, or use rllib_vlm_reward.Agent."
                )
            self._pool = connect_service(self._pool_name, self.config, self.run)
        return self._pool

    def _embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        pool: Any = self.pool  # which is no panel's, since hints have one encoder
        embeddings: npt.NDArray[np.float32] = pool.embed_texts(texts)
        return embeddings

    def record(self, recorder: Recorder | None) -> None:
        """Let a recorder store each scored frame; None ends this."""
        for stream in self._streams.values():
            stream.recorder = recorder

    def show_wrong_goals(self, wrong: bool) -> None:
        """Show the policy another goal than the reward's, in new episodes; False ends this."""
        for stream in self._streams.values():
            stream.shows_wrong_goals = wrong

    def show_highlights(self) -> None:
        """Log the highest-scored frames of each fragment, from now on."""
        for stream in self._streams.values():
            stream.show_highlights()

    def __call__(
        self,
        *,
        rl_module: Any,
        batch: dict[str, Any],
        episodes: Episodes,
        explore: bool | None = None,
        shared_data: dict[str, Any] | None = None,
        metrics: MetricsLogger | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Score the episodes that were just stepped; ``episodes[i]`` is that of sub-env i.

        Without a pool, the call is an error in an env runner, which always passes ``metrics``.
        Without ``metrics``, a restored pipeline is used outside of training: nothing is scored.
        """
        if self._pool_name is None and metrics is None:
            return batch
        stepped: dict[RewardStream, _Stepped] = {}
        self._update_rows(episodes)
        separate_infos(episodes)
        for row, stream, episode in self._rewarded(episodes):
            if stream.start(episode):
                stepped.setdefault(stream, _Stepped([], [], [])).begun.append((row, episode))
            if stream.has_stepped(episode):
                rows, agent_episodes, _ = stepped.setdefault(stream, _Stepped([], [], []))
                rows.append(row)
                agent_episodes.append(episode)
        env = None if self.env is None else RenderedOnce(self.env)
        for stream, (rows, agent_episodes, begun) in stepped.items():
            stream.submit(env, self.pool, rows, agent_episodes, begun)
        if self.config.mode == "synchronous":
            for stream, (rows, agent_episodes, _) in stepped.items():
                fired = stream.pay()
                self._report_error(stream)
                if self.config.early_end:
                    assert self.env is not None
                    end_early(self.env, rows, agent_episodes, fired)
        if shared_data is not None:
            shared_data[GOAL_MAPS] = self._streams[None].maps
        self._drop_frames(episodes)
        return batch

    def flush(self, samples: Episodes, ongoing: Episodes, metrics: MetricsLogger) -> None:
        """Finish a fragment: wait for its scores, write its rewards and log its metrics.

        Args:
            samples: the episodes and chunks that are about to leave the env runner.
            ongoing: the episodes that continue in the next fragment.
            metrics: the env runner's logger.

        Raises:
            RewardError: a step of a chunk was not observed.
        """
        leaving, staying = self._by_stream(samples), self._by_stream(ongoing)
        for stream in self._streams.values():
            stream.flush(leaving[stream], staying[stream], metrics)
            self._report_error(stream)

    def get_state(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the settings of the reward, what all env runners counted, and the monitor's state.

        The state must not be empty: Ray 2.60's ``ConnectorPipelineV2.merge_states`` assigns the
        i-th non-empty state to the i-th piece. After a piece with an empty state, a user's piece
        with a state (such as an observation filter) would get the wrong one.

        A piece that was restored without a pool returns the checkpoint's state, so that nothing is
        lost when it is saved again.
        """
        if self._restored is not None:
            return self._restored
        monitor = {} if self.monitor is None else {"monitor": self.monitor.get_state()}
        return self._state() | monitor

    def _state(self) -> dict[str, Any]:
        return {
            "settings": self.config.reward_settings,
            "goals": {
                str(agent): _goals_fingerprint(stream.config)
                for agent, stream in self._streams.items()
            },
            "encoder": self._encoder,
            "precisions": {
                str(agent): stream.rater.precision for agent, stream in self._streams.items()
            },
            "epoch": self._epoch,
            **{
                key: {agent: counted.get_state() for agent, counted in self._counted(key)}
                for key in _COUNTED
            },
        }

    def _counted(self, key: str) -> Iterator[tuple[str, RewardNormalizer | Hints]]:
        """Yield what is counted over all env runners, by agent; ``key`` is that of the state."""
        for agent, stream in self._streams.items():
            counted = stream.normalizer if key == "moments" else stream.hints
            if counted is not None:
                yield str(agent), counted

    def set_state(self, state: dict[str, Any]) -> None:
        """Set what all env runners counted and the monitor's state.

        With ``may_change``, a state of another reward is accepted, but its counts and the
        monitor's state are ignored. On the driver, another choice of ``precision: auto`` is logged.

        Raises:
            RewardError: the state belongs to another reward; the error names the settings that
                differ.
        """
        differs = differences(state, self._state())
        if differs and not self.config.may_change:
            raise RewardError(
                f"checkpoint: got one that was written with another reward ({differs}), expected "
                "the same reward. Restore it with the old settings, or allow the change with "
                "may_change=True."
            )
        epoch = uuid.uuid4().hex if self._is_restoring else state["epoch"]
        for key in _COUNTED:
            for agent, counted in self._counted(key):
                if epoch != self._epoch:
                    counted.clear()
                if not differs:
                    counted.set_state(state.get(key, {}).get(agent, {}))
        self._epoch = epoch
        if self._pool_name is None and not differs:
            self._restored = state
        if self.monitor is not None and "monitor" in state:
            self.monitor.set_state({} if differs else state["monitor"])
            if not differs:
                self._compare_precisions(state.get("precisions", {}))

    def _compare_precisions(self, before: Mapping[str, str | None]) -> None:
        for agent, now in self._state()["precisions"].items():
            was = before.get(agent)
            if None not in (was, now) and was != now:
                _LOG.warning(
                    "checkpoint: the rewards before it were computed in %s, and those from here on "
                    "are computed in %s, since precision: auto is measured whenever training "
                    "begins. Scores change a little. To prevent this, resume on devices like those "
                    "before; for a new run, set serving.precision.",
                    *(was, now),
                )
                return  # one agent's is enough

    def restore_from_path(self, path: Any, **kwargs: Any) -> None:
        """Replace the present state by that of a checkpoint (RLlib's hook)."""
        self._is_restoring = True
        try:
            super().restore_from_path(path, **kwargs)
        finally:
            self._is_restoring = False

    def merge_states(self, states: list[dict[str, Any]]) -> dict[str, Any]:
        """Return this piece's state, with what all env runners counted.

        It is kept here too, for checkpoints: RLlib 2.60 calls this on the driver, and gives the
        merged state of APPO and IMPALA to the env runners only.
        """
        merged = self._state()
        same = [state for state in states if state["epoch"] == self._epoch]
        for key in _COUNTED:
            for agent, counted in self._counted(key):
                found = newest([state[key].get(agent, {}) for state in [merged, *same]])
                counted.set_state(found)
                merged[key][agent] = found
        return merged

    def _rewarded(
        self, episodes: Episodes
    ) -> Iterator[tuple[int, RewardStream, SingleAgentEpisode]]:
        """Yield (index of the sub-env, stream, episode) for each agent that gets a VLM reward."""
        for row, episode in enumerate(episodes):
            if isinstance(episode, SingleAgentEpisode):
                yield row, self._streams[None], episode
                continue
            row = self._rows.get(episode.id_, row)
            for agent, agent_episode in episode.agent_episodes.items():
                if agent in self._streams:
                    yield row, self._streams[agent], agent_episode
                elif agent not in self.config.agents:
                    yield row, self._streams[None], agent_episode

    def _update_rows(self, episodes: Episodes) -> None:
        """Store the index of the sub-env of each multi-agent episode.

        MultiAgentEnvRunner of RLlib 2.60 calls the pipeline twice: first with only the episodes
        that have just ended, then with all that continue, in the order of the sub-envs.
        """
        if episodes and isinstance(episodes[0], MultiAgentEpisode) and not episodes[0].is_done:
            self._rows = {episode.id_: row for row, episode in enumerate(episodes)}

    def _by_stream(self, episodes: Episodes) -> dict[RewardStream, list[SingleAgentEpisode]]:
        found: dict[RewardStream, list[SingleAgentEpisode]]
        found = {stream: [] for stream in self._streams.values()}
        for _, stream, episode in self._rewarded(episodes):
            found[stream].append(episode)
        return found

    def _drop_frames(self, episodes: Episodes) -> None:
        """Remove the frames from the infos, so that RLlib does not copy them to the learner."""
        for episode in flat(episodes):
            stream = self._streams.get(episode.agent_id, self._streams[None])
            for source in stream.sources:
                if source.info_key is not None and episode.infos.data:
                    episode.infos.data[-1].pop(source.info_key, None)

    def _report_error(self, stream: RewardStream) -> None:
        """Report to the pool that the scores of a stream cannot be right.

        The error is not raised here, since RLlib 2.60 would restart the env runner. The driver
        raises it when the iteration ends (:class:`.Sampling`).
        """
        if stream.error:
            Failure(self.run, stream.error, fatal=True).report(lambda: self.pool)
            stream.error = None


def _goals_fingerprint(config: VLMRewardConfig) -> str:
    """Return the fingerprint of the training goals, or of those of each expert."""
    return " ".join(each.training_goals.fingerprint for each in config.by_expert.values())


def changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    """Describe each setting that differs: its old and its new value, by its name.

    Example:
        >>> changed({"head": "softmax", "window": 1}, {"head": "cosine", "window": 1})
        {'head': "head: 'softmax', now 'cosine'"}
    """
    return {
        key: f"{key}: {before.get(key)!r}, now {now.get(key)!r}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    }


def _without_encoders(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings without the names of encoders, also of those of experts.

    Example:
        >>> _without_encoders({"encoder": "", "experts": {"a": {"encoder": "base", "alpha": 1}}})
        {'experts': {'a': {'alpha': 1}}}
    """
    left = {key: value for key, value in settings.items() if key != "encoder"}
    if "experts" in left:
        experts = left["experts"].items()
        left["experts"] = {name: _without_encoders(each) for name, each in experts}
    return left


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Describe how the rewards of two states differ; return "" if they are the same.

    If both states have the fingerprint of the encoder's weights, the fingerprints are compared
    instead of the names.

    Args:
        before: a state, see :meth:`VLMReward.get_state`.
        now: another state.

    Example:
        >>> state = {"settings": {"encoder": "base"}, "goals": {"None": "f1"}, "encoder": None}
        >>> differences(state, {**state, "settings": {"encoder": "small"}})
        "encoder: 'base', now 'small'"
        >>> differences({**state, "encoder": "w1"}, {**state, "encoder": "w2"})
        'the encoder has other weights under the same name'
        >>> differences(state, state)
        ''
    """
    comparable = None not in (before["encoder"], now["encoder"])
    same_weights = comparable and before["encoder"] == now["encoder"]
    names = [before["settings"], now["settings"]]
    if same_weights:
        names = [_without_encoders(settings) for settings in names]
    settings = changed(*names)
    if not settings and comparable and not same_weights:
        return "the encoder has other weights under the same name"
    if not settings and before["goals"] != now["goals"]:
        return "another version of this package drew other negatives"
    return "; ".join(settings.values())
