"""A calibrated threshold as a file, and what it was calibrated for."""

import dataclasses
import logging
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pydantic
from pydantic import Field

from rllib_vlm_reward.errors import ConfigError, LabelError
from rllib_vlm_reward.goals import GoalSet
from rllib_vlm_reward.reward_model.heads import Head, head_summary
from rllib_vlm_reward.settings import Positive, Section, dump_settings, read_settings, validated

__all__ = ["Calibration", "Estimate", "Target", "inline_calibration"]

VERSION = 2
_LOG = logging.getLogger(__name__)
_NAMED = 3  # of the statements that differ, or the goals that were not seen


class Estimate(Section):
    """A figure and its 95 % interval."""

    value: float
    low: float
    high: float


class Target(Section):
    """What a threshold must reach; one of the two.

    Attributes:
        precision: at least this share of the fires is at a success, in (0, 1).
        false_positives: at most so many fires an episode are not.

    Raises:
        pydantic.ValidationError: none or both are given, or a value outside its range.

    Example:
        >>> Target(precision=0.95).name
        'precision'
    """

    precision: float | None = None
    false_positives: Positive | None = None

    @pydantic.model_validator(mode="after")
    def _check(self) -> "Target":
        if (self.precision is None) == (self.false_positives is None):
            raise ValueError(
                f"target: got precision {self.precision} and false_positives "
                f"{self.false_positives}, expected one of the two. Give a precision, such as 0.95, "
                "or the false positives an episode, such as 0.05."
            )
        if self.precision is not None and not 0 < self.precision < 1:
            raise ValueError(
                f"precision: got {self.precision:g}, expected a share between 0 and 1, without "
                "these two: 95 % is 0.95."
            )
        return self

    @property
    def name(self) -> Literal["precision", "false_positives"]:
        """Which of the two is given."""
        return "false_positives" if self.precision is None else "precision"

    @property
    def value(self) -> float:
        """The one that is given."""
        return float(getattr(self, self.name))

    def reached(self, figures: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Return which of some figures reach it.

        Example:
            >>> Target(false_positives=0.05).reached([0.04, 0.06]).tolist()
            [True, False]
        """
        values = np.asarray(figures)
        return values >= self.value if self.name == "precision" else values <= self.value


class Calibration(Section):
    """A threshold, what it reaches, and the reward that it was calibrated for.

    Attributes:
        version: of the file's format.
        encoder: the name of the encoder.
        weights: SHA-256 of the encoder's weights, :attr:`.Encoder.fingerprint`.
        encoder_precision: in which the encoder computed, never ``auto``. A reward in another
            precision is not refused: :meth:`.CLIPEncoder.tower_for` bounds what that does to
            scores.
        frame_source: where the frames came from.
        head: the head's settings, in words.
        head_sha256: :meth:`.Head.digest` of the head, with the temperature below.
        temperature: τ; None is the model's own, or the head has none.
        goals: texts of the goals.
        unseen_goals: goals of training that no labelled frame had.
        statements: what CLIP reads: every prompt, negative and baseline.
        goals_sha256: :attr:`.GoalSet.fingerprint`, of goals, prompts, negatives and baselines.
        threshold: β. ``low`` and ``high``: see docs/calibration.md.
        target: what β was chosen for.
        precision, recall, false_positives: what it reaches on the labelled frames; false positives
            are counted by episode.
        frames, successes, episodes: how many there were.

    Raises:
        pydantic.ValidationError: another version, or what is no calibration.
    """

    is_whole: ClassVar[bool] = True

    version: int
    encoder: str
    weights: str
    encoder_precision: Annotated[str, Field(pattern="^(fp32|bf16|fp16)$")]
    frame_source: str
    head: str | dict[str, Any]
    head_sha256: str
    temperature: Positive | None = None
    goals: tuple[str, ...]
    unseen_goals: tuple[str, ...] = ()
    statements: tuple[str, ...]
    goals_sha256: str
    threshold: Estimate
    target: Target
    precision: Estimate
    recall: Estimate
    false_positives: Estimate
    frames: int
    successes: int
    episodes: int

    @pydantic.model_validator(mode="before")
    @classmethod
    def _know_version(cls, given: Any) -> Any:
        if isinstance(given, dict) and "version" not in given:
            raise ValueError(
                f"it is no calibration: got the keys {[*given]}, expected those that "
                "`rllib-vlm-reward calibrate` writes. Give the path of its --output."
            )
        if isinstance(given, dict) and given["version"] != VERSION:
            raise ValueError(
                f"version: got {given['version']!r}, expected {VERSION}. Set calibration: "
                "null, and calibrate anew with `rllib-vlm-reward calibrate` of this release."
            )
        return given

    @property
    def caveat(self) -> str:
        """A warning about goals without a labelled frame; empty if there are none."""
        if not self.unseen_goals:
            return ""
        return (
            f"calibration: {len(self.unseen_goals)} goals of training had no labelled frame, such "
            f"as {list(self.unseen_goals[:_NAMED])}. The threshold may be wrong for these: collect "
            "frames of them, and calibrate anew."
        )

    def save(self, path: Path) -> None:
        """Write it as YAML."""
        path.parent.mkdir(parents=True, exist_ok=True)
        content = self.model_dump(mode="json", exclude_none=True)
        path.write_text(dump_settings(content))

    @classmethod
    def load(cls, path: Path | str) -> "Calibration":
        """Read what :meth:`save` wrote.

        Raises:
            LabelError: there is no such file, or it holds something else.
        """
        try:
            settings = read_settings(Path(path))
        except (OSError, ConfigError) as error:
            raise LabelError(
                f"calibration: got {str(path)!r}, which cannot be read ({error}), expected the "
                "path of a file that `rllib-vlm-reward calibrate` wrote."
            ) from error
        try:
            return validated(cls, settings, f"calibration {path}")
        except ConfigError as error:
            raise LabelError(str(error)) from error

    def head_in_force(self, head: Head) -> Head:
        """Return a reward's head, with the calibrated temperature where it leaves that open.

        Raises:
            LabelError: the threshold was calibrated for another head.
        """
        fitted = head
        if head.has_temperature and getattr(head, "temperature", None) is None:
            fitted = dataclasses.replace(head, **{"temperature": self.temperature})
        if fitted.digest() != self.head_sha256:
            raise LabelError(
                f"calibration: it is for the head {self.head!r}, but the reward has "
                f"{head_summary(head)!r}. Set the same head, or set calibration: null and "
                "calibrate anew."
            )
        return fitted

    def check(
        self, *, threshold: float | None, frame_source: str, window: int, goals: GoalSet
    ) -> None:
        """Refuse a reward that the threshold was not calibrated for.

        Args:
            threshold: the reward's own; None where it has none.
            frame_source: where the reward's frames come from.
            window: how many frames make a score; a calibration is for one.
            goals: of the reward.

        Raises:
            LabelError: one of these is another, and which.
        """
        expected: dict[str, tuple[Any, Any]] = {
            "threshold": (self.threshold.value, threshold),
            "frames.source": (self.frame_source, frame_source),
            "frames.window": (1, window),
        }
        for key, (calibrated, given) in expected.items():
            if given not in (calibrated, None):
                raise LabelError(
                    f"calibration: it has {key} {calibrated!r}, the reward {given!r}. Remove that, "
                    "or set calibration: null and calibrate anew."
                )
        if goals.fingerprint != self.goals_sha256:
            raise LabelError(
                f"calibration: its goals differ from the reward's: {self._difference(goals)}. The "
                "threshold is not valid for these. Set calibration: null, and calibrate anew."
            )

    def _difference(self, goals: GoalSet) -> str:
        for kind, its, now in (
            ("goals", self.goals, goals.texts),
            ("prompts, negatives and baselines", self.statements, goals.statements),
        ):
            parts = [
                f"{len(texts)} {kind} {where}, as {texts[:_NAMED]}"
                for texts, where in (
                    ([text for text in its if text not in set(now)], "are in it alone"),
                    ([text for text in now if text not in set(its)], "in the reward alone"),
                )
                if texts
            ]
            if parts:
                return " and ".join(parts)
        return "the same statements, but weighed against others (num_negatives, negatives_seed)"

    def check_weights(self, weights: str, encoder: str) -> None:
        """Refuse another CLIP.

        Args:
            weights: SHA-256 of its weights.
            encoder: its name, for the message.

        Raises:
            LabelError: its weights are not those of the calibration.
        """
        if weights != self.weights:
            raise LabelError(
                f"calibration: it is for the encoder {self.encoder!r} with the weights "
                f"{self.weights[:12]}…, but {encoder!r} has the weights {weights[:12]}…. The "
                "threshold is not valid for these. Set calibration: null, and calibrate anew."
            )

    def warn(self) -> None:
        """Log its :attr:`caveat`, if there is one."""
        if self.caveat:
            _LOG.warning(self.caveat)


def inline_calibration(settings: Any) -> Any:
    """Return the settings of a reward, a ``calibration`` that is a path replaced by its content.

    Raises:
        LabelError: no such file, or other content.
    """
    given = settings.get("calibration") if isinstance(settings, dict) else None
    if not isinstance(given, str | Path):
        return settings
    return {**settings, "calibration": Calibration.load(given)}
