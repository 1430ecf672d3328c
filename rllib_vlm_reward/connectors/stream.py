"""The rewards of the episodes that share a configuration: of all, or of one agent's."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.connectors.collector import (
    RenderedOnce,
    SteppedEnvs,
    episode_goal,
    frame_source,
)
from rllib_vlm_reward.connectors.custom_data import GOAL_INDEX
from rllib_vlm_reward.connectors.episode_metrics import keep_ground_truth, outcomes_of
from rllib_vlm_reward.connectors.frame_selection import FrameSelection, ScoreWindows
from rllib_vlm_reward.connectors.ledger import Ledger
from rllib_vlm_reward.connectors.normalizer import RewardNormalizer
from rllib_vlm_reward.frames import Frames
from rllib_vlm_reward.monitoring.constancy import ConstancyCheck
from rllib_vlm_reward.monitoring.highlights import Highlights
from rllib_vlm_reward.monitoring.monitor import log_highlights, log_statistics
from rllib_vlm_reward.monitoring.score_statistics import ScoreCounter
from rllib_vlm_reward.monitoring.scored_steps import Recorder, ScoredSteps, StepObserver
from rllib_vlm_reward.reward_model.scorer import pay
from rllib_vlm_reward.serving import PendingScores, RewardPool

__all__ = ["RewardStream"]

Chunks = Sequence[SingleAgentEpisode]


class RewardStream:
    """Scores the steps of episodes, and pays them at once or when the fragment ends.

    Args:
        config: what the reward is.
        agent: the agent that has this reward; None stands for all without their own settings.

    Attributes:
        config: what the reward is.
        recorder: observes the steps, with whole frames, if there is one.
        complaint: why the scores cannot be right, once that is known.
        scorer: the goals and the head.
        source: where the frames come from.
        normalizer: scales what the VLM pays, if the configuration says so.
    """

    def __init__(self, config: VLMRewardConfig, agent: str | int | None = None) -> None:
        self.config, self._agent = config, agent
        self.source = frame_source(config.frames.source)
        self.scorer = config.scorer
        self.recorder: Recorder | None = None
        self.complaint: str | None = None
        self.normalizer = RewardNormalizer() if config.normalize_rewards else None
        self._texts = self.scorer.goals.texts
        self._selection = FrameSelection(config.frames.scored_steps)
        self._windows = ScoreWindows(
            config.frames.window,
            config.frames.reduce,
            repeats=config.frames.scored_steps == "changed",
        )
        self._constancy = ConstancyCheck(may_be_constant=config.head.may_be_constant)
        self._ledger = Ledger(config)
        self._counter = ScoreCounter(*config.head.range) if config.alarms != "off" else None
        self._highlights: Highlights | None = None
        self._asked: list[tuple[ScoredSteps, PendingScores | None]] = []
        self._known: dict[str, dict[str, Any]] = {}
        self._evaluates = False

    def evaluate(self) -> None:
        """Accept held-out goals, pay rewards that are not normalised, and count no scores."""
        self._evaluates, self._counter = True, None

    def show_highlights(self) -> None:
        """Log each fragment's highest-scored frames, from now on."""
        self._highlights = Highlights()

    def start(self, episode: SingleAgentEpisode) -> None:
        """Find the goal of an episode that is seen for the first time."""
        if GOAL_INDEX in episode.custom_data:
            return
        if episode.id_ in self._known:
            # MultiAgentEpisode.cut() of RLlib 2.60 drops its agents' custom_data.
            episode.custom_data.update(self._known[episode.id_])
            return
        episode.custom_data[GOAL_INDEX] = episode_goal(
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
            env: the vector env, for the frame source.
            pool: asked for the scores.
            rows: the sub-env of each episode.
            episodes: those that were just stepped.
        """
        truths = [keep_ground_truth(episode, self.config.success_key) for episode in episodes]
        self._ledger.hold(episodes)
        goals = [episode.custom_data[GOAL_INDEX] for episode in episodes]
        steps = ScoredSteps.begin(episodes, goals, truths, self._texts)
        self._asked.append((steps, self._send(steps, env, pool, rows)))

    def pay(self) -> npt.NDArray[np.bool_]:
        """Read what was just asked for, and write the rewards.

        Returns:
            bool ``[B]``: which rewards fired.
        """
        steps = self._read([self._asked.pop()])
        self._ledger.pay(steps)
        return steps.fired

    def flush(self, samples: Chunks, ongoing: Chunks, metrics: MetricsLogger) -> None:
        """Finish a fragment: read what is still under way, and see :meth:`.Ledger.close`."""
        if self._asked:
            self._read(self._asked)
            self._asked = []
        self._ledger.close(samples, ongoing, metrics)
        ids = {episode.id_ for episode in ongoing}
        if self._counter is not None:
            leaving = {chunk.id_ for chunk in samples}
            statistics = self._counter.take(leaving, ids, outcomes_of(samples))
            log_statistics(metrics, self._agent, statistics)
        if self._highlights is not None:
            log_highlights(metrics, self._highlights.take())
        self._known.update({chunk.id_: dict(chunk.custom_data) for chunk in samples})
        self._forget(ids)

    def _forget(self, but: set[str]) -> None:
        """Drop what is kept of episodes that ended or were abandoned: all but these."""
        self._known = {id_: data for id_, data in self._known.items() if id_ in but}
        self._selection.forget(but)
        self._windows.forget(but)
        if self.normalizer is not None:
            self.normalizer.forget(but)

    def _send(
        self,
        steps: ScoredSteps,
        env: RenderedOnce | None,
        pool: RewardPool,
        rows: Sequence[int],
    ) -> PendingScores | None:
        """Send the frames that are to be scored, and note in ``steps`` which these are."""
        wanted = self._selection.wanted(steps)
        if not wanted:
            return None
        episodes = [steps.episodes[row] for row in wanted]
        frames = self._collect(env, [rows[row] for row in wanted], episodes)
        same = self._selection.unchanged(episodes, frames)
        sent = [row for row, unchanged in zip(wanted, same, strict=True) if not unchanged]
        steps.scored = _mask(len(steps), sent)
        if len(sent) < len(wanted):
            steps.repeated = _mask(len(steps), wanted) & ~steps.scored
            frames = [frame for frame, unchanged in zip(frames, same, strict=True) if not unchanged]
        if not sent:
            return None
        self._constancy.see_frames(frames)
        pending = pool.submit(frames, steps.goals[sent], self.scorer, checked=True)
        kept = self._keep(frames)
        if kept is not None:
            by_row = dict(zip(sent, kept, strict=True))
            steps.frames = [by_row.get(row) for row in range(len(steps))]
        return pending

    def _collect(
        self, env: RenderedOnce | None, rows: Sequence[int], episodes: Chunks
    ) -> Sequence[Frames]:
        source = self.source
        return source(
            None if env is None else SteppedEnvs(env, rows),
            [it.get_observations(-1) for it in episodes] if source.reads_observations else [],
            [it.get_infos(-1) for it in episodes] if source.reads_infos else [],
        )

    def _keep(self, frames: Sequence[Frames]) -> Sequence[Frames] | None:
        """Return copies of frames for those who observe them; the env may draw over the frames."""
        if self.recorder is not None:
            return [frame.copy() for frame in frames]
        return None if self._highlights is None else self._highlights.keep(frames)

    def _read(self, asked: Sequence[tuple[ScoredSteps, PendingScores | None]]) -> ScoredSteps:
        """Wait for the scores of vector steps, say what they pay, and show them to the observers.

        Returns:
            their steps, joined.
        """
        for steps, pending in asked:
            if pending is not None:
                came = pending.result()
                self.complaint = self._constancy.see_scores(came) or self.complaint
                steps.frame_scores = np.zeros(len(steps), np.float32)
                steps.frame_scores[steps.scored] = came
        joined = ScoredSteps.join([steps for steps, _ in asked])
        self._price(joined, [len(steps) for steps, _ in asked])
        observers: tuple[StepObserver | None, ...]
        observers = (self._ledger, self._counter, self.recorder, self._highlights)
        for observer in observers:
            if observer is not None:
                observer.observe(joined)
        return joined

    def _price(self, steps: ScoredSteps, sizes: Sequence[int]) -> None:
        """Say what steps pay; the normaliser sees one vector step after another, of these sizes."""
        threshold, has_score = self.config.threshold_in_force, steps.has_score
        steps.scores = self._windows(steps)
        steps.paid = pay(steps.scores.astype(np.float32), threshold)
        steps.paid[~has_score] = 0.0
        if threshold is not None:
            steps.fired = steps.paid > 0
        steps.rewards = steps.paid
        if self.normalizer is not None and not self._evaluates:
            ids, ends = [episode.id_ for episode in steps.episodes], np.cumsum(sizes)
            parts = [slice(end - size, end) for size, end in zip(sizes, ends, strict=True)]
            dones = steps.dones.tolist()
            each = [self.normalizer(ids[it], steps.paid[it], dones[it]) for it in parts]
            steps.rewards = np.concatenate(each)


def _mask(number: int, rows: Sequence[int]) -> npt.NDArray[np.bool_]:
    mask = np.zeros(number, np.bool_)
    mask[rows] = True
    return mask
