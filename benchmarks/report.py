"""Shared by all benchmarks: Ray, alternating repeats, ratios, and the JSON object at the end."""

import argparse
import json
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import ray
import torch

from rllib_vlm_reward import VLMRewardConfig
from rllib_vlm_reward.bench.traffic import rate
from rllib_vlm_reward.serving.lanes import cores

Sides = dict[str, list[Any]]
GPU = 0.2 if torch.cuda.is_available() else 0  # GPUs of each process that needs one
SHAPES = {"small": (56, 56), "base": (56, 56)}  # other models read 224 x 224


def parser(
    doc: str | None, *, repeats: int | None = 5, precision: str | None = "auto"
) -> argparse.ArgumentParser:
    """Return a parser with the options that benchmarks share; None leaves an option out."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if repeats is not None:
        parser.add_argument("--repeats", type=int, default=repeats, help="repeated measurements")
    if precision is not None:
        parser.add_argument("--precision", default=precision, help="precision of the CLIP")
    parser.add_argument("--out", type=Path, help="file to write the JSON object to, too")
    return parser


def encoder_of(model: str) -> str:
    """Return an encoder for VLMRewardConfig: a shipped CLIP, or one with random weights."""
    return model if model in SHAPES or "/" in model else f"{model}/random"


def reward(args: argparse.Namespace, **changes: Any) -> VLMRewardConfig:
    """Return a reward with the model and precision of the command line."""
    given = {
        "encoder": encoder_of(getattr(args, "model", "small")),
        "goals": ["a red ball"],
        "head": "cosine",
        "serving": {"num_gpus_per_actor": GPU, "precision": args.precision},
    }
    return VLMRewardConfig(**given).model_copy(update=changes)


def shape_of(model: str) -> tuple[int, int]:
    """Return the height and width of frames that the model does not resize."""
    return SHAPES.get(model, (224, 224))


def start_ray(**options: Any) -> None:
    """Start a local Ray that pretends to have as many CPUs as the benchmark needs."""
    given = {"num_cpus": 8, "object_store_memory": 1_000_000_000, "log_to_driver": False}
    ray.init(address="local", include_dashboard=False, **{**given, **options})


def say(text: str) -> None:
    """Print progress to stderr."""
    print(text, file=sys.stderr, flush=True)


def in_turn(sides: Mapping[str, Callable[[], Any]], repeats: int) -> Sides:
    """Measure all sides repeatedly, every other round in reverse, so that none is always first."""
    found: Sides = {name: [] for name in sides}
    for repeat in range(repeats):
        names = list(sides) if repeat % 2 == 0 else list(sides)[::-1]
        for name in names:
            found[name].append(sides[name]())
            say(f"{repeat + 1}/{repeats} {name}: {brief(found[name][-1])}")
    return found


def brief(value: Any) -> str:
    """Return a measurement in a few characters."""
    value = getattr(value, "frames_per_second", value)
    if isinstance(value, list):  # one measurement for each client
        value = rate(value)
    return f"{value:.4g}"


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Return the median of the repeats, and their range."""
    rounded = [float(f"{value:.4g}") for value in values]
    return {
        "median": float(f"{median(values):.4g}"),
        "lowest": min(rounded),
        "highest": max(rounded),
        "each": rounded,
    }


def ratio(above: Sequence[float], below: Sequence[float]) -> dict[str, Any]:
    """Return the spread of above ÷ below, divided repeat by repeat."""
    return spread([a / b for a, b in zip(above, below, strict=True)])


def finish(
    benchmark: str,
    figures: Any,
    settings: Any,
    out: Path | None = None,
    measured: dict[str, Any] | None = None,
) -> None:
    """Print the JSON object after Ray's last messages; also write it to ``out`` if given.

    Args:
        benchmark: name of the benchmark.
        figures: what was measured.
        settings: with which settings.
        out: file to write to.
        measured: the :func:`conditions` of figures that were measured earlier; None if it was now.
    """
    ray.shutdown()
    found = {"benchmark": benchmark, "figures": figures, "settings": settings}
    text = json.dumps({**found, **(measured or conditions())}, default=str)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text + "\n")
    print(text)


def conditions() -> dict[str, Any]:
    """Return the command, the machine, the commit and the versions of a measurement."""
    return {
        "command": " ".join(["python", *sys.argv]),
        "machine": machine(),
        "commit": commit(),
        "ray": ray.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def machine() -> dict[str, Any]:
    """Return the CPU, the cores, their bf16 features, and the GPU if there is one."""
    cpu: dict[str, str] = {}
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.exists() else ():
        key, _, value = line.partition(":")
        cpu.setdefault(key.strip(), value.strip())
    flags = cpu.get("flags", "").split()
    return {
        "cpu": cpu.get("model name", platform.processor()),
        "cores": cores(),
        "bf16": [flag for flag in flags if "bf16" in flag],
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def commit() -> str:
    """Return the commit that is checked out, with a + if files differ from it."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()

    return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain") else "")
