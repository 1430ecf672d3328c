"""The connector piece that writes CLIP's rewards into the episodes."""

import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import gymnasium as gym
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.env.multi_agent_episode import MultiAgentEpisode
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.connectors.collector import RenderedOnce
from rllib_vlm_reward.connectors.early_end import end_early
from rllib_vlm_reward.connectors.episodes import Episodes, flat, separate_infos
from rllib_vlm_reward.connectors.failure import reported
from rllib_vlm_reward.connectors.stream import RewardStream
from rllib_vlm_reward.errors import PoolError, RewardError
from rllib_vlm_reward.monitoring.monitor import RewardMonitor
from rllib_vlm_reward.monitoring.scored_steps import Recorder
from rllib_vlm_reward.serving.pool import RewardPool

__all__ = ["VLMReward", "changed", "differences"]


class VLMReward(ConnectorV2):  # type: ignore[misc]
    """Replaces the env's rewards by CLIP's, one request a vector step and reward.

    ``rewards[t]`` scores the observation *after* action t (the paper's o_{t+1}); a reset pays
    nothing. The reward is ``pay(score, threshold) + env_reward_weight * env_reward``.

    Synchronous mode reads the scores at once, so that an early end can act on them. Deferred
    mode reads the same futures in :meth:`flush`, when the fragment ends and before anything of
    it leaves the env runner; until then a step's reward is what is known of it,
    ``env_reward_weight * env_reward``.

    In a multi-agent env each agent is rewarded for the observation that follows its own action,
    whenever that comes.

    It must come first in the env-to-module pipeline: it reads raw observations.

    Args:
        config: what the reward is.

    Attributes:
        env: the env runner's vector env. Not a constructor argument, because RLlib pickles these
            into checkpoints.
        run: the name under which failures are reported; trials may share a pool.
        monitor: in the driver's piece, the monitor of all env runners' rewards, whose state
            checkpoints hold.
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
        self._pool: RewardPool | None = None
        self._rows: dict[str, int] = {}
        # By agent; None stands for those without other settings, so for a single agent.
        self._streams: dict[str | int | None, RewardStream] = {None: RewardStream(config)}
        for agent in config.agents:
            changed_config = config.for_agent(agent)
            if changed_config is not None:
                self._streams[agent] = RewardStream(changed_config, agent)
        self._encoder: str | None = None
        # Drawn anew when a checkpoint is restored: what env runners knew before it counts no more.
        self._epoch = ""
        self._restores = False

    def attach(
        self,
        pool_name: str,
        run: str = "",
        *,
        gamma: float = 0.99,
        encoder: str | None = None,
        evaluates: bool = False,
    ) -> None:
        """Name the pool that scores, looked up at the first request, and the run it is for.

        Args:
            pool_name: Ray name of the pool.
            run: the name under which failures are reported.
            gamma: discount factor, for ``normalize_rewards``.
            encoder: fingerprint of the pool's weights, for checkpoints.
            evaluates: whether this env runner's episodes are not for training.
        """
        self._pool_name, self.run, self._pool = pool_name, run, None
        self._encoder = encoder
        for stream in self._streams.values():
            if stream.normalizer is not None:
                stream.normalizer.gamma = gamma
            if evaluates:
                stream.evaluate()

    @property
    def pool(self) -> RewardPool:
        """The pool that scores.

        Raises:
            PoolError: no pool was named, or none of that name can be found.
        """
        if self._pool is None:
            if self._pool_name is None:
                raise PoolError(
                    "VLMReward: no pool was started for this env runner. Call add_vlm_reward "
                    "after config.callbacks(...), which replaces the callbacks that start it."
                )
            self._pool = RewardPool.connect(self._pool_name, self.config, self.run)
        return self._pool

    def record(self, recorder: Recorder | None) -> None:
        """Let a recorder keep each scored frame; with None no longer."""
        for stream in self._streams.values():
            stream.recorder = recorder

    def show_highlights(self) -> None:
        """Log each fragment's highest-scored frames, from now on."""
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
        """Score the episodes that were just stepped; ``episodes[i]`` is sub-env i."""
        with reported(lambda: self.pool, self.run):
            stepped: dict[RewardStream, tuple[list[int], list[SingleAgentEpisode]]] = {}
            self._note_rows(episodes)
            separate_infos(episodes)
            for row, stream, episode in self._each(episodes):
                stream.start(episode)
                if stream.has_stepped(episode):
                    rows, ones = stepped.setdefault(stream, ([], []))
                    rows.append(row)
                    ones.append(episode)
            env = None if self.env is None else RenderedOnce(self.env)
            for stream, (rows, ones) in stepped.items():
                stream.ask(env, self.pool, rows, ones)
            if self.config.mode == "synchronous":
                for stream, (rows, ones) in stepped.items():
                    fired = stream.pay()
                    self._complain(stream)
                    if self.config.early_end:
                        assert self.env is not None
                        end_early(self.env, rows, ones, fired)
            self._drop_frames(episodes)
        return batch

    def flush(self, samples: Episodes, ongoing: Episodes, metrics: MetricsLogger) -> None:
        """Finish a fragment: read what is still under way, and see :meth:`.Ledger.close`.

        Args:
            samples: the episodes and chunks about to leave the env runner.
            ongoing: the episodes that go on in the next fragment.
            metrics: the env runner's logger.
        """
        with reported(lambda: self.pool, self.run):
            leaving, staying = self._by_stream(samples), self._by_stream(ongoing)
            for stream in self._streams.values():
                stream.flush(leaving[stream], staying[stream], metrics)
                self._complain(stream)

    def get_state(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return what the rewards depend on, the moments of normalised ones, the monitor's state.

        Never empty: Ray 2.60's ``ConnectorPipelineV2.merge_states`` takes the i-th non-empty state
        for the i-th piece's, so a user's stateful piece (an observation filter) must not follow
        one without state.
        """
        monitor = {} if self.monitor is None else {"monitor": self.monitor.get_state()}
        return self._state() | monitor

    def _state(self) -> dict[str, Any]:
        return {
            "settings": self.config.reward_settings,
            "goals": {
                str(agent): stream.config.training_goals.fingerprint
                for agent, stream in self._streams.items()
            },
            "encoder": self._encoder,
            "epoch": self._epoch,
            "moments": {
                str(agent): stream.normalizer.get_state()
                for agent, stream in self._streams.items()
                if stream.normalizer is not None
            },
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Take over the monitor's state and the moments, unless they are of other rewards.

        Raises:
            RewardError: the state is that of another reward; it names the settings that differ.
        """
        differs = differences(state, self._state())
        if differs and not self.config.may_change:
            raise RewardError(
                f"checkpoint: it was written with another reward ({differs}), expected the same. "
                "Restore with those settings, or allow the change with may_change=True."
            )
        epoch = uuid.uuid4().hex if self._restores else state["epoch"]
        for agent, stream in self._streams.items():
            if stream.normalizer is None:
                continue
            if epoch != self._epoch:
                stream.normalizer.clear()
            if not differs:
                stream.normalizer.set_state(state["moments"].get(str(agent), {}))
        self._epoch = epoch
        if self.monitor is not None and "monitor" in state:
            self.monitor.set_state({} if differs else state["monitor"])

    def restore_from_path(self, path: Any, **kwargs: Any) -> None:
        """Take over a checkpoint's state in place of all that was known (RLlib's hook)."""
        self._restores = True
        try:
            super().restore_from_path(path, **kwargs)
        finally:
            self._restores = False

    def merge_states(self, states: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the state that knows what each of the env runners' states knows."""
        merged = self._state()
        for agent, stream in self._streams.items():
            if stream.normalizer is not None:
                same = [state for state in states if state["epoch"] == self._epoch]
                known = [state["moments"][str(agent)] for state in [merged, *same]]
                merged["moments"][str(agent)] = stream.normalizer.merge_states(known)
        return merged

    def _each(self, episodes: Episodes) -> Iterator[tuple[int, RewardStream, SingleAgentEpisode]]:
        """Yield each rewarded agent's episode with its sub-env and its stream."""
        for row, episode in enumerate(episodes):
            if isinstance(episode, SingleAgentEpisode):
                yield row, self._streams[None], episode
                continue
            row = self._rows.get(episode.id_, row)
            for agent, one in episode.agent_episodes.items():
                if agent in self._streams:
                    yield row, self._streams[agent], one
                elif agent not in self.config.agents:
                    yield row, self._streams[None], one

    def _note_rows(self, episodes: Episodes) -> None:
        """Note the sub-envs of multi-agent episodes.

        MultiAgentEnvRunner of RLlib 2.60 calls the pipeline with all that go on, in the order of
        the sub-envs, and before that with those that have just ended alone.
        """
        if episodes and isinstance(episodes[0], MultiAgentEpisode) and not episodes[0].is_done:
            self._rows = {episode.id_: row for row, episode in enumerate(episodes)}

    def _by_stream(self, episodes: Episodes) -> dict[RewardStream, list[SingleAgentEpisode]]:
        found: dict[RewardStream, list[SingleAgentEpisode]]
        found = {stream: [] for stream in self._streams.values()}
        for _, stream, episode in self._each(episodes):
            found[stream].append(episode)
        return found

    def _drop_frames(self, episodes: Episodes) -> None:
        """Pop the frames from the infos, or each would be copied into learner and replay."""
        for episode in flat(episodes):
            stream = self._streams.get(episode.agent_id, self._streams[None])
            if stream.source.info_key is not None and episode.infos.data:
                episode.infos.data[-1].pop(stream.source.info_key, None)

    def _complain(self, stream: RewardStream) -> None:
        """Report scores that cannot be right.

        Not raised here: RLlib 2.60 would wait a minute and restart the env runner. The driver
        raises it when the iteration ends (VLMRewardCallbacks).
        """
        if stream.complaint:
            self.pool.report_failure(f"{self.run}: {stream.complaint}")
            stream.complaint = None


def changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    """Return for each setting that differs what it was and is.

    Example:
        >>> changed({"head": "softmax", "window": 1}, {"head": "cosine", "window": 1})
        {'head': "head: 'softmax', now 'cosine'"}
    """
    return {
        key: f"{key}: {before.get(key)!r}, now {now.get(key)!r}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    }


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Say what differs between two states of a reward; nothing if they are of the same.

    Weights are compared by their fingerprints, where both are known, and not by their names.

    Args:
        before: see :meth:`VLMReward.get_state`.
        now: another.

    Example:
        >>> state = {"settings": {"encoder": "base"}, "goals": {"None": "f1"}, "encoder": None}
        >>> differences(state, {**state, "settings": {"encoder": "small"}})
        "encoder: 'base', now 'small'"
        >>> differences({**state, "encoder": "w1"}, {**state, "encoder": "w2"})
        'the encoder has other weights under the same name'
        >>> differences(state, state)
        ''
    """
    known = None not in (before["encoder"], now["encoder"])
    same_weights = known and before["encoder"] == now["encoder"]
    settings = changed(before["settings"], now["settings"])
    if same_weights:
        settings.pop("encoder", None)
    if not settings and known and not same_weights:
        return "the encoder has other weights under the same name"
    if not settings and before["goals"] != now["goals"]:
        return "other negatives were drawn, by another version"
    return "; ".join(settings.values())
