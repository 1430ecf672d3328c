"""The connector piece that writes CLIP's judgement into the episodes."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.connectors.collector import collect_frames, find_goal
from rllib_vlm_reward.connectors.constancy import ConstancyCheck
from rllib_vlm_reward.connectors.failure import reported
from rllib_vlm_reward.connectors.ledger import Ledger
from rllib_vlm_reward.connectors.totals import keep_ground_truth
from rllib_vlm_reward.errors import PoolError
from rllib_vlm_reward.frames import Frames
from rllib_vlm_reward.reward_model.scorer import Scorer, pay
from rllib_vlm_reward.serving.pool import PendingScores, RewardPool

__all__ = ["VLMReward"]


@dataclasses.dataclass(frozen=True, slots=True)
class _Request:
    """One vector step under way: B stepped episodes and their scores to come."""

    rows: list[int]
    episodes: list[SingleAgentEpisode]
    pending: PendingScores
    frames: Frames | None  # kept for the recorder alone


class VLMReward(ConnectorV2):  # type: ignore[misc]
    """Replaces the env's rewards by CLIP's, one request a vector step.

    ``rewards[t]`` judges the observation *after* action t (the paper's o_{t+1}); a reset pays
    nothing. The reward is ``pay(score, threshold) + env_reward_weight * env_reward``.

    Synchronous mode reads the scores at once, so that an early end can act on them. Deferred
    mode reads the same futures in :meth:`flush`, when the fragment ends and before anything of
    it leaves the env runner; until then the episodes hold the env's rewards.

    It must come first in the env-to-module pipeline: it reads raw observations.

    Attributes:
        env: the env runner's vector env. Not a constructor argument, because RLlib pickles these
            into checkpoints.
        recorder: when a list, each scored frame is appended to it as ``(episode id, t, frame,
            goal text, score)``, where t counts the actions of the episode, from 1.
        run: in whose name failures are reported; trials may share a pool.
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
        self.recorder: list[tuple[str, int, Frames, str, float]] | None = None
        self.run = ""
        self._scorer = Scorer.from_config(config)
        self._pool_name: str | None = None
        self._pool: RewardPool | None = None
        self._requests: list[_Request] = []
        self._ledger = Ledger(config)
        self._constancy = ConstancyCheck(may_be_constant=config.head == "dense")

    def attach(self, pool_name: str, run: str = "") -> None:
        """Name the pool that scores, looked up at the first request, and the run it is for."""
        self._pool_name, self.run, self._pool = pool_name, run, None

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
            self._pool = RewardPool.connect(self._pool_name, self.config)
        return self._pool

    def __call__(
        self,
        *,
        rl_module: Any,
        batch: dict[str, Any],
        episodes: list[SingleAgentEpisode],
        explore: bool | None = None,
        shared_data: dict[str, Any] | None = None,
        metrics: MetricsLogger | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Score the episodes that were just stepped; ``episodes[i]`` is sub-env i."""
        with reported(lambda: self.pool, self.run):
            for episode in episodes:
                self._start(episode)
            # An episode of length 0 was just reset: there is no action to reward.
            rows = [row for row, episode in enumerate(episodes) if len(episode)]
            if rows:
                self._score(rows, [episodes[row] for row in rows])
            self._drop_frames(episodes)
        return batch

    def flush(
        self,
        samples: Sequence[SingleAgentEpisode],
        ongoing: Sequence[SingleAgentEpisode],
        metrics: MetricsLogger,
    ) -> None:
        """Finish a fragment: read what is still under way, and see :meth:`.Ledger.close`."""
        with reported(lambda: self.pool, self.run):
            for request in self._requests:
                self._read(request)
            self._requests.clear()
            self._ledger.close(samples, ongoing, metrics)

    def get_state(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the fingerprint of the goals and head.

        Not empty on purpose: Ray 2.60's ``ConnectorPipelineV2.merge_states`` takes the i-th
        non-empty state for the i-th piece's, so a user's stateful piece (an observation filter)
        must not follow one without state.
        """
        return {"scorer": self._scorer.fingerprint}

    def set_state(self, state: dict[str, Any]) -> None:
        """Do nothing: the configuration, which is in the checkpoint too, says it all."""

    def merge_states(self, states: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the state that all pieces share."""
        return states[0]

    def _start(self, episode: SingleAgentEpisode) -> None:
        if "goal_index" not in episode.custom_data:
            observation, info = episode.get_observations(-1), episode.get_infos(-1)
            episode.custom_data["goal_index"] = find_goal(
                self.config.goal_source, self._scorer.goals, observation, info
            )

    def _score(self, rows: list[int], episodes: list[SingleAgentEpisode]) -> None:
        assert self.env is not None
        frames = collect_frames(
            self.config.frame_source,
            self.env,
            rows,
            [episode.get_observations(-1) for episode in episodes],
            [episode.get_infos(-1) for episode in episodes],
        )
        for episode in episodes:
            keep_ground_truth(episode, self.config.success_key)
        self._constancy.see_frames(frames)
        goals = np.array([episode.custom_data["goal_index"] for episode in episodes], np.int64)
        pending = self.pool.submit(frames, goals, self._scorer)
        request = _Request(rows, episodes, pending, frames if self.recorder is not None else None)
        if self.config.mode == "deferred":
            self._requests.append(request)
            return
        scores = self._read(request)
        self._ledger.pay_last_steps(episodes, scores)
        if self.config.early_end:
            self._end_early(request, pay(scores, self.config.threshold) > 0)

    def _read(self, request: _Request) -> npt.NDArray[np.float32]:
        scores = request.pending.result()
        constant = self._constancy.see_scores(scores)
        if constant:
            # Not raised here: RLlib 2.60 would wait a minute and restart the env runner. The
            # driver raises it when the iteration ends (VLMRewardCallbacks).
            self._report(constant)
        steps = self._ledger.enter(request.episodes, scores)
        if self.recorder is not None and request.frames is not None:
            for episode, t, frame, score in zip(
                request.episodes, steps, request.frames, scores.tolist(), strict=True
            ):
                goal = self._scorer.goals[episode.custom_data["goal_index"]].text
                self.recorder.append((episode.id_, t, frame, goal, score))
        return scores

    def _end_early(self, request: _Request, fired: npt.NDArray[np.bool_]) -> None:
        """End the episodes that fired; setting is_terminated alone would corrupt the data."""
        if not fired.any():
            return
        assert self.env is not None
        reset = [False] * self.env.num_envs
        for row, episode, end in zip(request.rows, request.episodes, fired, strict=True):
            if end:
                reset[row] = not episode.is_done  # an env that ended by itself resets by itself
                episode.is_terminated = True
        self.env.unwrapped.set_attr("external_reset", reset)

    def _drop_frames(self, episodes: list[SingleAgentEpisode]) -> None:
        """Pop the frames from the infos, or each would be copied into learner and replay."""
        kind, _, key = self.config.frame_source.partition(":")
        if kind == "info":
            for episode in episodes:
                episode.get_infos(-1).pop(key, None)

    def _report(self, text: str) -> None:
        self.pool.report_failure(f"{self.run}: {text}")
