"""Which verdict does a wrong reward get, and how far is it from the limits?

    python benchmarks/verdicts.py --out runs/verdicts.json

Evaluates `base` and `small` on sets of 1,000 frames of the quickstart's env:
as shipped, with their weights in random order, and with the goals' prompts in
random order. Prints one JSON object at the end: the extreme values of each
figure by kind of reward, and the figures of every reward.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from report import finish, parser, say
from wrong_rewards import mixed, save_clip, shuffled

from rllib_vlm_reward import Experiment, VLMRewardConfig
from rllib_vlm_reward.evaluation.collect import collect
from rllib_vlm_reward.evaluation.figures import Figures, figures
from rllib_vlm_reward.evaluation.labelled import LabelledFrames
from rllib_vlm_reward.evaluation.scored_frames import score_with_model, with_encoder
from rllib_vlm_reward.evaluation.verdict import decide
from rllib_vlm_reward.reward_model.clip import CLIPEncoder
from rllib_vlm_reward.reward_model.model import RewardModel

ROOT = Path(__file__).parent.parent
CLIPS = ("base", "small")
Row = dict[str, Any]


def lift(run: Experiment, seed: int, number: int) -> LabelledFrames:
    """Return ``number`` frames: 70 episodes of the expert, filled up with random play."""
    parts = [
        collect(run, players=["expert"], episodes=70, seed=seed),
        collect(run, players=["random"], episodes=70, seed=seed),
    ]
    return LabelledFrames.join(parts).take(np.arange(number))


def evaluate(model: RewardModel, config: VLMRewardConfig, frames: LabelledFrames) -> Row:
    """Return a reward's verdict, and the figures that it depends on."""
    scored = score_with_model(model, config, frames)
    found = figures(scored)
    return {
        "verdict": decide(scored, found).kind,
        "ap": _ends(found, "average_precision"),
        "auroc": _ends(found, "auroc"),
        "goal_accuracy": [_above_chance(found, end) for end in _ends(found, "goal_accuracy")],
        "ap_above_share": found["average_precision"].low > found.share,
    }


def rows(run: Experiment, sets: list[LabelledFrames], counts: dict[str, int]) -> Iterator[Row]:
    """Yield every reward's row."""
    for clip in CLIPS:
        config = with_encoder(run.vlm_reward, clip)
        shipped = RewardModel(CLIPEncoder.load(clip))
        swapped = [shuffled(config, seed) for seed in range(counts["prompts"])]
        for number, frames in enumerate(sets):
            about = {"clip": clip, "set": number}
            yield {"reward": "as shipped", **about, **evaluate(shipped, config, frames)}
            for wrong in swapped:
                yield {"reward": "prompts", **about, **evaluate(shipped, wrong, frames)}
        for seed in range(counts["weights"]):
            with tempfile.TemporaryDirectory() as folder:
                encoder = save_clip(clip, mixed(clip, seed), Path(folder))
                model, wrong = RewardModel(CLIPEncoder.load(encoder)), with_encoder(config, encoder)
                for number, frames in enumerate(sets):
                    about = {"reward": "weights", "clip": clip, "set": number}
                    yield {**about, **evaluate(model, wrong, frames)}


def summarise(found: list[Row]) -> dict[str, Row]:
    """Return the table of docs/evaluation.md: the range of each figure by kind of reward."""
    summary = {}
    for kind in dict.fromkeys(row["reward"] for row in found):
        same = [row for row in found if row["reward"] == kind]
        verdicts = [row["verdict"] for row in same]
        summary[kind] = {
            "rewards": len(same),
            "verdicts": {name: verdicts.count(name) for name in dict.fromkeys(verdicts)},
            "ap_high": _range(row["ap"][1] for row in same),
            "auroc_low": _range(row["auroc"][0] for row in same),
            "goal_accuracy_low": _range(row["goal_accuracy"][0] for row in same),
            "goal_accuracy_high": _range(row["goal_accuracy"][1] for row in same),
            "ap_above_share": sum(row["ap_above_share"] for row in same),
        }
    return summary


def _ends(found: Figures, name: str) -> list[float]:
    interval = found[name]
    return [round(interval.low, 4), round(interval.high, 4)]


def _above_chance(found: Figures, goal_accuracy: float) -> float:
    """Return the goal accuracy scaled so that chance is 0 and the best value 1."""
    return round((goal_accuracy - found.chance) / (1 - found.chance), 4)


def _range(values: Iterator[float]) -> dict[str, float]:
    each = sorted(values)
    return {"least": each[0], "largest": each[-1]}


def main() -> None:
    """Evaluate all rewards, and print."""
    options = parser(__doc__, repeats=None, precision=None)
    options.add_argument("--sets", type=int, default=2, help="sets of frames")
    options.add_argument("--frames", type=int, default=1000, help="frames of each set")
    options.add_argument(
        "--weights", type=int, default=15, help="random orders of each CLIP's weights"
    )
    options.add_argument(
        "--prompts", type=int, default=8, help="random orders of each CLIP's prompts"
    )
    args = options.parse_args()
    run = Experiment.from_file(ROOT / "configs" / "quickstart.yaml")
    sets = [lift(run, seed, args.frames) for seed in range(args.sets)]
    say(f"successes: {[int(frames.labels.sum()) for frames in sets]}")
    found = []
    for row in rows(run, sets, {"weights": args.weights, "prompts": args.prompts}):
        found.append(row)
        say(f"{len(found)}: {row}")
    successes = [int(frames.labels.sum()) for frames in sets]
    summary = {"kinds": summarise(found), "successes": successes, "rows": found}
    finish("verdicts", summary, vars(args), args.out)


if __name__ == "__main__":
    main()
