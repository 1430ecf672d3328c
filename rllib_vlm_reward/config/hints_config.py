"""The settings of hints, which pay what leads to a goal."""

from typing import Annotated, Literal

from pydantic import Field

from rllib_vlm_reward.goals import Hint
from rllib_vlm_reward.settings import Positive, Section, declare_keys

__all__ = ["HintConfig", "HintsConfig"]


class HintConfig(Section):
    """A :class:`~rllib_vlm_reward.goals.Hint` in YAML."""

    statement: str
    nothing: str | None = None


class HintsConfig(Section):
    """A bonus for statements that an agent reaches on the way to its goal, as in DLLM.

    It never ends an episode and never counts as success; it has a metric of its own.

    Attributes:
        goals: for each pattern of goals, such as ``put {} next to {}``, a list of statements as
            CLIP reads them, with ``{0}`` for what stands in the first blank of the goal; or with
            ``{statement: ..., nothing: ...}`` also what holds if it does for no goal. A goal has
            the hints of the first pattern that it matches.
        weight: what is paid for a hint, before it decays.
        decay: how it decays with the number n of times that it was paid before, in all env runners:
            ``count`` multiplies it by 1/√(1 + n), ``rnd`` by how new the text embedding of its
            statement is, and ``none`` not at all.
        repeatable: pay a hint in every frame where it holds, instead of once in an episode.
        threshold: a hint holds where the score of its statement exceeds this. None takes the
            threshold of the goals.

    Raises:
        pydantic.ValidationError: a key is unknown, or a value is outside its range.

    Example:
        >>> config = HintsConfig(goals={"lift {}": ["facing {0}"]}, weight=0.2)
        >>> config.hints
        (Hint(pattern='lift {}', statement='facing {0}', nothing=None),)
    """

    goals: Annotated[
        dict[str, Annotated[tuple[str | HintConfig, ...], Field(min_length=1)]],
        Field(min_length=1),
    ]
    weight: Positive
    decay: Literal["count", "rnd", "none"] = "count"
    repeatable: bool = False
    threshold: Annotated[float, Field(allow_inf_nan=False)] | None = None

    @property
    def hints(self) -> tuple[Hint, ...]:
        """The hints of all patterns, in order.

        Raises:
            GoalError: see :class:`.Hint`.
        """
        return tuple(
            Hint(pattern, given)
            if isinstance(given, str)
            else Hint(pattern, given.statement, given.nothing)
            for pattern, each in self.goals.items()
            for given in each
        )


# Whoever writes `goals`, `weight` or `threshold` elsewhere means another key.
declare_keys("vlm_reward.hints", {"decay", "repeatable"})
