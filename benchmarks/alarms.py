"""Which alarm does a wrong reward raise, and when?

    python benchmarks/alarms.py --out runs/alarms.json

Trains the quickstart for a few iterations with each reward. A row is a kind of
reward, a CLIP, a head and a seed. The script writes --out after each row, and
does not train rows again that --out has. It prints one JSON object at the end:
the rows, the table of docs/alarms.md, and how much scores vary within an
episode. "No negatives but nothing" leaves each goal the template's `nothing`
as its only negative, so that an agent that carries anything is rewarded.
"""

import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from report import finish, parser, say, start_ray
from wrong_rewards import Wrong, blind, half, mixed, save_clip, shuffled, untrained

from rllib_vlm_reward import Experiment
from rllib_vlm_reward.cli.app import quiet
from rllib_vlm_reward.connectors.callbacks import callbacks_of
from rllib_vlm_reward.files import write_text

ROOT = Path(__file__).parent.parent
Row = dict[str, Any]
GOOD, SHUFFLED = "as shipped", "shuffled goals"
WEIGHTS: dict[str, Wrong] = {
    "untrained weights": untrained,
    "mixed weights": mixed,
    "untrained image tower": half,
    "constant": blind,
}
CLIPS = ("base", "small")
# Changes of the reward, and the iterations in which its alarm can begin.
OTHERS: dict[str, tuple[dict[str, Any], int]] = {
    "frames turn black": ({"frames": {"source": "wrong_rewards.TurnsBlack"}}, 4),
    "one sub-env is frozen": ({"frames": {"source": "wrong_rewards.OneFrozen"}}, 3),
    "threshold out of reach": ({"threshold": 0.9999999}, 9),
    "no negatives but nothing": ({"num_negatives": 0}, 40),
}


def experiment_of(row: Row, folder: Path) -> Experiment:
    """Return the quickstart with a reward of this kind."""
    experiment = Experiment.from_file(ROOT / "configs" / "quickstart.yaml")
    kind, clip, head, seed = (row[key] for key in ("reward", "clip", "head", "seed"))
    encoder = save_clip(clip, WEIGHTS[kind](clip, seed), folder) if kind in WEIGHTS else clip
    changes: dict[str, Any] = {"encoder": encoder, "serving": {"num_cpus_per_actor": 0}}
    changes |= OTHERS[kind][0] if kind in OTHERS else {}
    if head != "softmax":
        changes |= {"head": head, "threshold": None}
    reward = experiment.vlm_reward.model_copy(update=changes)
    if kind == SHUFFLED:
        reward = shuffled(reward, seed)
    runners = {"num_env_runners": 0, "num_envs_per_env_runner": 32}
    given = {"vlm_reward": reward, "seed": seed, "env_runners": runners}
    return experiment.model_copy(update=given)


def train(experiment: Experiment, iterations: int) -> Row:
    """Return the alarms that are raised after each iteration, or the error that ended training."""
    algorithm = experiment.to_algorithm_config().build_algo()
    monitor, each = callbacks_of(algorithm).monitor, []
    try:
        for _ in range(iterations):
            algorithm.train()
            scores = monitor.statistics[None]
            statistics = {"mean": scores.mean, "spread": scores.spread, "steps": scores.steps}
            each.append({"alarms": monitor.in_force, **statistics})
    except Exception as error:
        each.append({"alarms": [type(error).__name__], "error": str(error)})
    finally:
        algorithm.stop()
    first = next((i for i, it in enumerate(each, start=1) if it["alarms"]), None)
    return {"first": first, "kinds": each[first - 1]["alarms"] if first else [], "each": each}


def rows(iterations: int) -> Iterator[Row]:
    """Yield each row's settings: first the good rewards, then the most informative ones."""

    def of(kind: str, clip: str, seed: int = 0, **more: Any) -> Row:
        given = {"head": "softmax", "seed": seed, "iterations": iterations}
        return {"reward": kind, "clip": clip, **given, **more}

    yield from (of(GOOD, clip, iterations=10) for clip in CLIPS)
    for seed in range(3):
        for kind in ("untrained weights", "mixed weights", SHUFFLED):
            yield from (of(kind, clip, seed) for clip in CLIPS)
    for kind in ("constant", "untrained image tower"):
        yield from (of(kind, clip) for clip in CLIPS)
    for kind in (GOOD, SHUFFLED, "untrained weights", "mixed weights"):
        yield from (of(kind, clip, head="cosine") for clip in CLIPS)
    for kind, (_, number) in OTHERS.items():
        yield of(kind, "base", iterations=number)


def table(found: list[Row]) -> list[str]:
    """Return the rows of the table in docs/alarms.md."""
    return [
        f"| {row['reward']} | `{row['clip']}` | {row['head']} | {row['seed']} | "
        f"{row['iterations']} | {row['first'] or 'none'} | {', '.join(row['kinds'])} |"
        for row in found
    ]


def spreads(found: list[Row]) -> dict[str, dict[str, float]]:
    """Return the least and the largest spread ÷ mean of any iteration, by kind of reward."""
    ratios: dict[str, list[float]] = {}
    for row in found:
        if row["head"] == "softmax":
            found_here = [it["spread"] / it["mean"] for it in row["each"] if it.get("mean")]
            ratios.setdefault(row["reward"], []).extend(found_here)
    return {
        kind: {"least": float(f"{min(values):.3g}"), "largest": float(f"{max(values):.3g}")}
        for kind, values in ratios.items()
        if values
    }


def main() -> None:
    """Train the missing rows, and write the results after each row."""
    options = parser(__doc__, repeats=None, precision=None)
    options.add_argument("--iterations", type=int, default=3, help="iterations to train a reward")
    args = options.parse_args()
    quiet()
    start_ray()
    exists = args.out is not None and args.out.exists()
    earlier: list[Row] = json.loads(args.out.read_text())["figures"]["rows"] if exists else []
    wanted, found = [*rows(args.iterations)], []
    for row in wanted:
        done = next((it for it in earlier if it.items() >= row.items()), None)
        found.append(done or _trained(row))
        left = [it for it in earlier if it not in found]
        if args.out is not None and done is None:
            write_text(args.out, json.dumps({"figures": {"rows": [*found, *left]}}) + "\n")
    figures = {"rows": found, "table": table(found), "spread_over_mean": spreads(found)}
    finish("alarms", figures, vars(args), args.out)


def _trained(row: Row) -> Row:
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        row = {**row, **train(experiment_of(row, Path(folder)), row["iterations"])}
    name = ", ".join(str(row[key]) for key in ("reward", "clip", "head", "seed"))
    say(f"{name}: {row['kinds']} in iteration {row['first']}")
    return {**row, "seconds": round(time.perf_counter() - begin, 1)}


if __name__ == "__main__":
    main()
