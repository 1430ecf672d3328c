"""Does a calibrated β reach its target on frames that it was not chosen on?

    python benchmarks/calibration.py --out docs/benchmarks/calibration.json

Collects sets of labelled frames of the quickstart in different layouts, as
`rllib-vlm-reward collect configs/quickstart.yaml --episodes 200 --seed S` does
for S = 0, 1, ... For each set, chooses a β as `rllib-vlm-reward calibrate
--encoder CLIP` does, and evaluates it on the next set. Prints one JSON object
at the end.
"""

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from report import finish, parser, say

from rllib_vlm_reward import Experiment
from rllib_vlm_reward.config import Target
from rllib_vlm_reward.errors import LabelError
from rllib_vlm_reward.evaluation.calibrate import choose_threshold
from rllib_vlm_reward.evaluation.collect import collect
from rllib_vlm_reward.evaluation.labelled import LabelledFrames
from rllib_vlm_reward.evaluation.scored_frames import indices_of, score_frames, with_encoder
from rllib_vlm_reward.metrics.bootstrap import bootstrap
from rllib_vlm_reward.metrics.fires import Fires
from rllib_vlm_reward.metrics.precision_recall import average_precision
from rllib_vlm_reward.reward_model.clip import CLIPEncoder
from rllib_vlm_reward.reward_model.model import RewardModel

ROOT = Path(__file__).parent.parent
CLIPS = ("s", "xs")
TARGETS = (Target(precision=0.95), Target(precision=0.9), Target(false_positives=0.05))
Scores = np.ndarray[Any, np.dtype[np.float32]]


@dataclasses.dataclass(frozen=True)
class Scored:
    """Scores, labels and episodes of a set of frames, without the pixels."""

    scores: Scores
    labels: np.ndarray[Any, np.dtype[np.bool_]]
    episodes: np.ndarray[Any, np.dtype[np.integer]]

    def fires(self, threshold: float) -> Fires:
        """Count the frames that fire at a threshold."""
        return Fires.at(threshold, self.scores, self.labels, self.episodes)


def score(clip: str, run: Experiment, sets: list[LabelledFrames]) -> list[Scored]:
    """Score all sets with one of tune_experiments/paper_clips."""
    folder = str(ROOT / "tune_experiments" / "paper_clips" / clip)
    config = with_encoder(run.vlm_reward, folder)
    scorer = config.scorer
    model = RewardModel(CLIPEncoder.load(folder, precision=config.serving.precision))
    scored = []
    for frames in sets:
        goals = indices_of(frames, scorer.goals)
        scores = score_frames(model, scorer, frames, goals)
        scored.append(Scored(scores, frames.labels, frames.episode_indices))
    return scored


def evaluate_on_next(scored: list[Scored], target: Target) -> dict[str, Any]:
    """Choose a β on each set, and evaluate it on the next set."""
    each: list[dict[str, Any]] = []
    for here, there in zip(scored, [*scored[1:], scored[0]], strict=True):
        try:
            beta = choose_threshold(here.scores, here.labels, here.episodes, target).value
        except LabelError as error:
            each.append({"refused": str(error)})
            continue
        fires = there.fires(beta)
        got = bootstrap(partial(fires.of, target.name), np.arange(len(fires)))
        each.append({"threshold": beta, **dataclasses.asdict(got), "recall": fires.recall})
    evaluated = [it for it in each if "value" in it]
    return {**_summary(evaluated, target), "refused": len(each) - len(evaluated), "each": each}


def _summary(evaluated: list[dict[str, Any]], target: Target) -> dict[str, Any]:
    def met(name: str) -> int:
        return int(target.reached([it[name] for it in evaluated]).sum())

    return {
        "evaluated": len(evaluated),
        "met": met("value"),
        "interval_reaches": met("high" if target.name == "precision" else "low"),
        "value": _range([it["value"] for it in evaluated]),
        "recall": _range([it["recall"] for it in evaluated]),
    }


def _range(values: list[float]) -> dict[str, float]:
    rounded = sorted(round(value, 4) for value in values)
    return {"least": rounded[0], "largest": rounded[-1]} if rounded else {}


def main() -> None:
    """Collect the sets, score them with each CLIP, and print."""
    options = parser(__doc__, repeats=None, precision=None)
    options.add_argument("--sets", type=int, default=10, help="sets of labelled frames")
    options.add_argument("--episodes", type=int, default=200, help="episodes of each player")
    args = options.parse_args()
    run, sets = Experiment.from_file(ROOT / "configs" / "quickstart.yaml"), []
    for seed in range(args.sets):
        sets.append(collect(run, episodes=args.episodes, seed=seed))
        say(f"set {seed}: {len(sets[-1])} frames, {sets[-1].labels.sum()} successes")
    figures: dict[str, Any] = {"frames": [len(frames) for frames in sets]}
    for clip in CLIPS:
        scored = score(clip, run, sets)
        ap = [average_precision(it.scores, it.labels) for it in scored]
        figures[clip] = {"average_precision": _range(ap)}
        for target in TARGETS:
            name = f"{target.name} {target.value}"
            figures[clip][name] = evaluate_on_next(scored, target)
            say(f"{clip}, {name}: {figures[clip][name] | {'each': None}}")
    finish("calibration", figures, vars(args), args.out)


if __name__ == "__main__":
    main()
