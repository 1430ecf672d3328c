"""Calibrations: a threshold with the reward for which it was chosen, stored in a file.

With several experts, a calibration also says whom of them to trust.
"""

import dataclasses
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pydantic
from pydantic import Field
from typing_extensions import Self

from rllib_vlm_reward.errors import ConfigError, LabelError
from rllib_vlm_reward.files import write_text
from rllib_vlm_reward.goals import Goal, GoalSet
from rllib_vlm_reward.reward_model.combiner import Trust
from rllib_vlm_reward.reward_model.heads import Head, head_summary
from rllib_vlm_reward.settings import (
    Positive,
    Section,
    dump_settings,
    home_path,
    messages,
    read_settings,
    validated,
)

__all__ = [
    "BaseCalibration",
    "Calibration",
    "Combination",
    "Estimate",
    "Target",
    "TrustCalibration",
    "TrustedExpert",
    "inline_calibration",
]

VERSION = 2
Number = Annotated[float, Field(allow_inf_nan=False)]
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


class BaseCalibration(Section):
    """What every calibration has: β and what it reaches; see :class:`Calibration`.

    Attributes:
        version: version of the file's format.
        goals: texts of the goals.
        unseen_goals: training goals that no labelled frame had.
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
    goals: tuple[str, ...]
    unseen_goals: tuple[str, ...] = ()
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
    def load(cls, path: Path | str) -> Self:
        """Read a file that :meth:`save` wrote.

        Raises:
            LabelError: the file does not exist, or is not a calibration of this kind.
        """
        return cls._validated(_read(path), path)

    @classmethod
    def _validated(cls, settings: Any, path: Path | str) -> Self:
        try:
            return validated(cls, settings, f"calibration {path}")
        except ConfigError as error:
            raise LabelError(str(error)) from error

    def warn(self) -> None:
        """Log the :attr:`caveat`, if there is one."""
        if self.caveat:
            _LOG.warning(self.caveat)


class Calibration(BaseCalibration):
    """A threshold, what it reaches, and the reward for which it was calibrated.

    Attributes:
        encoder: the name of the encoder.
        weights: SHA-256 of the encoder's weights, :attr:`.Encoder.fingerprint`.
        encoder_precision: precision in which the encoder computed, never ``auto``. The reward may
            use another precision, since :meth:`.CLIPEncoder.tower_for` limits the change of scores.
        frame_source: where the frames came from.
        head: the head's settings.
        head_sha256: :meth:`.Head.digest` of the head, with the temperature below.
        temperature: τ; None if it is the model's, or if the head has none.
        statements: the texts that CLIP reads: all prompts, negatives and baselines.
        goals_sha256: :attr:`.GoalSet.fingerprint`, of goals, prompts, negatives and baselines.

    The other attributes are those of :class:`BaseCalibration`.

    Raises:
        pydantic.ValidationError: the version differs, or the settings are not a calibration.
    """

    encoder: str
    weights: str
    encoder_precision: Annotated[str, Field(pattern="^(fp32|bf16|fp16)$")]
    frame_source: str
    head: str | dict[str, Any]
    head_sha256: str
    temperature: Positive | None = None
    statements: tuple[str, ...]
    goals_sha256: str

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
        _check_same(expected)
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

    def check_weights(self, weights: str, encoder: str, expert: str = "") -> None:
        """Check that an encoder has the weights of the calibration.

        Args:
            weights: SHA-256 of the encoder's weights.
            encoder: the encoder's name, for the error message.
            expert: empty, since the reward has no experts.

        Raises:
            LabelError: the weights differ.
        """
        if weights != self.weights:
            raise LabelError(
                f"calibration: it was made with the encoder {self.encoder!r} with the weights "
                f"{self.weights[:12]}…, but {encoder!r} has the weights {weights[:12]}…. The "
                "threshold is not valid for them. Set calibration: null, and calibrate again."
            )


class TrustedExpert(Section):
    """One of the experts of a :class:`TrustCalibration`.

    Attributes:
        encoder: the name of its encoder.
        weights: SHA-256 of the encoder's weights.
        encoder_precision: precision in which the encoder computed.
        frame_source: where its frames came from.
        head: the settings of its head.
        head_sha256: :meth:`.Head.digest` of the head.
        goals_sha256: :attr:`.GoalSet.fingerprint` of its prompts, negatives and baselines.
        probability: whether its evidence is the log-odds of its score, or the score itself.
        center: mean of the evidence over the labelled frames.
        scale: standard deviation of the evidence over the labelled frames.
        average_precision: of its scores alone, on the labelled frames.
    """

    encoder: str
    weights: str
    encoder_precision: Annotated[str, Field(pattern="^(fp32|bf16|fp16)$")]
    frame_source: str
    head: str | dict[str, Any]
    head_sha256: str
    goals_sha256: str
    probability: bool
    center: Number
    scale: Positive
    average_precision: Number


class Combination(Section):
    """How the scores of some experts become one.

    Attributes:
        experts: the experts that answer.
        families: by the goals' family, the bias and then the weight of each of these experts.
        goals: the same for each goal with labelled frames.
        threshold: the β of this combination, before it is shifted to that of all experts.
        reached: whether this β reaches the target; otherwise it is that of all experts.
        average_precision: on the labelled frames, of scores whose weights come from other episodes.
    """

    experts: tuple[str, ...]
    families: dict[str, tuple[Number, ...]]
    goals: dict[str, tuple[Number, ...]]
    threshold: Annotated[float, Field(gt=0.0, lt=1.0)]
    reached: bool
    average_precision: Number


class TrustCalibration(BaseCalibration):
    """Whom of several experts to trust, by goal, and a threshold on the combined score.

    Attributes:
        experts: the experts, by name.
        combinations: how the scores of each set of experts become one. The first is that of all
            experts.

    The other attributes are those of :class:`BaseCalibration`.

    Raises:
        pydantic.ValidationError: the version differs, or the settings are not a calibration.
    """

    experts: dict[str, TrustedExpert]
    combinations: tuple[Combination, ...]

    @pydantic.model_validator(mode="after")
    def _check_combinations(self) -> "TrustCalibration":
        sets = {frozenset(each.experts) for each in self.combinations}
        expected = 2 ** len(self.experts) - 1
        known = all(one <= self.experts.keys() and one for one in sets)
        lengths = {
            len(numbers) - 1 - len(each.experts)
            for each in self.combinations
            for numbers in (*each.families.values(), *each.goals.values())
        }
        if (
            not known
            or len(sets) != expected
            or len(self.combinations) != expected
            or lengths != {0}
        ):
            raise ValueError(
                f"combinations: got {len(self.combinations)} of {[*self.experts]}, expected one "
                f"for each of their {expected} sets, with a bias and a weight for each expert of "
                "the set. Do not change the file; calibrate again."
            )
        return self

    @property
    def caveat(self) -> str:
        """A warning about unseen goals, and about experts without which β misses the target."""
        missed = [list(each.experts) for each in self.combinations if not each.reached]
        if not missed:
            return super().caveat
        rest = (
            f"calibration: if only {missed[0]} answer, no threshold reaches the target"
            f"{f' ({len(missed)} such sets)' if len(missed) > 1 else ''}; the threshold of all "
            "experts is used then."
        )
        return f"{super().caveat} {rest}".strip()

    def head_in_force(self, head: Head) -> Head:
        """Return a reward's head: each expert has its own, which :meth:`check` compares."""
        return head

    def check(
        self,
        *,
        threshold: float | None,
        window: int,
        experts: Mapping[str, tuple[Head, str, GoalSet]],
    ) -> None:
        """Check that it was made for a reward.

        Args:
            threshold: the reward's threshold, or None.
            window: over how many frames a score is computed; calibrations need 1.
            experts: each expert's head, frame source and goals.

        Raises:
            LabelError: one of these differs. The message names it.
        """
        if set(experts) != set(self.experts):
            raise LabelError(
                f"calibration: it was made with the experts {sorted(self.experts)}, but the reward "
                f"has {sorted(experts) or 'none'}. Set the same experts, or set calibration: null "
                "and calibrate again."
            )
        for name, (head, source, goals) in experts.items():
            trusted = self.experts[name]
            for key, same, calibrated, given in (
                ("head", head.digest() == trusted.head_sha256, trusted.head, head_summary(head)),
                ("frames.source", source == trusted.frame_source, trusted.frame_source, source),
            ):
                if not same:
                    raise LabelError(
                        f"calibration: expert {name!r}: it was made with {key} {calibrated!r}, but "
                        f"the reward has {given!r}. Correct {key}, or set calibration: null and "
                        "calibrate again."
                    )
            if goals.fingerprint != trusted.goals_sha256:
                raise LabelError(
                    f"calibration: expert {name!r}: its goals, prompts, negatives or baselines "
                    "differ from the reward's. The weights are not valid for them. Set "
                    "calibration: null, and calibrate again."
                )
        _check_same({"threshold": (self.threshold.value, threshold), "frames.window": (1, window)})

    def check_weights(self, weights: str, encoder: str, expert: str) -> None:
        """Check that an expert's encoder has the weights of the calibration.

        Args:
            weights: SHA-256 of the encoder's weights.
            encoder: the encoder's name, for the error message.
            expert: the name of the expert.

        Raises:
            LabelError: the weights differ.
        """
        trusted = self.experts[expert]
        if weights != trusted.weights:
            raise LabelError(
                f"calibration: expert {expert!r}: it was made with the encoder "
                f"{trusted.encoder!r} with the weights {trusted.weights[:12]}…, but {encoder!r} "
                f"has the weights {weights[:12]}…, for which its place in the combination is not "
                "valid. Set calibration: null, and calibrate again."
            )

    def shares(self) -> dict[str, float]:
        """Return each expert's share of all weights, averaged over goals, if all answer."""
        everyone = self.combinations[0]
        numbers = np.array([*everyone.goals.values()])[:, 1:]
        totals = numbers.sum(axis=1, keepdims=True)
        shares = np.divide(numbers, totals, out=np.zeros_like(numbers), where=totals > 0)
        return dict(zip(everyone.experts, shares.mean(axis=0).tolist(), strict=True))

    def lines(self) -> list[str]:
        """Return lines that show the experts and their combination."""
        shares, combined = self.shares(), self.combinations[0].average_precision
        width = max(18, *(len(name) + 1 for name in shares))
        rows = [
            f"{name:<{width}} average precision {each.average_precision:.4f}, "
            f"{shares[name]:.0%} of the weights"
            for name, each in self.experts.items()
        ]
        return [*rows, f"{'all of them':<{width}} average precision {combined:.4f}"]

    def combiner(self, goals: GoalSet, experts: Sequence[str]) -> Trust:
        """Return the combination for a goal set.

        Args:
            goals: the reward's goals, for each of which the calibration has weights: its own, or
                those of its family.
            experts: the names of the experts, in the order of their scores.

        Raises:
            LabelError: the calibration has neither the goal nor its family.
        """
        beta = _exact_log_odds(self.threshold.value)
        weights, biases = {}, {}
        for each in self.combinations:
            places = [experts.index(name) for name in each.experts]
            numbers = np.array([self._numbers(each, goal) for goal in goals.goals], np.float64)
            table = np.zeros((len(goals), len(experts)))
            table[:, places] = numbers[:, 1:]
            key = sum(1 << place for place in places)
            # So one β holds for all combinations.
            shift = beta - _exact_log_odds(each.threshold)
            weights[key], biases[key] = table, numbers[:, 0] + shift
        trusted = [self.experts[name] for name in experts]
        return Trust(
            probabilities=tuple(each.probability for each in trusted),
            centers=np.array([each.center for each in trusted]),
            scales=np.array([each.scale for each in trusted]),
            weights=weights,
            biases=biases,
        )

    @staticmethod
    def _numbers(combination: Combination, goal: Goal) -> tuple[float, ...]:
        found = combination.goals.get(goal.text) or combination.families.get(goal.family)
        if found is None:
            raise LabelError(
                f"calibration: goal {goal.text!r} is of the family {goal.family!r}, but the "
                f"calibration has {[*combination.families]}. Name its family as when it was made, "
                "or set calibration: null and calibrate again."
            )
        return found


def _exact_log_odds(probability: float) -> float:
    return math.log(probability) - math.log1p(-probability)


def inline_calibration(settings: Any) -> Any:
    """Return a reward's settings, with a calibration in place of its path or content.

    Raises:
        LabelError: the file does not exist, or is not a calibration.
    """
    given = settings.get("calibration") if isinstance(settings, dict) else None
    if isinstance(given, str | Path):
        content = _read(given)
        return {**settings, "calibration": _kind_of(content)._validated(content, given)}
    if isinstance(given, dict):
        try:
            return {**settings, "calibration": _kind_of(given).model_validate(given)}
        except pydantic.ValidationError as error:
            raise ValueError(
                "; ".join(f"calibration.{each}" for each in messages(error))
            ) from error
    return settings


def _kind_of(content: Any) -> "type[Calibration] | type[TrustCalibration]":
    is_trust = isinstance(content, dict) and "experts" in content
    return TrustCalibration if is_trust else Calibration


def _read(path: Path | str) -> Any:
    try:
        return read_settings(home_path(path))
    except (OSError, ConfigError) as error:
        raise LabelError(
            f"calibration: got {str(path)!r}, which cannot be read ({error}). Give the path of "
            "a file that `rllib-vlm-reward calibrate` wrote."
        ) from error


def _check_same(settings: Mapping[str, tuple[Any, Any]]) -> None:
    """Compare settings of a calibration with those of the reward; None agrees with each."""
    for key, (calibrated, given) in settings.items():
        if given not in (calibrated, None):
            raise LabelError(
                f"calibration: it was made with {key} {calibrated!r}, but the reward has "
                f"{given!r}. Remove {key}, or set calibration: null and calibrate again."
            )
