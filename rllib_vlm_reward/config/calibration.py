"""Calibrations: a threshold with the reward for which it was chosen, stored in a file."""

import dataclasses
import logging
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pydantic
from pydantic import Field

from rllib_vlm_reward.errors import ConfigError, LabelError
from rllib_vlm_reward.files import write_text
from rllib_vlm_reward.goals import GoalSet
from rllib_vlm_reward.reward_model.heads import Head, head_summary
from rllib_vlm_reward.settings import (
    Positive,
    Section,
    dump_settings,
    home_path,
    read_settings,
    validated,
)

__all__ = ["Calibration", "Estimate", "Target", "inline_calibration"]

VERSION = 2
_LOG = logging.getLogger(__name__)
_EXAMPLES = 3  # how many goals or statements a message names


class Estimate(Section):
    """An estimate and its 95 % interval.

    Attributes:
        value: the estimate.
        low: lower end of the interval.
        high: upper end of the interval.
    """

    value: Annotated[float, Field(allow_inf_nan=False)]
    low: float
    high: float


class Target(Section):
    """What a threshold must reach: a precision or a number of false positives.

    A threshold fires on a frame if its score exceeds the threshold.

    Attributes:
        precision: the smallest share of fires that are on a success, in (0, 1).
        false_positives: the largest mean number of fires per episode that are not on a success.

    Raises:
        pydantic.ValidationError: none or both are given, or a value is outside its range.

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
                "or the false positives per episode, such as 0.05."
            )
        if self.precision is not None and not 0 < self.precision < 1:
            raise ValueError(
                f"precision: got {self.precision:g}, expected a number between 0 and 1: 95 % is "
                "0.95."
            )
        return self

    @property
    def name(self) -> Literal["precision", "false_positives"]:
        """The name of the given target."""
        return "false_positives" if self.precision is None else "precision"

    @property
    def value(self) -> float:
        """The value of the given target."""
        return float(getattr(self, self.name))

    def reached(self, figures: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Return which of some values reach the target.

        Args:
            figures: precisions, or false positives per episode.

        Returns:
            A bool array of the same shape.

        Example:
            >>> Target(false_positives=0.05).reached([0.04, 0.06]).tolist()
            [True, False]
        """
        values = np.asarray(figures)
        return values >= self.value if self.name == "precision" else values <= self.value


class Calibration(Section):
    """A threshold, what it reaches, and the reward for which it was calibrated.

    Attributes:
        version: version of the file's format.
        encoder: the name of the encoder.
        weights: SHA-256 of the encoder's weights, :attr:`.Encoder.fingerprint`.
        encoder_precision: precision in which the encoder computed, never ``auto``. The reward may
            use another precision, since :meth:`.CLIPEncoder.tower_for` limits the change of scores.
        frame_source: where the frames came from.
        head: the head's settings.
        head_sha256: :meth:`.Head.digest` of the head, with the temperature below.
        temperature: τ; None if it is the model's, or if the head has none.
        goals: texts of the goals.
        unseen_goals: training goals that no labelled frame had.
        statements: the texts that CLIP reads: all prompts, negatives and baselines.
        goals_sha256: :attr:`.GoalSet.fingerprint`, of goals, prompts, negatives and baselines.
        threshold: β. For ``low`` and ``high`` see docs/calibration.md.
        target: the target for which β was chosen.
        precision: precision of β on the labelled frames.
        recall: recall of β on the labelled frames.
        false_positives: false positives per episode of β on the labelled frames.
        frames: number of labelled frames.
        successes: number of labelled frames that show a success.
        episodes: number of episodes of the labelled frames.

    Raises:
        pydantic.ValidationError: the version differs, or the settings are not a calibration.
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
    def _check_version(cls, given: Any) -> Any:
        if isinstance(given, dict) and "version" not in given:
            raise ValueError(
                f"not a calibration: got the keys {[*given]}, expected those that "
                "`rllib-vlm-reward calibrate` writes. Give the path of its "
                "--output."
            )
        if isinstance(given, dict) and given["version"] != VERSION:
            raise ValueError(
                f"version: got {given['version']!r}, expected {VERSION}. Set calibration: "
                "null, and calibrate again with `rllib-vlm-reward calibrate` of this release."
            )
        return given

    @property
    def caveat(self) -> str:
        """A warning about goals without a labelled frame; empty if there are none."""
        if not self.unseen_goals:
            return ""
        return (
            f"calibration: {len(self.unseen_goals)} training goals had no labelled frame, such as "
            f"{list(self.unseen_goals[:_EXAMPLES])}. The threshold may be wrong for these goals. "
            "Collect frames of them, and calibrate again."
        )

    def save(self, path: Path) -> None:
        """Write the calibration to a file as YAML."""
        content = self.model_dump(mode="json", exclude_none=True)
        write_text(path, dump_settings(content))

    @classmethod
    def load(cls, path: Path | str) -> "Calibration":
        """Read a file that :meth:`save` wrote.

        Raises:
            LabelError: the file does not exist, or is not a calibration.
        """
        try:
            settings = read_settings(home_path(path))
        except (OSError, ConfigError) as error:
            raise LabelError(
                f"calibration: got {str(path)!r}, which cannot be read ({error}). Give the path of "
                "a file that `rllib-vlm-reward calibrate` wrote."
            ) from error
        try:
            return validated(cls, settings, f"calibration {path}")
        except ConfigError as error:
            raise LabelError(str(error)) from error

    def head_in_force(self, head: Head) -> Head:
        """Return a reward's head, with the calibrated temperature if the head has None.

        Raises:
            LabelError: the threshold was calibrated for another head.
        """
        calibrated = head
        if head.has_temperature and getattr(head, "temperature", None) is None:
            calibrated = dataclasses.replace(head, **{"temperature": self.temperature})
        if calibrated.digest() != self.head_sha256:
            raise LabelError(
                f"calibration: it was made with the head {self.head!r}, but the reward has "
                f"{head_summary(head)!r}. Set the same head, or set calibration: null and "
                "calibrate again."
            )
        return calibrated

    def check(
        self, *, threshold: float | None, frame_source: str, window: int, goals: GoalSet
    ) -> None:
        """Check that the threshold was calibrated for a reward.

        Args:
            threshold: the reward's threshold, or None.
            frame_source: where the reward's frames come from.
            window: over how many frames a score is computed; calibrations need 1.
            goals: the reward's goals.

        Raises:
            LabelError: one of these differs. The message names it.
        """
        expected: dict[str, tuple[Any, Any]] = {
            "threshold": (self.threshold.value, threshold),
            "frames.source": (self.frame_source, frame_source),
            "frames.window": (1, window),
        }
        for key, (calibrated, given) in expected.items():
            if given not in (calibrated, None):
                raise LabelError(
                    f"calibration: it was made with {key} {calibrated!r}, but the reward has "
                    f"{given!r}. Remove {key}, or set calibration: null and calibrate again."
                )
        if goals.fingerprint != self.goals_sha256:
            raise LabelError(
                f"calibration: its goals differ from the reward's: {self._difference(goals)}. The "
                "threshold is not valid for them. Set calibration: null, and calibrate again."
            )

    def _difference(self, goals: GoalSet) -> str:
        for kind, calibrated, given in (
            ("goals", self.goals, goals.texts),
            ("prompts, negatives and baselines", self.statements, goals.statements),
        ):
            parts = [
                f"{len(texts)} {kind} are only in the {where}, such as {texts[:_EXAMPLES]}"
                for texts, where in (
                    ([text for text in calibrated if text not in set(given)], "calibration"),
                    ([text for text in given if text not in set(calibrated)], "reward"),
                )
                if texts
            ]
            if parts:
                return " and ".join(parts)
        return "the goals have other negatives (num_negatives, negatives_seed)"

    def check_weights(self, weights: str, encoder: str) -> None:
        """Check that an encoder has the weights of the calibration.

        Args:
            weights: SHA-256 of the encoder's weights.
            encoder: the encoder's name, for the error message.

        Raises:
            LabelError: the weights differ.
        """
        if weights != self.weights:
            raise LabelError(
                f"calibration: it was made with the encoder {self.encoder!r} with the weights "
                f"{self.weights[:12]}…, but {encoder!r} has the weights {weights[:12]}…. The "
                "threshold is not valid for them. Set calibration: null, and calibrate again."
            )

    def warn(self) -> None:
        """Log the :attr:`caveat`, if there is one."""
        if self.caveat:
            _LOG.warning(self.caveat)


def inline_calibration(settings: Any) -> Any:
    """Return a reward's settings, with the content of a calibration in place of its path.

    Raises:
        LabelError: the file does not exist, or is not a calibration.
    """
    given = settings.get("calibration") if isinstance(settings, dict) else None
    if not isinstance(given, str | Path):
        return settings
    return {**settings, "calibration": Calibration.load(given)}
