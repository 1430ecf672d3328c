"""Is a calibrated combination of several CLIPs better than the best of them?

    python benchmarks/experts.py --out docs/benchmarks/experts.json \\
        --picture docs/experts/precision.png

Collects frames of the playroom in two sets of layouts. On the first, `calibrate` finds whom of
three small CLIPs (tune_experiments/paper_clips) to trust for which goal. On the second, which
played no part, it compares the average precision of each CLIP, of the mean of their scores, and of
the coordinator, also with a fourth expert that takes each goal for another one, and with one of the
three missing. Intervals are over episodes. Prints one JSON object at the end.
"""

import dataclasses
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from report import finish, parser, say

from rllib_vlm_reward import Experiment, VLMRewardConfig
from rllib_vlm_reward.config import Target, TrustCalibration
from rllib_vlm_reward.evaluation.calibrate import calibrate_experts
from rllib_vlm_reward.evaluation.collect import collect
from rllib_vlm_reward.evaluation.labelled import LabelledFrames
from rllib_vlm_reward.evaluation.scored_frames import indices_of, score_labelled
from rllib_vlm_reward.metrics.bootstrap import bootstrap
from rllib_vlm_reward.metrics.precision_recall import average_precision

ROOT = Path(__file__).parent.parent
CLIPS = ROOT / "tune_experiments" / "paper_clips"
TARGET = Target(precision=0.5)
Scores = dict[str, np.ndarray[Any, Any]]


def reward(sizes: list[str], *, shuffled: bool = False) -> VLMRewardConfig:
    """Return the playroom's reward with these CLIPs, and perhaps one with shuffled goals."""
    plain = Experiment.from_file("playroom").vlm_reward
    experts: dict[str, Any] = {size: {"encoder": str(CLIPS / size)} for size in sizes}
    if shuffled:
        experts["shuffled"] = {"encoder": "wrong_rewards.OtherGoalsOfM"}
    return plain.model_copy(update={"experts": experts, "threshold": None})


def scored(config: VLMRewardConfig, frames: LabelledFrames) -> Scores:
    """Score frames with each expert."""
    return {name: score_labelled(each, frames).scores for name, each in config.by_expert.items()}


def combined(
    config: VLMRewardConfig, found: TrustCalibration | None, scores: Scores, frames: LabelledFrames
) -> Any:
    """Combine scores; without a calibration, as their mean. An expert without scores is missing."""
    rule = config if found is None else config.model_copy(update={"calibration": found})
    missing = np.full(len(frames), np.nan, np.float32)
    columns = [scores.get(name, missing) for name in config.experts]
    return rule.combiner(np.stack(columns, axis=1), indices_of(frames, config.goal_set))


def compare(candidates: Scores, experts: list[str], frames: LabelledFrames) -> dict[str, Any]:
    """Return each candidate's average precision, and how far it lies above the best expert's."""
    best = max(experts, key=lambda name: average_precision(candidates[name], frames.labels))

    def precision(name: str, rows: Any = slice(None)) -> float:
        return average_precision(candidates[name][rows], frames.labels[rows])

    figures = {}
    for name in candidates:
        alone = bootstrap(lambda rows, n=name: precision(n, rows), frames.episode_indices)
        above = bootstrap(
            lambda rows, n=name: precision(n, rows) - precision(best, rows), frames.episode_indices
        )
        figures[name] = {
            "average_precision": dataclasses.asdict(alone),
            "above_best_expert": dataclasses.asdict(above),
        }
        interval = f"{above.low:+.4f} to {above.high:+.4f}"
        say(f"{name}: {alone.value:.4f}, {above.value:+.4f} ({interval})")
    return {"best_expert": best, "candidates": figures}


def by_family(config: VLMRewardConfig, frames: LabelledFrames) -> dict[str, Any]:
    """Return the rows of the frames of each family."""
    goals = config.goal_set
    families = np.array([goals[index].family for index in indices_of(frames, goals)])
    return {family: families == family for family in dict.fromkeys(families.tolist())}


def draw(path: Path, figures: dict[str, Any], experts: list[str]) -> None:
    """Draw the average precision of each expert, of the mean and of the coordinator."""
    names = [*experts, "mean", "coordinator"]
    figure, axes = plt.subplots(1, len(figures), figsize=(3.2 * len(figures), 3), sharey=True)
    for axis, (family, found) in zip(axes, figures.items(), strict=True):
        values = [found["candidates"][name]["average_precision"] for name in names]
        heights = np.array([value["value"] for value in values])
        ends = np.array([[value["low"], value["high"]] for value in values])
        errors = np.abs(ends.T - heights)
        colours = ["#9aa5b1"] * len(experts) + ["#d9a441", "#00796b"]
        axis.bar(names, heights, yerr=errors, color=colours, capsize=3)
        axis.set_title(family)
        axis.tick_params(axis="x", rotation=45)
        axis.set_ylim(0, 1)
    axes[0].set_ylabel("average precision")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


def main() -> None:
    """Collect, calibrate, compare, and print the JSON object."""
    options = parser(__doc__, repeats=None, precision=None)
    options.add_argument("--sizes", nargs="+", default=["xs", "s", "m"], help="the experts")
    options.add_argument("--episodes", type=int, default=400, help="of each player, in each set")
    options.add_argument("--picture", type=Path, help="file to draw the comparison to")
    args = options.parse_args()
    run = Experiment.from_file("playroom")
    known, new = (collect(run, episodes=args.episodes, seed=seed) for seed in (0, 1))
    say(f"{len(known)} frames to calibrate, {len(new)} to compare")
    config = reward(args.sizes)
    found, scores = calibrate_experts(config, known, TARGET), scored(config, new)
    say("\n".join(found.lines()))
    candidates = {
        **scores,
        "mean": combined(config, None, scores, new),
        "coordinator": combined(config, found, scores, new),
    }
    figures: dict[str, Any] = {"all": compare(candidates, args.sizes, new)}
    for family, rows in by_family(config, new).items():
        say(family)
        some = {name: values[rows] for name, values in candidates.items()}
        figures[family] = compare(some, args.sizes, new.take(rows))
    if args.picture is not None:
        draw(args.picture, figures, args.sizes)
    wrong = reward(args.sizes, shuffled=True)
    with_wrong, scores_of_four = calibrate_experts(wrong, known, TARGET), scored(wrong, new)
    four = {
        "mean": combined(wrong, None, scores_of_four, new),
        "coordinator": combined(wrong, with_wrong, scores_of_four, new),
        **scores,
    }
    say("with a shuffled expert")
    lost = {}
    for missing in args.sizes:
        two = [size for size in args.sizes if size != missing]
        left = {name: scores[name] for name in two}
        fitted = calibrate_experts(reward(two), known, TARGET)
        lost[missing] = {
            "left_of_three": average_precision(combined(config, found, left, new), new.labels),
            "fitted_for_two": average_precision(
                combined(reward(two), fitted, left, new), new.labels
            ),
        }
    measured = {
        "frames": {"calibration": len(known), "comparison": len(new)},
        "weights": found.shares(),
        "compared": figures,
        "with_shuffled": {
            "weights": with_wrong.shares(),
            "compared": compare(four, args.sizes, new),
        },
        "without": lost,
    }
    settings = {"sizes": args.sizes, "episodes": args.episodes}
    finish("experts", measured, settings, args.out)


if __name__ == "__main__":
    main()
