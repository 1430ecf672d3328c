"""Computes the rewards of all episodes with one configuration: of all agents, or of one agent."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.connectors.bonus import Bonus
from rllib_vlm_reward.connectors.custom_data import GOAL_INDEX, SHOWN_GOAL
from rllib_vlm_reward.connectors.episode_goal import episode_goal
from rllib_vlm_reward.connectors.episode_metrics import keep_ground_truth, outcomes_of
from rllib_vlm_reward.connectors.expert_record import ExpertRecord
from rllib_vlm_reward.connectors.first_steps import FirstSteps
from rllib_vlm_reward.connectors.frame_selection import FrameSelection, ScoreWindows
from rllib_vlm_reward.connectors.frame_source import RenderedOnce, SteppedEnvs, frame_source
from rllib_vlm_reward.connectors.hints import Hints
from rllib_vlm_reward.connectors.known_goals import KnownGoals
from rllib_vlm_reward.connectors.ledger import Ledger
from rllib_vlm_reward.connectors.normalizer import RewardNormalizer
from rllib_vlm_reward.errors import FrameError
from rllib_vlm_reward.frames import Frames
from rllib_vlm_reward.monitoring.constancy import ConstancyChecks
from rllib_vlm_reward.monitoring.frame_statistics import FrameCounter
from rllib_vlm_reward.monitoring.highlights import Highlights
from rllib_vlm_reward.monitoring.monitor import log_frames, log_highlights, log_statistics
from rllib_vlm_reward.monitoring.score_statistics import ScoreCounter
from rllib_vlm_reward.monitoring.scored_steps import Recorder, ScoredSteps, StepObserver
from rllib_vlm_reward.reward_model.readouts import GoalMap, HintScores, Holds
from rllib_vlm_reward.reward_model.scorer import Scorer, pay
from rllib_vlm_reward.serving.service import Answer, RewardService

__all__ = ["RewardStream"]

Chunks = Sequence[SingleAgentEpisode]


class _Sent(NamedTuple):
    """A vector step whose frames were sent: its steps, their scores, and new episodes."""

    steps: ScoredSteps
    scores: Answer | None
    begun: list[str]  # ids of the episodes whose first frame was sent too, after those of the steps
    places: list[int]  # of the steps' infos in their episodes; empty without experts


class RewardStream:
    """Scores the steps of episodes, and writes their rewards at once or when the fragment ends.

    Args:
        config: the reward of these episodes.
        agent: the agent that has this reward; None stands for all agents without their own
            settings.

    Attributes:
        config: the reward of these episodes.
        runner: the index of the env runner, to name it in alarms.
        recorder: stores the scored frames in full size; None to store none.
        error: why the scores cannot be right; None while they may be.
        rater: the goals, the head and the readouts; with experts their panel.
        sources: the frame sources; experts may have several.
        normalizer: scales the VLM rewards; None without ``normalize_rewards``.
        bonus: computes what is paid beside them; None if nothing is.
        hints: pays what leads to the goal; None without ``hints``, and in evaluation.
        experts: records what each expert said; None without experts.
        known: the goals that this process knows. The steps that are sent after it has grown are
            scored with the grown set.
        maps: for the policy, the map of the newest frame of each episode, float32 ``[h, w, 1]``, by
            the episode's id; empty without ``goal_map``.
        shows_wrong_goals: whether the policy is shown another goal, drawn at random once for each
            new episode. This gives the goal-blind baseline.
    """

    def __init__(self, config: VLMRewardConfig, agent: str | int | None = None) -> None:
        self.config, self._agent = config, agent
        self.sources = [frame_source(source) for source in config.sources]
        self.rater = config.rater
        self.known = KnownGoals(config)
        self.runner = 0
        self.recorder: Recorder | None = None
        self.error: str | None = None
        self.normalizer = RewardNormalizer() if config.normalize_rewards else None
        self.bonus = Bonus(config.bonus) if config.bonus is not None else None
        self.hints = Hints(config, agent) if config.hints is not None else None
        self.experts = ExpertRecord([*config.experts]) if config.experts else None
        self.maps: dict[str, npt.NDArray[np.float32]] = {}
        self.shows_wrong_goals = False
        self._rng = np.random.default_rng(config.negatives_seed)  # for the wrong goals
        self._map_columns = config.scorer.columns_of(GoalMap.kind) if config.goal_map else None
        holds = config.holds
        self._first_steps = (
            None if holds is None else FirstSteps(config.goal_set, len(holds.candidates))
        )
        reads_all = bool(config.goal_map or config.hindsight or config.hints)
        self._has_readouts = reads_all or config.bonus is not None
        self._reads_resets = reads_all or (self.bonus is not None and self.bonus.reads_resets)
        self._goals, self._texts = config.goal_set, config.goal_set.texts  # of the rater
        self._selection = FrameSelection(config.frames.scored_steps)
        self._windows = ScoreWindows(
            config.frames.window,
            config.frames.reduce,
            repeats=config.frames.scored_steps == "changed",
        )
        self._constancy = ConstancyChecks(config)
        self._ledger = Ledger(config)
        self._counter = ScoreCounter(*config.score_range) if config.alarms != "off" else None
        watches = config.alarms != "off" and not config.frames.still
        self._frame_counter = FrameCounter() if watches else None
        self._highlights: Highlights | None = None
        self._pending: list[_Sent] = []
        self._custom_data: dict[str, dict[str, Any]] = {}
        # Of each episode's frames, by source.
        self._shapes: list[dict[str, tuple[int, ...]]] = [{} for _ in self.sources]
        self._evaluates = False
        # What only training has, while the stream evaluates.
        self._unused: tuple[Hints | None, ScoreCounter | None, FrameCounter | None]
        self._unused = (None, None, None)

    def use_precisions(self, chosen: Mapping[str, str]) -> None:
        """Set the precisions in which the actors encode the frames, by :func:`.key_of`."""
        self.rater = self.config.rater.with_precisions(chosen)
        self._goals, self._texts = self.config.goal_set, self.config.goal_set.texts

    def _follow(self, service: RewardService) -> None:
        """Score with the goals that this process knows by now."""
        goals = self.known.all
        if goals is self._goals:
            return
        assert isinstance(self.rater, Scorer)  # with experts, no goal is added
        service.forget(self.rater)
        self.rater = dataclasses.replace(self.rater, goals=goals)
        self._goals, self._texts = goals, goals.texts

    def evaluate(self, evaluates: bool) -> None:
        """Switch to evaluation: allow held-out goals, do not normalise, collect no statistics.

        Hints are not paid: what is left of a reward that decays says nothing about the policy.

        Args:
            evaluates: whether to evaluate; False goes back to training, with all that was counted.
        """
        if evaluates == self._evaluates:
            return
        in_use = self.hints, self._counter, self._frame_counter
        self.hints, self._counter, self._frame_counter = self._unused
        self._evaluates, self._unused = evaluates, in_use

    def show_highlights(self) -> None:
        """Log the highest-scored frames of each fragment, from now on."""
        self._highlights = Highlights()

    def start(self, episode: SingleAgentEpisode) -> bool:
        """Find the goal of an episode, if it is new.

        Returns:
            Whether it is new, and the frame of its reset is needed.

        Raises:
            GoalError: see :func:`.episode_goal.episode_goal`.
        """
        if GOAL_INDEX in episode.custom_data:
            return False
        if episode.id_ in self._custom_data:
            # MultiAgentEpisode.cut() of RLlib 2.60 drops the custom_data of its agents.
            episode.custom_data.update(self._custom_data[episode.id_])
            return False
        episode.custom_data[GOAL_INDEX] = episode_goal(
            self.known,
            episode.get_observations(-1),
            episode.get_infos(-1),
            evaluation=self._evaluates,
        )
        if self.shows_wrong_goals:
            episode.custom_data[SHOWN_GOAL] = self._wrong_goal(episode.custom_data[GOAL_INDEX])
        self._custom_data[episode.id_] = dict(episode.custom_data)
        return self._reads_resets

    def _wrong_goal(self, index: int) -> int:
        goals = self.known.all.goals
        # Paraphrases of a goal may have the same prompt, and so the same embedding.
        others = [i for i, goal in enumerate(goals) if goal.prompt != goals[index].prompt]
        return int(self._rng.choice(others)) if others else index

    def has_stepped(self, episode: SingleAgentEpisode) -> bool:
        """Return whether an episode has a new step; a reset is not a step."""
        return len(episode) > self._ledger.num_steps(episode)

    def submit(
        self,
        env: RenderedOnce | None,
        service: RewardService,
        rows: Sequence[int],
        episodes: list[SingleAgentEpisode],
        begun: Sequence[tuple[int, SingleAgentEpisode]] = (),
    ) -> None:
        """Request the scores of the last steps of B episodes.

        Args:
            env: the vector env, for the frame source.
            service: computes the scores.
            rows: the index of each episode's sub-env.
            episodes: the B episodes that were just stepped.
            begun: the episodes that were just reset and whose frame is needed, with the index of
                their sub-env.

        Raises:
            FrameError: see :func:`.frame_source.collect_frames`.
        """
        self._follow(service)
        truths = [keep_ground_truth(episode, self.config.success_key) for episode in episodes]
        self._ledger.begin(episodes)
        goals = [episode.custom_data[GOAL_INDEX] for episode in episodes]
        steps = ScoredSteps.begin(episodes, goals, truths, self._texts)
        pending = self._send(steps, env, service, rows, begun)
        places = [len(episode.infos.data) - 1 for episode in episodes] if self.experts else []
        self._pending.append(_Sent(steps, pending, [episode.id_ for _, episode in begun], places))

    def pay(self) -> npt.NDArray[np.bool_]:
        """Wait for the scores of the last request, and write the rewards.

        Returns:
            bool ``[B]``: which rewards fired.
        """
        steps = self._read([self._pending.pop()])
        self._ledger.pay(steps)
        return steps.fired

    def flush(self, samples: Chunks, ongoing: Chunks, metrics: MetricsLogger) -> None:
        """Finish a fragment: wait for its scores, write its rewards and log its metrics.

        Args:
            samples: the chunks that are about to leave the env runner.
            ongoing: the episodes that continue in the next fragment.
            metrics: the env runner's logger.

        Raises:
            RewardError: see :meth:`.Ledger.close`.
        """
        if self._pending:
            self._read(self._pending)
            self._pending = []
        self._ledger.close(samples, ongoing, metrics)
        if self._first_steps is not None:
            self._first_steps.write(samples, metrics)
        if self.hints is not None:
            self.hints.log(samples, metrics, alarms=self.config.alarms != "off")
        ids = {episode.id_ for episode in ongoing}
        if self._counter is not None:
            leaving = {chunk.id_ for chunk in samples}
            statistics = self._counter.take(leaving, ids, outcomes_of(samples))
            log_statistics(metrics, self._agent, statistics)
        if self.experts is not None:
            alarms = self.config.alarms != "off" and not self._evaluates
            self.experts.log(metrics, self._agent, alarms=alarms)
        if self._frame_counter is not None:
            log_frames(metrics, self._agent, self.runner, self._frame_counter.take())
        if self._highlights is not None:
            log_highlights(metrics, self._highlights.take())
        self._custom_data.update({chunk.id_: dict(chunk.custom_data) for chunk in samples})
        self._keep_only(ids)

    def _keep_only(self, ids: set[str]) -> None:
        """Drop the data of all episodes but these; the others ended or were abandoned."""
        self._custom_data = {id_: data for id_, data in self._custom_data.items() if id_ in ids}
        for place, shapes in enumerate(self._shapes):
            self._shapes[place] = {id_: shapes[id_] for id_ in shapes.keys() & ids}
        self._selection.keep_only(ids)
        self._windows.keep_only(ids)
        for each in (self.normalizer, self.bonus, self.hints, self._first_steps):
            if each is not None:
                each.keep_only(ids)

    def _send(
        self,
        steps: ScoredSteps,
        env: RenderedOnce | None,
        service: RewardService,
        rows: Sequence[int],
        begun: Sequence[tuple[int, SingleAgentEpisode]],
    ) -> Answer | None:
        """Send the frames to score, and record in ``steps`` which steps they belong to."""
        selected = self._selection.select(steps)
        if not selected and not begun:
            return None
        episodes = [steps.episodes[row] for row in selected]
        sub_envs = [rows[row] for row in selected]
        new_envs, new_episodes = zip(*begun, strict=True) if begun else ((), ())
        frames = self._collect(0, env, [*sub_envs, *new_envs], [*episodes, *new_episodes])
        frames, first_frames = frames[: len(episodes)], frames[len(episodes) :]
        self._count(0, sub_envs, episodes, frames)
        same = self._selection.unchanged(episodes, frames)
        sent = [row for row, unchanged in zip(selected, same, strict=True) if not unchanged]
        steps.scored = _mask(len(steps), sent)
        if len(sent) < len(selected):
            steps.repeated = _mask(len(steps), selected) & ~steps.scored
            frames = [frame for frame, unchanged in zip(frames, same, strict=True) if not unchanged]
        if not sent and not begun:
            return None
        all_frames, goals = frames, steps.goals[sent]
        if begun:
            all_frames = [*frames, *first_frames]
            new_goals = [episode.custom_data[GOAL_INDEX] for episode in new_episodes]
            goals = np.concatenate([goals, np.array(new_goals, np.int64)])
        if self._map_columns is not None and self.shows_wrong_goals:
            all_frames = [*all_frames, *all_frames]  # once more, for the map of the goal shown
            shown = [each.custom_data[SHOWN_GOAL] for each in (*episodes, *new_episodes)]
            goals = np.concatenate([goals, np.array(shown, np.int64)])
        others = [self._collect(n, env, sub_envs, episodes) for n in range(1, len(self.sources))]
        for place, seen in enumerate(others, 1):
            self._count(place, sub_envs, episodes, seen)
        if sent:
            self._constancy.see_frames([frames, *others])
        pending = service.ask([all_frames, *others], goals, self.rater)
        copies = self._copy(frames)
        if copies is not None:
            by_row = dict(zip(sent, copies, strict=True))
            steps.frames = [by_row.get(row) for row in range(len(steps))]
        return pending

    def _collect(
        self, place: int, env: RenderedOnce | None, rows: Sequence[int], episodes: Chunks
    ) -> Sequence[Frames]:
        """Return a source's frames of the last steps, of one size throughout an episode."""
        source, shapes = self.sources[place], self._shapes[place]

        def name(index: int) -> str:
            where = f"sub-env {rows[index]} of env runner {self.runner}"
            return f"step {episodes[index].t} of an episode of {where}"

        frames = source(
            None if env is None else SteppedEnvs(env, rows),
            [each.get_observations(-1) for each in episodes] if source.reads_observations else [],
            [each.get_infos(-1) for each in episodes] if source.reads_infos else [],
            name,
        )
        shape = frames[0].shape
        for index, episode in enumerate(episodes):
            before = shapes.setdefault(episode.id_, shape)
            if before != shape:
                raise FrameError(
                    f"{source.label}, {name(index)}: got a frame of the shape {list(shape)}, "
                    f"expected {list(before)} as in the steps before. Resize the frames in the env."
                )
        return frames

    def _count(
        self, place: int, rows: Sequence[int], episodes: Chunks, frames: Sequence[Frames]
    ) -> None:
        """Count a source's frames for the alarms ``blank`` and ``frozen``."""
        if self._frame_counter is not None:
            source = self.config.sources[place] if len(self.sources) > 1 else ""
            self._frame_counter.see(rows, episodes, frames, source)

    def _copy(self, frames: Sequence[Frames]) -> Sequence[Frames] | None:
        """Return copies of frames for the observers, since the env may reuse the memory."""
        if self.recorder is not None:
            return [frame.copy() for frame in frames]
        return None if self._highlights is None else self._highlights.keep(frames)

    def _read(self, requests: Sequence[_Sent]) -> ScoredSteps:
        """Wait for the scores of vector steps, compute the rewards, and call the observers.

        Returns:
            The steps of all vector steps, joined.
        """
        # Of each step the bonus's number, and the hints' scores; with these all steps are scored.
        read, hinted = [], []
        for steps, pending, begun, places in requests:
            if pending is not None:
                answers = pending.result()
                scores = answers[: len(steps), 0] if self._has_readouts else answers
                if self.bonus is not None:
                    first = len(steps)
                    numbers = answers[:, self.config.scorer.columns_of(self.bonus.kind)][:, 0]
                    read.append(numbers[:first])
                    self.bonus.begin(begun, numbers[first : first + len(begun)])
                if self.hints is not None:
                    said = answers[:, self.config.hint_scorer.columns_of(HintScores.kind)]
                    hinted.append(said[: len(steps)])
                    self.hints.begin(begun, said[len(steps) : len(steps) + len(begun)])
                if self._first_steps is not None:
                    holding = answers[:, self.config.scorer.columns_of(Holds.kind)]
                    self._first_steps.see(steps, holding[: len(steps)])
                    self._first_steps.begin(begun, holding[len(steps) :])
                if self._map_columns is not None:
                    ids = [*(episode.id_ for episode in steps.episodes), *begun]
                    maps = answers[-len(ids) :, self._map_columns]
                    sized = maps.reshape(len(ids), *self.config.map_size, 1)
                    self.maps = dict(zip(ids, sized, strict=True))
                if self.experts is not None:
                    # Not their infos of then, since the last info may be replaced by a copy.
                    rows = np.flatnonzero(steps.scored).tolist()
                    infos = [steps.episodes[row].infos.data[places[row]] for row in rows]
                    scores = self.experts.read(answers, infos)
                if len(scores):
                    answered = scores if self.experts is None else answers
                    self.error = self._constancy.see_scores(answered) or self.error
                steps.frame_scores = np.zeros(len(steps), np.float32)
                steps.frame_scores[steps.scored] = scores
        joined = ScoredSteps.join([sent.steps for sent in requests])
        self._compute_rewards(joined, [len(sent.steps) for sent in requests])
        if self.bonus is not None and read:
            joined.bonus = self._pay_bonus(self.bonus, joined, np.concatenate(read))
        if self.hints is not None and hinted:
            joined.hints = self.hints(joined, np.concatenate(hinted))
        observers: tuple[StepObserver | None, ...]
        observers = (self._ledger, self._counter, self.recorder, self._highlights)
        for observer in observers:
            if observer is not None:
                observer.observe(joined)
        return joined

    def _pay_bonus(
        self, bonus: Bonus, steps: ScoredSteps, numbers: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float32]:
        terminated = np.array([episode.is_terminated for episode in steps.episodes], np.bool_)
        terminates = steps.dones & terminated
        if self.config.early_end:  # which terminates the episode right after this
            terminates |= steps.fired
        return bonus([episode.id_ for episode in steps.episodes], numbers, terminates)

    def _compute_rewards(self, steps: ScoredSteps, sizes: Sequence[int]) -> None:
        """Fill in the rewards of joined vector steps.

        Args:
            steps: the joined steps.
            sizes: the number of steps in each vector step; the normaliser gets one at a time.
        """
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
            scaled = [self.normalizer(ids[part], steps.paid[part], dones[part]) for part in parts]
            steps.rewards = np.concatenate(scaled)


def _mask(number: int, rows: Sequence[int]) -> npt.NDArray[np.bool_]:
    mask = np.zeros(number, np.bool_)
    mask[rows] = True
    return mask
