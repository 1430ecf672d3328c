"""The class that Ray Data runs in its actors: it relabels units of a recording."""

import dataclasses
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import ray

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.errors import (
    ERRORS,
    CheckpointError,
    ConfigError,
    FrameError,
    GoalError,
    RewardError,
)
from rllib_vlm_reward.frames import Frames
from rllib_vlm_reward.monitoring.constancy import ConstancyChecks
from rllib_vlm_reward.offline.episode import RecordedEpisode
from rllib_vlm_reward.offline.folder import Report, UnitFile
from rllib_vlm_reward.offline.units import COLUMN, Unit
from rllib_vlm_reward.reward_model.panel import Panel
from rllib_vlm_reward.reward_model.scorer import Scores
from rllib_vlm_reward.serving.actor import RewardActor
from rllib_vlm_reward.serving.request import Goals, Request

__all__ = ["ERRORS_BY_NAME", "Relabeller"]

ERRORS_BY_NAME = {error.__name__: error for error in ERRORS}
_ROWS_AT_ONCE = 4  # number of rows to read at once
_LEAST_COSINE = 0.999  # of a prompt's embedding on two devices


@dataclasses.dataclass(frozen=True)
class _Read:
    """An episode that has no scores yet."""

    file: UnitFile
    place: str
    episode: RecordedEpisode
    goal: int
    views: list[Frames]  # of each frame source


@dataclasses.dataclass(frozen=True)
class _End:
    """Marks that all episodes of a unit were read."""

    file: UnitFile


class Relabeller:
    """Relabels bundles of units; has the models and one batch of frames in memory.

    Args:
        config: the reward.
        recording: the folder of the recording; the units' sources are relative to it.
        output: the output folder.
        goal: text of the goal for all episodes; None keeps the recorded goals.
        encoder: fingerprints that the experts' weights must have; None accepts any weights.
        num_cpus: number of CPUs that Ray reserves for an actor.
        folder: see :class:`.RewardActor`.
    """

    def __init__(
        self,
        config: VLMRewardConfig,
        *,
        recording: str,
        output: str,
        goal: str | None,
        encoder: str | None,
        num_cpus: float,
        folder: str = "",
    ) -> None:
        self._config, self._goal, self._encoder = config, goal, encoder
        self._checked: str | None = None
        self._recording, self._output = Path(recording), Path(output)
        # A map of a recorded observation stays, and no copies are made: neither needs a readout.
        scored = config.model_copy(update={"goal_map": False, "hindsight": None})
        self._rater, self._experts = scored.rater, scored.by_expert
        self._shared: dict[str, ray.ObjectRef] = {}
        self._constancy = ConstancyChecks(scored)
        self._embeddings: dict[int, np.typing.NDArray[np.float32]] = {}
        self._reports: dict[str, Report] = {}
        self._actors = {
            name: RewardActor(each.encoder, each.serving, num_cpus=num_cpus, folder=folder)
            for name, each in config.by_expert.items()
        }

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Relabel the units of a row.

        Errors that the user can correct are returned, not raised: Ray Data would wrap them and
        print its own stack trace.

        Args:
            row: ``units``: the units in JSON.

        Returns:
            ``error``: the name of the error's class, or ""; ``report``: the error's text, the
            arguments of an OSError in JSON, or the reports in JSON.
        """
        try:
            reports = self._relabel([Unit(**unit) for unit in json.loads(row["units"])])
        except ERRORS as error:
            return {"error": type(error).__name__, "report": str(error)}
        except OSError as error:  # such as a full disk
            return {"error": OSError.__name__, "report": json.dumps(error.args)}
        return {"error": "", "report": json.dumps([dataclasses.asdict(each) for each in reports])}

    def _relabel(self, units: list[Unit]) -> list[Report]:
        models = {name: actor.describe() for name, actor in self._actors.items()}
        weights = {name: str(model["encoder_fingerprint"]) for name, model in models.items()}
        encoder = " ".join(weights.values())
        at_once = min(model["batch_size"] * model["lanes"] for model in models.values())
        if encoder != self._checked:  # in the first call, and after a restart with other weights
            for name, fingerprint in weights.items():
                self._config.check_weights(fingerprint, name)
            self._checked = encoder
        if self._encoder not in (None, encoder):
            raise CheckpointError(
                f"encoder {self._config.encoder!r}: its weights differ from those that computed "
                "the rewards in the output folder. Choose another folder, or restore the old "
                "weights."
            )
        files: list[UnitFile] = []
        reports: list[Report] = []
        waiting: list[_Read | _End] = []
        frames = 0
        try:
            for each in self._read(units, files, encoder):
                more = len(each.views[0]) if isinstance(each, _Read) else 0
                if frames + more > at_once:
                    reports += self._finish(waiting)
                    frames = 0
                waiting.append(each)
                frames += more
            return reports + self._finish(waiting)
        except BaseException as error:
            for file in files:
                file.abandon(error)
            raise

    def _read(
        self, units: list[Unit], files: list[UnitFile], encoder: str
    ) -> Iterator[_Read | _End]:
        for unit in units:
            file = UnitFile(self._output, unit)
            files.append(file)
            name, size = unit.name, unit.file_size
            self._reports[name] = Report(name, size, encoder, 0, 0, 0, 0.0, 0)
            path = self._recording / unit.source
            for index, row in enumerate(_rows(path, unit.group)):
                place = f"{path}, row {index} of row group {unit.group}"
                yield self._open(file, place, row)
            yield _End(file)

    def _open(self, file: UnitFile, place: str, row: bytes) -> _Read:
        try:
            episode = RecordedEpisode(row)
            self._check_has_maps(episode)
            goal = (
                episode.goal(self._config)
                if self._goal is None
                else self._rater.goals.index(self._goal)
            )
            self._check_maps(episode, goal)
            views = [episode.frames(source) for source in self._config.sources]
        except (FrameError, GoalError, RewardError) as error:
            raise type(error)(f"{place}: {error}") from error
        return _Read(file, place, episode, goal, views)

    def _check_has_maps(self, episode: RecordedEpisode) -> None:
        if episode.has_maps and self._goal is not None:
            raise RewardError(
                f"goal: got {self._goal!r}, but the recorded observations have maps of the goal "
                "that the policy had. Leave --goal out, or use the recording of a policy without "
                "a map."
            )
        if self._config.goal_map and not episode.has_maps:
            raise RewardError(
                "goal_map: the recorded observations have no map, since the policy saw none. Set "
                "goal_map: false, or record a policy with goal_map."
            )

    def _check_maps(self, episode: RecordedEpisode, goal: int) -> None:
        """Refuse to show a policy the maps of one encoder beside the embedding of another."""
        if not (episode.has_maps and self._config.goal_embedding):
            return
        recorded, now = episode.shown_goal, self._embedding(goal)
        size = self._config.map_size if self._config.goal_map else episode.map_size
        is_same = recorded.shape == now.shape and float(recorded @ now) > _LEAST_COSINE
        if is_same and size == episode.map_size:
            return
        text = self._rater.goals.texts[goal]
        raise RewardError(
            f"goal_map: the policy saw maps of {list(episode.map_size)} patches and an embedding "
            f"of the goal {text!r} that the encoder {self._config.leading.encoder!r} does not "
            f"give for its prompt, or not with {list(size)} patches. Expected those of the "
            "recording, since its maps stay. Set encoder, templates and goal_map as they were; or, "
            "to keep the recorded embedding too, set goal_embedding: false."
        )

    def _finish(self, waiting: list[_Read | _End]) -> list[Report]:
        """Score and write the waiting episodes; return the reports of the complete units."""
        reads = [each for each in waiting if isinstance(each, _Read)]
        scores = iter(self._score(reads))
        reports = []
        for each in waiting:
            name = each.file.unit.name
            if isinstance(each, _End):
                reports.append(self._reports.pop(name))
                each.file.close(reports[-1])
            else:
                self._reports[name] = self._write(each, next(scores), self._reports[name])
        waiting.clear()
        return reports

    def _score(self, reads: list[_Read]) -> list[Scores]:
        """Score the frames of the episodes, adjacent episodes of one frame size together.

        Returns:
            for each episode, float32 ``[N]``; with experts those of :meth:`.Panel.answer`.
        """
        answers: list[Scores] = []
        for _, group in itertools.groupby(reads, key=_shapes):
            batch = list(group)
            views = [np.concatenate(view) for view in zip(*(r.views for r in batch), strict=True)]
            lengths = [len(read.views[0]) for read in batch]
            goals = np.repeat([read.goal for read in batch], lengths).astype(np.int64)
            try:
                self._constancy.see_frames(views)
                answer = self._answer(views, goals)
            except (FrameError, GoalError, RewardError) as error:
                raise type(error)(f"{batch[0].place} to {batch[-1].place}: {error}") from error
            constancy_error = self._constancy.see_scores(answer)
            if constancy_error:
                raise RewardError(constancy_error)
            answers += np.split(answer, np.cumsum(lengths)[:-1])
        return answers

    def _answer(self, views: list[Frames], goals: Goals) -> Scores:
        """Score frames with each expert, and combine the scores."""
        scores = []
        for name, each in self._experts.items():
            frames = views[self._config.sources.index(each.frames.source)]
            request = Request(frames, goals, each.scorer.fingerprint)
            request.check()
            scores.append(self._actors[name].score(request, [self._share(name)]).scores)
        if isinstance(self._rater, Panel):
            return self._rater.answer(np.stack(scores, axis=1), goals)
        return scores[0]

    def _share(self, expert: str) -> ray.ObjectRef:
        if expert not in self._shared:
            scorer = self._experts[expert].scorer
            embeddings = self._actors[expert].embed_texts(scorer.goals.statements)
            self._shared[expert] = ray.put((scorer, embeddings))
        return self._shared[expert]

    def _write(self, read: _Read, scores: Scores, report: Report) -> Report:
        episode = read.episode
        if isinstance(self._rater, Panel):
            episode.name_experts(self._rater.names[2:], scores[:, 2:])
            scores = scores[:, 0]
        else:
            episode.name_experts((), None)
        if self._goal is not None:
            episode.name_goal(self._config.goal_source, self._goal)
        if self._config.goal_embedding:
            episode.show_goal(self._embedding(read.goal))
        try:
            paid, rewards = episode.reward(scores, self._config)
        except RewardError as error:
            raise RewardError(f"{read.place}: {error}") from error
        read.file.write(episode.to_row(read.goal))
        return dataclasses.replace(
            report,
            episodes=report.episodes + 1,
            unfinished=report.unfinished + (not episode.is_done),
            steps=report.steps + len(episode),
            reward_sum=report.reward_sum + float(rewards.sum(dtype=np.float64)),
            fires=report.fires + int((paid > 0).sum()),
        )

    def _embedding(self, goal: int) -> "np.typing.NDArray[np.float32]":
        if goal not in self._embeddings:
            prompt = self._config.leading.scorer.goals[goal].prompt
            actor = next(iter(self._actors.values()))
            self._embeddings[goal] = actor.embed_texts([prompt])[0].clip(-1.0, 1.0)
        return self._embeddings[goal]


def _rows(path: Path, group: int) -> Iterator[bytes]:
    """Yield the rows of a row group."""
    try:
        with pyarrow.parquet.ParquetFile(path) as source:
            for batch in source.iter_batches(_ROWS_AT_ONCE, row_groups=[group], columns=[COLUMN]):
                yield from batch.column(0).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the file system; Arrow's own errors about damaged files have no number
        problem = str(error).strip().partition("\n")[0]
        raise ConfigError(
            f"{path}: row group {group} is damaged ({problem}), expected what RLlib recorded. Copy "
            "the file again, or remove it to relabel the other files."
        ) from error


def _shapes(read: _Read) -> list[tuple[int, ...]]:
    return [view.shape[1:] for view in read.views]
