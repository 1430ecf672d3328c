"""The rewards of the episodes that share a configuration: of all, or of one agent's."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.connectors.collector import RenderedOnce, collect_frames, episode_goal
from rllib_vlm_reward.connectors.constancy import ConstancyCheck
from rllib_vlm_reward.connectors.economy import FrameEconomy
from rllib_vlm_reward.connectors.highlights import Highlight, Highlights
from rllib_vlm_reward.connectors.ledger import Ledger, Score
from rllib_vlm_reward.connectors.normalizer import RewardNormalizer
from rllib_vlm_reward.connectors.totals import keep_ground_truth
from rllib_vlm_reward.connectors.watch import log_digest, log_highlights
from rllib_vlm_reward.frames import Frames
from rllib_vlm_reward.reward_model.scorer import Scorer
from rllib_vlm_reward.serving import PendingScores, RewardPool

__all__ = ["Record", "RewardStream"]

# (episode id, t, frame, goal text, score); t counts the episode's actions, from 1.
Record = list[tuple[str, int, Frames, str, float]]


@dataclasses.dataclass(frozen=True, slots=True)
class _Request:
    """One vector step under way: B stepped episodes, of which some are to be scored."""

    episodes: list[SingleAgentEpisode]
    dones: list[bool]
    truths: list[bool | None]
    scores: list[Score]  # 0.0 where one is to come
    coming: list[int]  # positions of the scores to come
    pending: PendingScores | None
    frames: Frames | None  # of the scores to come, for the recorder
    small: list[Frames] | None  # and for the highlights


class RewardStream:
    """Scores the steps of episodes, and pays them at once or when the fragment ends.

    Args:
        config: what the reward is.
        agent: whose own reward it is; None for those without.

    Attributes:
        config: what the reward is.
        recorder: when a list, each scored frame is appended to it.
        complaint: why its scores cannot be right, once that is known.
        scorer: the goals and the head.
        info_key: where the frames are in the infos, if they are.
    """

    def __init__(self, config: VLMRewardConfig, agent: str | int | None = None) -> None:
        self.config, self._agent = config, agent
        kind, _, key = config.frame_source.partition(":")
        self.info_key = key if kind == "info" else None
        self.scorer = Scorer.from_config(config)
        self.recorder: Record | None = None
        self._highlights: Highlights | None = None
        self.complaint: str | None = None
        self.normalizer = RewardNormalizer() if config.normalize_rewards else None
        self._ledger = Ledger(config, self.normalizer)
        self._economy = FrameEconomy(config.scored_steps)
        self._constancy = ConstancyCheck(may_be_constant=config.head == "dense")
        self._requests: list[_Request] = []
        self._known: dict[str, dict[str, Any]] = {}
        self._evaluates = False

    def evaluate(self) -> None:
        """Accept held-out goals, and pay rewards that are not normalised."""
        self._evaluates = True
        self._ledger = Ledger(self.config, None)

    def show_highlights(self) -> None:
        """Log each fragment's highest-scored frames, from now on."""
        self._highlights = Highlights()

    def start(self, episode: SingleAgentEpisode) -> None:
        """Find the goal of an episode that is seen for the first time."""
        if "goal_index" in episode.custom_data:
            return
        if episode.id_ in self._known:
            # MultiAgentEpisode.cut() of RLlib 2.60 drops its agents' custom_data.
            episode.custom_data.update(self._known[episode.id_])
            return
        episode.custom_data["goal_index"] = episode_goal(
            self.config,
            episode.get_observations(-1),
            episode.get_infos(-1),
            evaluation=self._evaluates,
        )
        self._known[episode.id_] = dict(episode.custom_data)

    def has_stepped(self, episode: SingleAgentEpisode) -> bool:
        """Return whether an episode has a step that was not seen yet; a reset is none."""
        return len(episode) > self._ledger.held(episode)

    def ask(
        self,
        env: RenderedOnce | None,
        pool: RewardPool,
        rows: Sequence[int],
        episodes: list[SingleAgentEpisode],
    ) -> None:
        """Have the last step of B episodes scored.

        Args:
            env: the vector env, for the frame source ``render``.
            pool: asked for the scores.
            rows: of each episode, the sub-env.
            episodes: that were just stepped.
        """
        truths = [keep_ground_truth(episode, self.config.success_key) for episode in episodes]
        self._ledger.hold(episodes)
        self._requests.append(self._request(env, pool, rows, episodes, truths))

    def pay(self) -> npt.NDArray[np.bool_]:
        """Read what was just asked for, and write the rewards.

        Returns:
            bool ``[B]``: which rewards fired.
        """
        request = self._requests.pop()
        paid = self._read(request)
        self._ledger.pay_last_steps(request.episodes)
        return paid > 0

    def flush(
        self,
        samples: Sequence[SingleAgentEpisode],
        ongoing: Sequence[SingleAgentEpisode],
        metrics: MetricsLogger,
    ) -> None:
        """Finish a fragment: read what is still under way, and see :meth:`.Ledger.close`."""
        for request in self._requests:
            self._read(request)
        self._requests.clear()
        digest = self._ledger.close(samples, ongoing, metrics)
        if self.config.alarms != "off" and not self._evaluates:
            log_digest(metrics, self._agent, digest)
        if self._highlights is not None:
            log_highlights(metrics, self._highlights.take())
        ids = {episode.id_ for episode in ongoing}
        self._known.update({chunk.id_: dict(chunk.custom_data) for chunk in samples})
        self._known = {id_: data for id_, data in self._known.items() if id_ in ids}
        self._economy.forget(but=ids)
        if self.normalizer is not None:
            self.normalizer.forget(but=ids)

    def _request(
        self,
        env: RenderedOnce | None,
        pool: RewardPool,
        rows: Sequence[int],
        episodes: list[SingleAgentEpisode],
        truths: list[bool | None],
    ) -> _Request:
        scores: list[Score] = [None] * len(episodes)
        dones = [bool(episode.is_done) for episode in episodes]
        wanted = [i for i, episode in enumerate(episodes) if self._economy.wants(episode)]
        unasked = _Request(episodes, dones, truths, scores, [], None, None, None)
        if not wanted:
            return unasked
        source, looked_at = self.config.frame_source, [episodes[i] for i in wanted]
        frames = collect_frames(
            source,
            env,
            [rows[i] for i in wanted],
            [it.get_observations(-1) for it in looked_at] if source.startswith("obs") else [],
            [it.get_infos(-1) for it in looked_at] if source.startswith("info") else [],
        )
        same = self._economy.unchanged(looked_at, frames)
        for i, unchanged in zip(wanted, same, strict=True):
            scores[i] = "repeat" if unchanged else 0.0
        coming = [i for i in wanted if scores[i] != "repeat"]
        if not coming:
            return unasked
        if len(coming) < len(wanted):
            frames = [frame for frame, unchanged in zip(frames, same, strict=True) if not unchanged]
        self._constancy.see_frames(frames)
        goals = np.array([episodes[i].custom_data["goal_index"] for i in coming], np.int64)
        pending = pool.submit(frames, goals, self.scorer, checked=True)
        kept = np.stack(frames) if self.recorder is not None else None
        small = self._highlights.keep(frames) if self._highlights is not None else None
        return dataclasses.replace(
            unasked, coming=coming, pending=pending, frames=kept, small=small
        )

    def _read(self, request: _Request) -> npt.NDArray[np.float32]:
        if request.pending is not None:
            came = request.pending.result()
            self.complaint = self._constancy.see_scores(came) or self.complaint
            for i, score in zip(request.coming, came.tolist(), strict=True):
                request.scores[i] = score
        paid, steps = self._ledger.enter(
            request.episodes, request.scores, request.dones, request.truths
        )
        if self.recorder is not None and request.frames is not None:
            self.recorder += [it[:5] for it in self._shown(request, request.frames, steps)]
        if self._highlights is not None and request.small is not None:
            self._highlights.see(self._shown(request, request.small, steps))
        return paid

    def _shown(
        self, request: _Request, frames: Iterable[Frames], steps: Sequence[int]
    ) -> Iterator[Highlight]:
        for i, frame in zip(request.coming, frames, strict=True):
            episode, score = request.episodes[i], request.scores[i]
            assert isinstance(score, float)
            goal = self.scorer.goals[episode.custom_data["goal_index"]].text
            yield Highlight(episode.id_, steps[i], frame, goal, score, request.truths[i])
