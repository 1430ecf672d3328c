"""Which verdict does a wrong reward get, and how far from its bars does it stay?

    python benchmarks/verdicts.py --out runs/verdicts.json

Judges both embedded CLIPs as they ship, with their weights in random order and with the goals'
prompts in random order, on sets of 1,000 frames of the quickstart's env. Prints one JSON object
last: each figure's most telling value by kind of reward, and every reward's own.
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
    """Return so many frames: 70 episodes of the expert, and of random play up to their number."""
    parts = [
        collect(run, players=["expert"], episodes=70, seed=seed),
        collect(run, players=["random"], episodes=70, seed=seed),
    ]
    return LabelledFrames.join(parts).take(np.arange(number))


def judged(model: RewardModel, config: VLMRewardConfig, frames: LabelledFrames) -> Row:
    """Return a reward's verdict, and the figures that its bars are set for."""
    its = score_with_model(model, config, frames)
    told = figures(its)
    return {
        "verdict": decide(its, told).kind,
        "ap": _ends(told, "average_precision"),
        "auroc": _ends(told, "auroc"),
        "goal_accuracy": [_way(told, end) for end in _ends(told, "goal_accuracy")],
        "ap_above_share": told["average_precision"].low > told.share,
    }


def rows(run: Experiment, sets: list[LabelledFrames], counts: dict[str, int]) -> Iterator[Row]:
    """Yield every reward's row."""
    for clip in CLIPS:
        config = with_encoder(run.vlm_reward, clip)
        shipped = RewardModel(CLIPEncoder.load(clip))
        swapped = [shuffled(config, seed) for seed in range(counts["prompts"])]
        for number, frames in enumerate(sets):
            about = {"clip": clip, "set": number}
            yield {"reward": "as shipped", **about, **judged(shipped, config, frames)}
            for wrong in swapped:
                yield {"reward": "prompts", **about, **judged(shipped, wrong, frames)}
        for seed in range(counts["weights"]):
            with tempfile.TemporaryDirectory() as folder:
                encoder = save_clip(clip, mixed(clip, seed), Path(folder))
                model, its = RewardModel(CLIPEncoder.load(encoder)), with_encoder(config, encoder)
                for number, frames in enumerate(sets):
                    about = {"reward": "weights", "clip": clip, "set": number}
                    yield {**about, **judged(model, its, frames)}


def in_brief(found: list[Row]) -> dict[str, Row]:
    """Return the table of docs/evaluation.md: the largest and the least of each kind of reward."""
    told = {}
    for kind in dict.fromkeys(row["reward"] for row in found):
        own = [row for row in found if row["reward"] == kind]
        verdicts = [row["verdict"] for row in own]
        told[kind] = {
            "rewards": len(own),
            "verdicts": {name: verdicts.count(name) for name in dict.fromkeys(verdicts)},
            "ap_high": _range(row["ap"][1] for row in own),
            "auroc_low": _range(row["auroc"][0] for row in own),
            "goal_accuracy_low": _range(row["goal_accuracy"][0] for row in own),
            "goal_accuracy_high": _range(row["goal_accuracy"][1] for row in own),
            "ap_above_share": sum(row["ap_above_share"] for row in own),
        }
    return told


def _ends(told: Figures, name: str) -> list[float]:
    interval = told[name]
    return [round(interval.low, 4), round(interval.high, 4)]


def _way(told: Figures, goal_accuracy: float) -> float:
    """Return how far on the way from chance to 1."""
    return round((goal_accuracy - told.chance) / (1 - told.chance), 4)


def _range(values: Iterator[float]) -> dict[str, float]:
    each = sorted(values)
    return {"least": each[0], "largest": each[-1]}


def main() -> None:
    """Judge all, and print."""
    options = parser(__doc__, repeats=None, precision=None)
    options.add_argument("--sets", type=int, default=2)
    options.add_argument("--frames", type=int, default=1000, help="of each set")
    options.add_argument("--weights", type=int, default=15, help="orders, of each CLIP")
    options.add_argument("--prompts", type=int, default=8, help="orders, of each CLIP")
    args = options.parse_args()
    run = Experiment.from_file(ROOT / "configs" / "quickstart.yaml")
    sets = [lift(run, seed, args.frames) for seed in range(args.sets)]
    say(f"successes: {[int(frames.labels.sum()) for frames in sets]}")
    found = []
    for row in rows(run, sets, {"weights": args.weights, "prompts": args.prompts}):
        found.append(row)
        say(f"{len(found)}: {row}")
    successes = [int(frames.labels.sum()) for frames in sets]
    told = {"kinds": in_brief(found), "successes": successes, "rows": found}
    finish("verdicts", told, vars(args), args.out)


if __name__ == "__main__":
    main()
