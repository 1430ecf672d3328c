"""The arrays of a scored vector step, and the interface of their observers."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from rllib_vlm_reward.frames import Frames

__all__ = [
    "FAILURE",
    "SUCCESS",
    "UNKNOWN",
    "Recorder",
    "ScoredFrame",
    "ScoredSteps",
    "StepObserver",
    "truth_of",
]

# The ground truth of a step.
FAILURE, SUCCESS, UNKNOWN = range(3)

Floats = npt.NDArray[np.float32]


def truth_of(success: bool | None) -> int:
    """Return FAILURE, SUCCESS, or UNKNOWN for None.

    Example:
        >>> [truth_of(success) for success in (False, True, None)] == [FAILURE, SUCCESS, UNKNOWN]
        True
    """
    return UNKNOWN if success is None else int(success)


class ScoredFrame(NamedTuple):
    """A scored frame.

    Attributes:
        episode: id of the episode.
        t: the number of the step in its episode, from 1.
        frame: uint8 ``[H, W, 3]``.
        goal: text of the goal.
        score: the score of this frame, without a window.
        success: whether the step is a success; None if the env has no ground truth.
    """

    episode: str
    t: int
    frame: Frames
    goal: str
    score: float
    success: bool | None


@dataclasses.dataclass(slots=True, eq=False)
class ScoredSteps:
    """N steps of episodes with the same reward, from one vector step or from several in order.

    The first eight attributes are known when the frames are sent; ``frames`` is set right after,
    and the others when the scores arrive.

    Attributes:
        episodes: the episode of each of the N steps; an episode may occur several times.
        texts: the texts of all goals.
        t: int64 ``[N]``: the number of the step in its episode, from 1.
        goals: int64 ``[N]``: the index of the goal in ``texts``.
        truths: int64 ``[N]``: FAILURE, SUCCESS or UNKNOWN.
        dones: bool ``[N]``: whether the step ends its episode.
        scored: bool ``[N]``: whether the step's frame was sent.
        repeated: bool ``[N]``: whether the step has the same frame as the step before, and so
            repeats its score.
        frames: copies of the frames that were sent, None for a step without a copy; None instead
            of the list if there are no copies.
        frame_scores: float32 ``[N]``: the scores of the frames that were sent; elsewhere 0.
        scores: float64 ``[N]``: the scores over the window, which are compared with β; 0 for a
            step that is neither scored nor repeated.
        paid: float32 ``[N]``: the VLM rewards, not normalised.
        rewards: float32 ``[N]``: the VLM rewards, normalised with ``normalize_rewards``.
        bonus: float32 ``[N]``: what is paid beside the VLM rewards; 0 without a bonus.
        hints: float32 ``[N]``: what is paid for hints beside both; 0 without hints.
        fired: bool ``[N]``: whether the score exceeds the threshold; False without a threshold.

    Example:
        >>> steps = ScoredSteps.begin([SingleAgentEpisode(id_="a")], [0], [UNKNOWN], ["a ball"])
        >>> both = ScoredSteps.join([steps, steps])
        >>> len(both), both.texts, both.t.tolist()
        (2, ['a ball'], [0, 0])
    """

    episodes: list[SingleAgentEpisode]
    texts: Sequence[str]
    t: npt.NDArray[np.int64]
    goals: npt.NDArray[np.int64]
    truths: npt.NDArray[np.int64]
    dones: npt.NDArray[np.bool_]
    scored: npt.NDArray[np.bool_]
    repeated: npt.NDArray[np.bool_]
    frames: list[Frames | None] | None
    frame_scores: Floats
    scores: npt.NDArray[np.float64]
    paid: Floats
    rewards: Floats
    bonus: Floats
    hints: Floats
    fired: npt.NDArray[np.bool_]

    @classmethod
    def begin(
        cls,
        episodes: list[SingleAgentEpisode],
        goals: Sequence[int],
        truths: Sequence[int],
        texts: Sequence[str],
    ) -> "ScoredSteps":
        """Return the last steps of episodes, before any frame is sent.

        Args:
            episodes: the N episodes that were just stepped.
            goals: N indices in ``texts``.
            truths: for each step FAILURE, SUCCESS or UNKNOWN.
            texts: the texts of all goals.
        """
        number = len(episodes)
        # Several attributes share these arrays. To fill one in, assign a new array.
        no, zeros = np.zeros(number, np.bool_), np.zeros(number, np.float32)
        return cls(
            episodes=episodes,
            texts=texts,
            t=np.array([episode.t for episode in episodes], np.int64),
            goals=np.array(goals, np.int64),
            truths=np.array(truths, np.int64),
            dones=np.array([episode.is_done for episode in episodes], np.bool_),
            scored=no,
            repeated=no,
            frames=None,
            frame_scores=zeros,
            scores=np.zeros(number),
            paid=zeros,
            rewards=zeros,
            bonus=zeros,
            hints=zeros,
            fired=no,
        )

    @classmethod
    def join(cls, parts: Sequence["ScoredSteps"]) -> "ScoredSteps":
        """Return the steps of several vector steps as one, in their order."""
        if len(parts) == 1:
            return parts[0]
        if not parts:
            return cls.begin([], [], [], [])
        frames: list[Frames | None] | None = None
        if any(steps.frames is not None for steps in parts):
            frames = [f for steps in parts for f in steps.frames or [None] * len(steps)]
        columns = {name: [getattr(steps, name) for steps in parts] for name in _COLUMNS}
        return cls(
            episodes=[episode for steps in parts for episode in steps.episodes],
            texts=parts[0].texts,
            frames=frames,
            **{name: np.concatenate(arrays) for name, arrays in columns.items()},
        )

    def __len__(self) -> int:
        return len(self.episodes)

    @property
    def has_score(self) -> npt.NDArray[np.bool_]:
        """Bool ``[N]``: whether the step is scored or repeats a score."""
        return self.scored | self.repeated

    def rows_by_episode(self) -> dict[SingleAgentEpisode, npt.NDArray[np.int64]]:
        """Return the row indices of each episode object, in order.

        The keys are objects and not ids: an episode that RLlib cuts continues in another object
        with the same id.
        """
        if not self.episodes:
            return {}
        number: dict[SingleAgentEpisode, int] = {}
        owner = [number.setdefault(episode, len(number)) for episode in self.episodes]
        if len(number) == len(owner):
            return dict(zip(number, np.arange(len(owner))[:, None], strict=True))
        order = np.argsort(owner, kind="stable")
        ends = np.cumsum(np.bincount(owner))
        return dict(zip(number, np.split(order, ends[:-1]), strict=True))

    def kept_frames(self) -> Iterator[ScoredFrame]:
        """Yield the steps with a copy of their frame."""
        for row, frame in enumerate(self.frames or ()):
            if frame is not None:
                truth = int(self.truths[row])
                yield ScoredFrame(
                    self.episodes[row].id_,
                    int(self.t[row]),
                    frame,
                    self.texts[self.goals[row]],
                    float(self.frame_scores[row]),
                    None if truth == UNKNOWN else truth == SUCCESS,
                )


_COLUMNS = [
    field.name
    for field in dataclasses.fields(ScoredSteps)
    if field.name not in ("episodes", "texts", "frames")
]


class StepObserver(Protocol):
    """Receives steps when their scores are known; it must not change them."""

    def observe(self, steps: ScoredSteps) -> None:
        """Receive steps, in the order in which they were stepped."""


class Recorder:
    """Stores every scored frame, in the order of the steps.

    Attributes:
        frames: the stored frames.
    """

    def __init__(self) -> None:
        self.frames: list[ScoredFrame] = []

    def observe(self, steps: ScoredSteps) -> None:
        """Store the frames that were sent."""
        self.frames += steps.kept_frames()
