"""What is paid beside the goal's reward."""

from typing import Annotated, Any, Literal

import numpy as np
import pydantic
from pydantic import Field

from rllib_vlm_reward.goals import GoalSet
from rllib_vlm_reward.reward_model.readouts import Focal
from rllib_vlm_reward.settings import Positive, Section, excerpt

__all__ = ["NOTHING", "BonusConfig", "compared_words", "position"]

NOTHING = ("nothing",)
"""The words for what shows no goal's noun, if none are given."""

_MIDDLE = (0.5, 0.5)


class BonusConfig(Section, place="vlm_reward.bonus"):
    """A reward that is paid beside the goal's, in every frame that shows the goal's thing.

    It never ends an episode and never counts as success; it has a metric of its own.

    Attributes:
        kind: ``focal``, COPL's reward: how much of the goal's ``noun`` the patches of the frame
            show near a place, see :class:`~rllib_vlm_reward.reward_model.readouts.Focal`.
        weight: factor of the bonus, which itself lies between 0 and 1, and is 0.02 if one of
            7 × 7 patches at the centre shows the noun. COPL's weight is 5.
        centre: where things count most: ``centre`` of the frame; ``agent``, where the env's
            attribute ``agent_position`` says that its agent is; or ``[x, y]``. Both are shares of
            the width, from the left, and of the height, from the top.
        nothing: words for what shows no goal's noun, as CLIP reads them.
        argmax: count only the patches in which the noun is the most probable word.
        binary: a probability; count patches above it as 1, and the others as 0.
        potential: pay γΦ(s') - Φ(s) instead of Φ(s'), where Φ is the bonus, and 0 where an episode
            terminates. Then the best policy is the same as without a bonus.

    Raises:
        pydantic.ValidationError: a key is unknown, or a value is outside its range.

    Example:
        >>> BonusConfig(kind="focal", weight=0.5, centre=[0.5, 1.0]).centre
        (0.5, 1.0)
    """

    kind: Literal["focal"]
    weight: Positive
    centre: Literal["centre", "agent"] | tuple[float, float] = "centre"
    nothing: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)] = (
        NOTHING
    )
    argmax: bool = False
    binary: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None
    potential: bool = False

    @pydantic.field_validator("centre", mode="before")
    @classmethod
    def _check_centre(cls, given: Any) -> Any:
        if isinstance(given, str) and given in ("centre", "agent"):
            return given
        return position(given, "centre, agent, or [x, y]")

    def readout(self, goals: GoalSet, training: int) -> Focal:
        """Return the readout of goals, all of which have a noun.

        Args:
            goals: all goals.
            training: see :func:`compared_words`.
        """
        nouns, others = compared_words(goals, training, self.nothing)
        centre = _MIDDLE if self.centre == "centre" else self.centre
        known = None if isinstance(centre, str) else centre
        return Focal(nouns, others, known, argmax=self.argmax, binary=self.binary)


def compared_words(
    goals: GoalSet, training: int, nothing: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the noun of each goal, and the words that a patch may show instead.

    Args:
        goals: all goals, each of which has a noun.
        training: how many of them, from the first, are training goals. Only their nouns are
            compared with each other, so that held-out goals change nothing in training.
        nothing: words for what shows no goal's noun.
    """
    nouns = tuple(str(goal.noun) for goal in goals.goals)
    return nouns, tuple(dict.fromkeys((*nouns[:training], *nothing)))


def position(given: Any, expected: str = "x and y") -> tuple[float, float]:
    """Return a place in a frame as two shares of its width and height.

    Args:
        given: two numbers, also NumPy's or an array of them.
        expected: what else the caller takes, for the error.

    Raises:
        ValueError: they are not two numbers from 0 to 1.

    Example:
        >>> position([28, 52])
        Traceback (most recent call last):
        ...
        ValueError: got [28, 52], expected x and y: shares of the frame's width, from the left, \
and of its height, from the top, from 0 to 1. Divide pixels by the frame's size.
    """
    shares = given.tolist() if isinstance(given, np.ndarray) else given
    is_place = isinstance(shares, list | tuple) and len(shares) == 2
    if not is_place or not all(
        isinstance(share, int | float | np.integer | np.floating)
        and not isinstance(share, bool)
        and 0 <= share <= 1
        for share in shares
    ):
        raise ValueError(
            f"got {excerpt(given)}, expected {expected}: shares of the frame's width, from the "
            "left, and of its height, from the top, from 0 to 1. Divide pixels by the frame's size."
        )
    return float(shares[0]), float(shares[1])
