"""The arrays of one scored vector step, and what observes them."""

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

# What the env says of a step.
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
    """A scored frame, uint8 ``[H, W, 3]``.

    ``t`` counts the actions of its episode, from 1; ``score`` is that of the frame alone;
    ``success`` is None where the env has no ground truth.
    """

    episode: str
    t: int
    frame: Frames
    goal: str
    score: float
    success: bool | None


@dataclasses.dataclass(slots=True, eq=False)
class ScoredSteps:
    """The last steps of N episodes that share a reward: of one vector step, or of several in order.

    The first eight are known when the frames are sent, the others when their scores are here.

    Attributes:
        episodes: the N that were stepped; one that is stepped again stands here again.
        texts: the texts of the goals that ``goals`` counts.
        t: int64 ``[N]``: the step in its episode, from 1.
        goals: int64 ``[N]``: indices of goals.
        truths: int64 ``[N]``: FAILURE, SUCCESS or UNKNOWN.
        dones: bool ``[N]``: the step ends its episode.
        scored: bool ``[N]``: the step's frame was sent.
        repeated: bool ``[N]``: the step shows the frame before, and repeats its score.
        frames: copies of the frames that were sent, None where nobody asked for one; None in all
            where nobody asked for any.
        frame_scores: float32 ``[N]``: the scores of the frames that were sent; elsewhere 0.
        scores: float64 ``[N]``: what β is held against, by the episode's window; 0 where the step
            is neither scored nor repeated.
        paid: float32 ``[N]``: what the VLM pays, not normalised.
        rewards: float32 ``[N]``: the same, normalised where the configuration says so.
        fired: bool ``[N]``: the score is over the threshold; False where there is none.

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
    fired: npt.NDArray[np.bool_]

    @classmethod
    def begin(
        cls,
        episodes: list[SingleAgentEpisode],
        goals: Sequence[int],
        truths: Sequence[int],
        texts: Sequence[str],
    ) -> "ScoredSteps":
        """Return the last steps of episodes of which no frame was sent yet."""
        number = len(episodes)
        # Shared: who fills a column puts an array in its place.
        no, nothing = np.zeros(number, np.bool_), np.zeros(number, np.float32)
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
            frame_scores=nothing,
            scores=np.zeros(number),
            paid=nothing,
            rewards=nothing,
            fired=no,
        )

    @classmethod
    def join(cls, each: Sequence["ScoredSteps"]) -> "ScoredSteps":
        """Return the steps of several vector steps, in their order."""
        if len(each) == 1:
            return each[0]
        if not each:
            return cls.begin([], [], [], [])
        frames: list[Frames | None] | None = None
        if any(steps.frames is not None for steps in each):
            frames = [f for steps in each for f in steps.frames or [None] * len(steps)]
        columns = {name: [getattr(steps, name) for steps in each] for name in _COLUMNS}
        return cls(
            episodes=[episode for steps in each for episode in steps.episodes],
            texts=each[0].texts,
            frames=frames,
            **{name: np.concatenate(arrays) for name, arrays in columns.items()},
        )

    def __len__(self) -> int:
        return len(self.episodes)

    @property
    def has_score(self) -> npt.NDArray[np.bool_]:
        """Bool ``[N]``: the step is scored, or repeats a score."""
        return self.scored | self.repeated

    def rows_by_episode(self) -> dict[SingleAgentEpisode, npt.NDArray[np.int64]]:
        """Return the rows of each episode object, in order.

        By object: an episode that was cut goes on in another one of the same id.
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
        """Yield the frames that were kept, with what is known of them."""
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
    """Takes note of steps once their scores are known; it must not change them."""

    def observe(self, steps: ScoredSteps) -> None:
        """Take note of steps, in the order of stepping."""


class Recorder:
    """Keeps every scored frame, in the order of stepping.

    Attributes:
        frames: what was kept.
    """

    def __init__(self) -> None:
        self.frames: list[ScoredFrame] = []

    def observe(self, steps: ScoredSteps) -> None:
        """Keep the frames that were sent."""
        self.frames += steps.kept_frames()
