"""How a run chooses its goals: one flat section, so that Tune can search every key."""

import difflib
import math
from collections import Counter
from itertools import chain
from typing import Any, Literal

from rllib_vlm_reward.settings import Section

__all__ = ["KINDS", "CurriculumConfig"]

# The only table of the built-in kinds. A kind outside of it is the import path of a class.
KINDS = {
    "uniform": "rllib_vlm_reward.curriculum.uniform.Uniform",
    "staged": "rllib_vlm_reward.curriculum.staged.Staged",
    "success_window": "rllib_vlm_reward.curriculum.success_window.SuccessWindow",
    "learning_progress": "rllib_vlm_reward.curriculum.learning_progress.LearningProgress",
}


class CurriculumConfig(Section, place="curriculum"):
    """Which goals are drawn, and by which measure. A key that a kind does not read has no effect.

    Attributes:
        kind: ``uniform``, ``staged``, ``success_window``, ``learning_progress``, or the import path
            of your own subclass of :class:`~rllib_vlm_reward.curriculum.Curriculum`.
        signal: the measure of how well a goal goes, a field of
            :class:`~rllib_vlm_reward.curriculum.Outcome`; a success counts 1, a failure 0. Every
            kind but ``uniform``, which only records it, draws by it.
        window: how many of a goal's last episodes count. At least 4 for ``learning_progress``.
        explore: share of the draws that is uniform over all goals; read by ``success_window`` and
            ``learning_progress``, and by ``staged`` over the goals of the stages reached.
        stages: families in the order in which they are learnt; each stage lists the families that
            it adds; read by ``staged``. If empty, each family is a stage, ordered by the mean
            difficulty of its goals if every goal has one, else in the order of the goals.
        promote_at: mean of the signal that ends a stage; read by ``staged``.
        rehearse: share of the draws for goals of earlier stages; read by ``staged``.
        low, high: means of the signal between which a goal is worth drawing; read by
            ``success_window``. Like ``promote_at``, they are in the units of the signal: the
            defaults suit a success, so set them for a return.
        settings: free keys for your own class.

    Raises:
        pydantic.ValidationError: an unknown key or kind, or a value outside its range.

    Example:
        >>> CurriculumConfig(kind="staged", stages=[["find"], ["lift", "place"]]).stages
        (('find',), ('lift', 'place'))
        >>> CurriculumConfig(kind="stage")
        Traceback (most recent call last):
        ...
        pydantic_core._pydantic_core.ValidationError: 1 validation error for CurriculumConfig
          Value error, kind: got 'stage', expected one of ['uniform', 'staged', 'success_window', \
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

    def model_post_init(self, context: Any, /) -> None:
        """Check what the types do not say."""
        self._check_kind()
        self._check_numbers()
        self._check_stages()

    def _check_kind(self) -> None:
        steps = self.kind.split(".")
        if self.kind in KINDS or (len(steps) > 1 and all(step.isidentifier() for step in steps)):
            return
        close = difflib.get_close_matches(self.kind, KINDS, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            f"kind: got {self.kind!r}, expected one of {list(KINDS)} or package.module.Class.{hint}"
        )

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
                    f"{key}: got {share:g}, expected a share of the draws, 0 to 1. Correct it."
                )
        for key in ("promote_at", "low", "high"):
            if not math.isfinite(getattr(self, key)):
                raise ValueError(f"{key}: got {getattr(self, key):g}, expected a finite number.")
            if self.signal.endswith("_success") and not 0.0 <= getattr(self, key) <= 1.0:
                raise ValueError(
                    f"{key}: got {getattr(self, key):g}, expected 0 to 1, a mean of "
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
