"""Scores along an episode, or over a grid of states, and charts of them."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.errors import GoalError
from rllib_vlm_reward.evaluation.cosines import Cosines
from rllib_vlm_reward.evaluation.env_states import Axis
from rllib_vlm_reward.evaluation.labelled import FRAMES_AT_ONCE
from rllib_vlm_reward.evaluation.models import with_each_model
from rllib_vlm_reward.evaluation.trajectory import Trajectory
from rllib_vlm_reward.files import replaced_file
from rllib_vlm_reward.frames import Frames
from rllib_vlm_reward.reward_model.heads import head_summary
from rllib_vlm_reward.reward_model.model import RewardModel
from rllib_vlm_reward.reward_model.scorer import Scores
from rllib_vlm_reward.run.frame_pictures import lit

__all__ = ["Line", "lines", "only_goal", "save_curves", "save_heat", "save_trajectory"]

_OTHERS = 2

Numbers = npt.NDArray[np.float32]
_MOST_FRAMES = 12
_INCHES, _LEFT, _RIGHT, _HEIGHT, _GAP = 10.0, 0.95, 0.25, 3.0, 0.55
_MOST_HEAT, _LEGEND_ROW = 4.5, 0.21

Places = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Line:
    """One reward's scores of N frames against one goal.

    Attributes:
        name: the reward's name.
        config: the reward.
        weights: SHA-256 of the CLIP's weights.
        scores: float32 ``[N]``.
        temperature: τ of the softmax; None for a head without one.
        others: p of at most two other statements, those that reach the highest p at any frame,
            by text, float32 ``[N]``; empty for a head without a softmax.
        maps: where the goal is in each frame, float32 ``[N, h, w, 1]``; None without ``goal_map``.
    """

    name: str
    config: VLMRewardConfig
    weights: str
    scores: Scores
    temperature: float | None
    others: Mapping[str, Numbers]
    maps: Numbers | None = None

    def over(self, frames: Frames) -> Frames:
        """Return the N frames with the maps drawn over them, or as they are without maps."""
        if self.maps is None:
            return frames
        return np.stack([lit(frame, each) for frame, each in zip(frames, self.maps, strict=True)])

    def to_dict(self) -> dict[str, Any]:
        """Return the line for JSON."""
        config = self.config
        return {
            "name": self.name,
            "encoder": config.encoder,
            "head": head_summary(config.head_in_force),
            "temperature": self.temperature,
            "threshold": config.threshold_in_force,
            "weights": self.weights,
            "scores": _plain(self.scores),
            "others": {text: _plain(values) for text, values in self.others.items()},
        }


def lines(
    rewards: Mapping[str, VLMRewardConfig], frames: Frames, goal: str, *, device: str = "cpu"
) -> list[Line]:
    """Score frames against a goal with each reward.

    Args:
        rewards: by name, see :func:`.candidates`.
        frames: uint8 ``[N, H, W, 3]``.
        goal: a text among each reward's goals.
        device: where the CLIPs compute.

    Raises:
        GoalError: a reward does not have the goal.
        LabelError: a reward's calibration was made with other weights.
        CheckpointError, FrameError, RewardError: see :meth:`.CLIPEncoder.load` and
            :meth:`.RewardModel.score`.

    Example:
        >>> config = VLMRewardConfig(encoder="small", goals=["a red {ball|key}"])
        >>> (line,) = lines({"run": config}, np.zeros((3, 8, 8, 3), np.uint8), "a red key")
        >>> line.scores.shape, list(line.others)
        ((3,), ['a red ball'])
    """
    drawn = with_each_model(
        rewards,
        lambda name, model: _line(name, model, rewards[name], frames, goal),
        frames=len(frames),
        device=device,
    )
    return list(drawn.values())


def only_goal(config: VLMRewardConfig, goal: str | None) -> str:
    """Return the requested goal, or the only one.

    Raises:
        GoalError: there are several and none is requested, or the requested one is unknown.

    Example:
        >>> only_goal(VLMRewardConfig(encoder="small", goals=["a key"], head="cosine"), None)
        'a key'
    """
    goals = config.goal_set
    if goal is None and len(goals) > 1:
        raise GoalError(
            f"goal: got none, expected one of {len(goals)}, since a state names no goal. Pass "
            f"--goal, such as {goals.texts[0]!r}."
        )
    return goals[0 if goal is None else goals.index(goal)].text


def _line(
    name: str, model: RewardModel, config: VLMRewardConfig, frames: Frames, goal: str
) -> Line:
    config.check_weights(model.encoder.fingerprint)
    scorer = config.scorer
    indices = np.full(len(frames), scorer.goals.index(goal))
    batches = np.split(frames, [*range(FRAMES_AT_ONCE, len(frames), FRAMES_AT_ONCE)])
    scores = [model.score(batch, indices[: len(batch)], scorer) for batch in batches]
    temperature: float | None = None
    others: dict[str, Numbers] = {}
    if scorer.head.has_temperature:
        cosines = Cosines.of(model, scorer, indices, batches)
        temperature = getattr(scorer.head, "temperature", None) or cosines.temperature
        others = _others(cosines, temperature)
    maps: Numbers | None = None
    if config.map_readout is not None:
        with_map = dataclasses.replace(scorer, readouts=(config.map_readout,))
        answers = [model.answer(batch, indices[: len(batch)], with_map) for batch in batches]
        maps = np.concatenate(answers)[:, 1:].reshape(len(frames), *config.map_size, 1)
    weights = model.encoder.fingerprint
    return Line(name, config, weights, np.concatenate(scores), temperature, others, maps)


def _others(cosines: Cosines, temperature: float) -> dict[str, Numbers]:
    shares = cosines.probabilities(temperature)
    highest = np.where(cosines.is_compared[0], shares.max(axis=0), -1.0)
    highest[cosines.prompt_index[0]] = -1.0
    best = [int(i) for i in np.argsort(-highest, kind="stable")[:_OTHERS] if highest[i] >= 0]
    return {cosines.statements[i]: shares[:, i] for i in best}


def _plain(values: Numbers) -> list[float]:
    return [round(float(value), 6) for value in values]


def save_trajectory(path: Path, trajectory: Trajectory, lines: Sequence[Line]) -> None:
    """Save the scores along an episode as a PNG, with β, ground truth, and the frames below."""
    steps = np.array(trajectory.steps, np.float64)
    figure, above = _above_frames(steps, trajectory.frames)
    above.xaxis.set_major_locator(MaxNLocator(integer=True))
    for step, success in zip(steps, trajectory.success or (), strict=False):
        if success:
            above.axvspan(step - 0.5, step + 0.5, color="tab:green", alpha=0.15, lw=0)
    if any(trajectory.success or ()):
        above.axvspan(np.nan, np.nan, color="tab:green", alpha=0.15, label="success (ground truth)")
    for number, line in enumerate(lines):
        _draw_line(above, steps, line, f"C{number}")
    if len(lines) == 1:
        for number, (text, values) in enumerate(lines[0].others.items(), start=1):
            above.plot(steps, values, f"C{number}--", lw=1, label=f"p of “{text}”")
    above.set(
        ylabel="score", title=f"{trajectory.goal}  ({trajectory.player}, {trajectory.episode})"
    )
    _save(path, figure, above, "step")


def save_curves(path: Path, axis: Axis, frames: Frames, lines: Sequence[Line], goal: str) -> None:
    """Save the scores over one variable of the state as a PNG, with a few states below.

    Several lines are each scaled from their lowest to their highest score, since their offsets
    would hide their shapes.
    """
    figure, above = _above_frames(axis.values, frames)
    if len(lines) == 1:
        _draw_line(above, axis.values, lines[0], "C0")
    for number, line in enumerate(lines if len(lines) > 1 else ()):
        low, high = float(line.scores.min()), float(line.scores.max())
        heights = (line.scores - low) / ((high - low) or 1.0)
        above.plot(
            axis.values, heights, f"C{number}", label=f"{line.name}: {low:.4f} to {high:.4f}"
        )
    label = "score, least to largest"
    if len(lines) == 1:  # the axis alone would not show how little a score moves
        label = f"score, {lines[0].scores.min():.4f} to {lines[0].scores.max():.4f}"
    above.set(ylabel=label, title=goal)
    _save(path, figure, above, axis.name)


def save_heat(
    path: Path, axes: Sequence[Axis], frames: Frames, lines: Sequence[Line], goal: str
) -> None:
    """Save the scores over two variables as heat maps, with states of the first one below.

    Args:
        path: the PNG file.
        axes: two axes; the first one is drawn to the right.
        frames: uint8 ``[N1, N2, H, W, 3]``.
        lines: one line for each reward, with N1 · N2 scores.
        goal: the goal's text.
    """
    across, up = axes
    figure = plt.figure(figsize=(_MOST_HEAT * max(len(lines), 2), 5.6), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=(4, 1))
    maps, beneath = parts
    for line, place in zip(lines, maps.subplots(1, len(lines), squeeze=False)[0], strict=True):
        scores = line.scores.reshape(across.number, up.number)
        drawn = place.pcolormesh(across.values, up.values, scores.T, shading="nearest")
        threshold = line.config.threshold_in_force
        if threshold is not None and scores.min() < threshold < scores.max():
            place.contour(across.values, up.values, scores.T, [threshold], colors="white")
        place.set(xlabel=across.name, ylabel=up.name)
        place.set_title(line.name, fontsize=9)
        maps.colorbar(drawn, ax=place)
    maps.suptitle(goal)
    middle = frames[:, up.number // 2]
    shown = _spread(across.number, 7)
    for row, place in zip(shown, beneath.subplots(1, len(shown)), strict=True):
        place.imshow(middle[row])
        place.set_axis_off()
        place.set_title(f"{across.name} = {across.values[row]:.2f}", fontsize=8)
    with replaced_file(path) as fresh:
        figure.savefig(fresh, dpi=100)
    plt.close(figure)


def _draw_line(axes: Axes, places: Places, line: Line, color: str) -> None:
    threshold = line.config.threshold_in_force
    axes.plot(places, line.scores, "-", color=color, lw=2, label=line.name)
    if threshold is None:
        return
    fires = line.scores > threshold
    axes.plot(places[fires], line.scores[fires], "o", color=color, ms=7, mec="black")
    axes.axhline(threshold, color=color, ls=":", label=f"β = {threshold:.3g}; ● fires")


def _above_frames(places: Places, frames: Frames) -> tuple[Figure, Axes]:
    """Return a figure with axes for scores, and some frames below their places."""
    shown = _spread(len(places), _MOST_FRAMES)
    width = _INCHES - _LEFT - _RIGHT
    gap = places[shown[-1]] - places[shown[-2]] if len(shown) > 1 else 1.0
    low, high = places.min() - gap / 2, places.max() + gap / 2
    side = min(width * gap / (high - low), 1.6)
    tall = side * frames.shape[1] / frames.shape[2]
    height = _HEIGHT + tall + 2 * _GAP
    figure = plt.figure(figsize=(_INCHES, height))

    def box(left: float, bottom: float, wide: float, high: float) -> Any:
        return left / _INCHES, bottom / height, wide / _INCHES, high / height

    above = figure.add_axes(box(_LEFT, tall + 1.2 * _GAP, width, _HEIGHT))
    above.set_xlim(low, high)
    for row in shown:
        middle = _LEFT + width * (places[row] - low) / (high - low)
        beneath = figure.add_axes(box(middle - 0.47 * side, 0.1, 0.94 * side, 0.94 * tall))
        beneath.imshow(frames[row], aspect="auto")
        beneath.set_axis_off()
    return figure, above


def _spread(number: int, most: int) -> list[int]:
    """Return evenly spaced rows; the last one, which may be a success, is among them."""
    stride = max(-(-(number - 1) // (most - 1)), 1)
    return list(range((number - 1) % stride, number, stride))


def _save(path: Path, figure: Figure, axes: Axes, across: str) -> None:
    axes.set_xlabel(across, labelpad=1)
    axes.grid(alpha=0.3)
    _draw_legend(figure, axes)
    with replaced_file(path) as fresh:
        figure.savefig(fresh, dpi=90)
    plt.close(figure)


def _draw_legend(figure: Figure, axes: Axes) -> None:
    """Draw the legend between title and axes, where it hides no line; enlarge the figure for it."""
    handles, labels = axes.get_legend_handles_labels()
    rows = -(-len(labels) // 2)
    wide, high = figure.get_size_inches()
    share = high / (high + _LEGEND_ROW * rows)
    figure.set_size_inches(wide, high / share)
    for each in figure.axes:
        left, bottom, width, height = each.get_position().bounds
        each.set_position((left, bottom * share, width, height * share))
    axes.set_title(axes.get_title(), pad=8 + 72 * _LEGEND_ROW * rows)
    axes.legend(handles, labels, fontsize=8, ncols=2, loc="lower left", bbox_to_anchor=(0, 1))
