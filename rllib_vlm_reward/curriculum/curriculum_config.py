"""The settings of a curriculum."""

import difflib
import math
from collections import Counter
from collections.abc import Mapping
from itertools import chain
from typing import Any, Literal

from rllib_vlm_reward.settings import Section

__all__ = ["KINDS", "PROPOSERS", "CurriculumConfig", "ProposeConfig"]

# The built-in proposers and kinds of a curriculum. Any other kind is the import path of a class.
PROPOSERS = {"grammar": "rllib_vlm_reward.curriculum.compositions.Compositions"}
KINDS = {
    "uniform": "rllib_vlm_reward.curriculum.uniform.Uniform",
    "staged": "rllib_vlm_reward.curriculum.staged.Staged",
    "success_window": "rllib_vlm_reward.curriculum.success_window.SuccessWindow",
    "learning_progress": "rllib_vlm_reward.curriculum.learning_progress.LearningProgress",
}


class ProposeConfig(Section, place="curriculum.propose"):
    """Who proposes goals while training goes on, and how many of them are admitted.

    Attributes:
        kind: ``grammar``, which composes the words of the goals anew, or the import path of your
            own subclass of :class:`~rllib_vlm_reward.curriculum.Proposer`.
        every: number of iterations between two proposals.
        at_once: the most goals that are admitted at a time.
        at_most: the most training goals, with those of the beginning.
        most_alike: a goal is refused if the cosine of its prompt with a statement that there is
            already is this or more.
        seed: seed of the proposer.
        settings: keys for your own class.

    Raises:
        pydantic.ValidationError: a key or kind is unknown, or a value is outside its range.

    Example:
        >>> ProposeConfig(kind="gramar")
        Traceback (most recent call last):
        ...
        pydantic_core._pydantic_core.ValidationError: 1 validation error for ProposeConfig
          kind: got 'gramar', expected one of ['grammar'] or package.module.Class. \
Did you mean 'grammar'? ...
    """

    kind: str = "grammar"
    every: int = 5
    at_once: int = 10
    at_most: int = 500
    most_alike: float = 0.98
    seed: int = 0
    settings: dict[str, Any] = {}  # noqa: RUF012 - pydantic copies it for each instance

    def model_post_init(self, context: Any, /) -> None:
        """Check what the types do not express."""
        _check_kind(self.kind, PROPOSERS)
        for key in ("every", "at_once", "at_most"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key}: got {getattr(self, key)}, expected at least 1. Raise it.")
        if not 0.0 < self.most_alike <= 1.0:
            raise ValueError(
                f"most_alike: got {self.most_alike:g}, expected a cosine above 0, at most 1. "
                "Correct it."
            )


class CurriculumConfig(Section, place="curriculum"):
    """Which goals are drawn, and by which measure. A key that a kind does not use has no effect.

    Attributes:
        kind: ``uniform``, ``staged``, ``success_window``, ``learning_progress``, or the import path
            of your own subclass of :class:`~rllib_vlm_reward.curriculum.Curriculum`.
        signal: measure of how well the agent does at a goal: a field of
            :class:`~rllib_vlm_reward.curriculum.Outcome`, where a success is 1 and a failure 0. All
            kinds choose goals by it, except ``uniform``, which only records it.
        window: how many of a goal's last episodes count. At least 4 for ``learning_progress``.
        explore: share of the draws that is uniform over all goals. ``success_window`` and
            ``learning_progress`` use it, and ``staged``, over the goals of the stages reached.
        stages: families in the order in which they are learnt; each stage lists the families that
            it adds. ``staged`` uses it. If empty, each family is a stage; stages are sorted by the
            mean difficulty of their goals if every goal has one, else by the order of the goals.
        promote_at: mean of the signal at which a stage ends. ``staged`` uses it.
        rehearse: share of the draws for goals of earlier stages. ``staged`` uses it.
        low: smallest mean of the signal at which a goal is drawn. ``success_window`` uses it. Like
            ``high`` and ``promote_at``, it is in units of the signal: the defaults are for a
            success, so set them for a return.
        high: largest mean of the signal at which a goal is drawn. ``success_window`` uses it.
        settings: keys for your own class.
        propose: who proposes goals while training goes on, see :class:`.ProposeConfig`; None keeps
            the goals of the configuration.

    Raises:
        pydantic.ValidationError: a key or kind is unknown, or a value is outside its range.

    Example:
        >>> CurriculumConfig(kind="staged", stages=[["find"], ["lift", "place"]]).stages
        (('find',), ('lift', 'place'))
        >>> CurriculumConfig(kind="stage")
        Traceback (most recent call last):
        ...
        pydantic_core._pydantic_core.ValidationError: 1 validation error for CurriculumConfig
          kind: got 'stage', expected one of ['uniform', 'staged', 'success_window', \
'learning_progress'] or package.module.Class. Did you mean 'staged'? ...
    """

    kind: str = "uniform"
    signal: Literal["vlm_success", "vlm_return", "ground_truth_success", "ground_truth_return"] = (
        "vlm_success"
    )
    window: int = 32
    explore: float = 0.1
    stages: tuple[tuple[str, ...], ...] = ()
    promote_at: float = 0.8
    rehearse: float = 0.2
    low: float = 0.1
    high: float = 0.9
    settings: dict[str, Any] = {}  # noqa: RUF012 - pydantic copies it for each instance
    propose: ProposeConfig | None = None

    def model_post_init(self, context: Any, /) -> None:
        """Check what the types do not express."""
        _check_kind(self.kind, KINDS)
        self._check_numbers()
        self._check_stages()

    def _check_numbers(self) -> None:
        least = 4 if self.kind == "learning_progress" else 1
        if self.window < least:
            raise ValueError(
                f"window: got {self.window}, expected at least {least} for kind {self.kind!r}. "
                "Raise it."
            )
        for key in ("explore", "rehearse"):
            share = getattr(self, key)
            if not 0.0 <= share <= 1.0:
                raise ValueError(
                    f"{key}: got {share:g}, expected a share of the draws, from 0 to 1. Correct it."
                )
        for key in ("promote_at", "low", "high"):
            if not math.isfinite(getattr(self, key)):
                raise ValueError(
                    f"{key}: got {getattr(self, key):g}, expected a finite number. Correct it."
                )
            if self.signal.endswith("_success") and not 0.0 <= getattr(self, key) <= 1.0:
                raise ValueError(
                    f"{key}: got {getattr(self, key):g}, expected 0 to 1, as a mean of "
                    f"{self.signal}. Correct it, or choose a return as signal."
                )
        if self.kind == "staged" and self.rehearse == 1.0 and self.explore == 0.0:
            raise ValueError(
                "rehearse: got 1 with explore=0, so a new stage is never drawn. Lower rehearse."
            )
        if self.low >= self.high:
            raise ValueError(
                f"low: got {self.low:g}, expected less than high={self.high:g}. Swap them."
            )

    def _check_stages(self) -> None:
        if not all(self.stages):
            raise ValueError(f"stages: got an empty stage in {self.stages}. Remove it.")
        twice = [family for family, n in Counter(chain(*self.stages)).items() if n > 1]
        if twice:
            raise ValueError(
                f"stages: the families {twice} are named more than once. Name each family once, in "
                "the stage in which it is learnt; later stages rehearse it."
            )


def _check_kind(kind: str, kinds: Mapping[str, str]) -> None:
    parts = kind.split(".")
    if kind in kinds or (len(parts) > 1 and all(part.isidentifier() for part in parts)):
        return
    close = difflib.get_close_matches(kind, kinds, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else " Correct it."
    raise ValueError(
        f"kind: got {kind!r}, expected one of {list(kinds)} or package.module.Class.{hint}"
    )
