"""Charts of an evaluation: five, with all candidates in each."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from rllib_vlm_reward.evaluation.evaluate import Assessment
from rllib_vlm_reward.files import replaced_file
from rllib_vlm_reward.metrics.precision_recall import precision_recall
from rllib_vlm_reward.metrics.reliability import reliability

__all__ = ["CHARTS", "save_charts"]

Assessments = Sequence[Assessment]
CHARTS = {
    "precision_recall": "Precision and recall over β; the point is β itself",
    "scores": "Scores of successes and of the other frames",
    "reliability": "Reliability: are 80 % of the frames with a score of 0.8 successes?",
    "steps_to_go": "Score by the oracle's steps to go: median and quartiles",
    "goals": "Average precision by goal, with 95 % intervals",
}
"""The charts' names and what they show."""

_MOST_GOALS = 36
_LABEL = 40
_GREY = "#888888"


def save_charts(folder: Path, assessments: Assessments) -> list[str]:
    """Save the charts as PNG files, named as in :data:`CHARTS`.

    Returns:
        the names of the charts that were saved: ``reliability`` needs a score that is a
        probability, and ``steps_to_go`` frames for which an oracle knows them.
    """
    drawn = {
        "precision_recall": (_draw_curves, True),
        "scores": (_draw_histograms, True),
        "reliability": (_draw_reliability, any(_probabilities(assessments))),
        "steps_to_go": (_draw_steps_to_go, _known_steps(assessments[0]).any()),
        "goals": (_draw_goals, True),
    }
    saved = [name for name, (_, has) in drawn.items() if has]
    for name in saved:
        _save(folder / f"{name}.png", CHARTS[name], drawn[name][0], assessments)
    return saved


def _save(
    path: Path, title: str, draw: Callable[[Axes, Assessments], None], assessments: Assessments
) -> None:
    figure, axes = plt.subplots(figsize=(6.6, 4.8), layout="constrained")
    draw(axes, assessments)
    axes.set_title(title, fontsize=11)
    axes.grid(alpha=0.3)
    figure.legend(fontsize=8, ncols=2, loc="outside lower center")
    with replaced_file(path) as fresh:
        figure.savefig(fresh, dpi=150)
    plt.close(figure)


def _draw_curves(axes: Axes, assessments: Assessments) -> None:
    for number, assessment in enumerate(assessments):
        scored, figures = assessment.scored, assessment.figures
        curve = precision_recall(scored.scores, scored.frames.labels)
        label = f"{_short(assessment.name)}: AP {figures['average_precision'].value:.3f}"
        # Curves of good scores lie on one another: the first is seen around the next.
        width = min(6, 2 + 1.3 * (len(assessments) - 1 - number))
        drawn = axes.step(curve.recall, curve.precision, where="post", label=label, lw=width)
        drawn[0].set_color(f"C{number}")
        point = figures["recall"].value, figures["precision"].value
        axes.plot(*point, "o", color=f"C{number}", mec="black", ms=7, clip_on=False, zorder=3)
    share = assessments[0].figures.share
    axes.axhline(share, color=_GREY, ls=":", label=f"share of successes {share:.3f}")
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.02))


def _draw_histograms(axes: Axes, assessments: Assessments) -> None:
    """Draw a row for each candidate: successes above a line, the other frames below."""
    for row, assessment in enumerate(assessments):
        scored = assessment.scored
        low, high = float(scored.scores.min()), float(scored.scores.max())
        edges = np.linspace(low, high if high > low else low + 1, 41)
        for success, sign in ((True, 1), (False, -1)):
            frames = np.histogram(scored.scores[scored.frames.labels == success], edges)[0]
            heights = 0.45 * np.log1p(frames) / np.log1p(len(scored.scores))
            label = ("success" if success else "no success") if row == 0 else None
            places = edges[:-1], sign * heights, edges[1:] - edges[:-1]
            color = "tab:green" if success else "tab:red"
            axes.bar(places[0], places[1], places[2], -row, align="edge", color=color, label=label)
        beta = "β" if row == 0 else None
        axes.plot([scored.threshold] * 2, [-row - 0.45, -row + 0.45], "k--", label=beta)
    names = [_short(assessment.name) for assessment in assessments]
    axes.set_yticks(range(0, -len(names), -1), names, fontsize=8)
    axes.set(xlabel="score (heights: the logarithm of the number of frames)")


def _draw_reliability(axes: Axes, assessments: Assessments) -> None:
    for number, assessment in enumerate(assessments):
        scored = assessment.scored
        if not scored.are_probabilities:
            continue
        curve = reliability(scored.scores, scored.frames.labels)
        filled = curve.frames > 0
        error = assessment.figures["calibration_error"].value
        label = f"{_short(assessment.name)}: ECE {error:.3f}"
        places = curve.predicted[filled], curve.observed[filled]
        axes.plot(*places, "-", color=f"C{number}", label=label)
        axes.scatter(*places, 8 + 20 * np.log10(curve.frames[filled]), color=f"C{number}")
    axes.plot([0, 1], [0, 1], ":", color=_GREY, label="perfectly calibrated")
    axes.set(xlabel="score (larger dots: more frames)", ylabel="share of successes")


def _draw_steps_to_go(axes: Axes, assessments: Assessments) -> None:
    for number, assessment in enumerate(assessments):
        known = _known_steps(assessment)
        steps = np.round(assessment.scored.frames.steps_to_go[known]).astype(int)
        scores = assessment.scored.scores[known]
        bins = np.unique(steps)
        parts = [np.quantile(scores[steps == step], (0.25, 0.5, 0.75)) for step in bins]
        low, middle, high = np.array(parts).T
        axes.plot(bins, middle, "o-", color=f"C{number}", label=_short(assessment.name), ms=3)
        axes.fill_between(bins, low, high, color=f"C{number}", alpha=0.2)
    axes.set(xlabel="steps to go", ylabel="score")
    axes.invert_xaxis()


def _draw_goals(axes: Axes, assessments: Assessments) -> None:
    """Draw bars by goal; of many goals those with the least AP of the first candidate."""
    first = assessments[0].goals
    known = [goal for goal in first if first[goal].successes]
    shown = sorted(known, key=lambda goal: first[goal]["average_precision"].value)[:_MOST_GOALS]
    width = 0.8 / len(assessments)
    for number, assessment in enumerate(assessments):
        intervals = [assessment.goals[goal]["average_precision"] for goal in shown]
        values = np.array([each.value for each in intervals])
        ends = np.array([(each.low, each.high) for each in intervals]).reshape(-1, 2).T
        errors = np.abs(ends - values)  # NaN, which is not drawn, where there is no interval
        places = np.arange(len(shown)) + width * (number + 0.5) - 0.4
        label = _short(assessment.name)
        axes.bar(places, values, width, yerr=errors, capsize=2, color=f"C{number}", label=label)
    names = [_short(goal) for goal in shown]
    axes.set_xticks(range(len(shown)), names, rotation=45, ha="right", fontsize=7)
    axes.set(ylabel="average precision", ylim=(0, 1.05))


def _probabilities(assessments: Assessments) -> Iterator[bool]:
    return (assessment.scored.are_probabilities for assessment in assessments)


def _known_steps(assessment: Assessment) -> np.typing.NDArray[np.bool_]:
    return np.isfinite(assessment.scored.frames.steps_to_go)


def _short(name: str) -> str:
    return name if len(name) <= _LABEL else f"…{name[1 - _LABEL :]}"
