"""Does two hours of quick-start training leak memory, object references, sockets or files?

    python benchmarks/soak.py --hours 2 --picture soak.png

Trains the quick start with two env runners, as `rllib-vlm-reward train` does: with
checkpoints, TensorBoard events and pictures. Every 10 seconds, counts for each
process of the process tree: private memory, shared memory, open files, sockets,
and Ray's object references. Memory that a process has freed, and that its C
library keeps for later, is given back before it is counted. Fits a line to each
count, without the first 200,000 frames, in which caches fill. Each sample is
appended to RUN/samples.jsonl at once; after a kill, `--figures` makes the figures
of the samples that are there. Ctrl-C ends the training early. Prints one JSON
object at the end.
"""

import argparse
import ctypes
import gc
import json
import os
import re
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib.pyplot as plt
from processes import (
    descriptors,
    growth,
    private_kib,
    ray_use,
    shared_memory_kib,
    tree,
)
from report import conditions, finish, parser, say, start_ray

from rllib_vlm_reward.run import Experiment, train
from rllib_vlm_reward.run.loop import OBJECT_STORE_BYTES
from rllib_vlm_reward.run.progress import Progress

MOST_MIB = 2.0  # of private or shared memory, that a process may grow in 100,000 frames
MOST_MORE = 5  # files, sockets or references, that the last tenth may have above the first
# The training ends after some hours, not steps. Other programs may slow it down.
SETTINGS = (
    "env_runners.num_env_runners=2",
    "env_runners.sample_timeout_s=600",
    "stop.env_steps=8000000",
)
MEMORY = ("private_mib", "shared_mib")
COUNTS = ("files", "sockets", "references")
NAMES = {"SingleAgentEnvRunner": "env runner", "RewardActor": "reward actor"}
OURS = {"driver", *NAMES.values()}  # the others are Ray's own
Sample = dict[str, Any]


class TimeIsUp(KeyboardInterrupt):
    """Ends the training as Ctrl-C does."""


class Sampler:
    """Appends a sample to a file after an iteration, if the last one is old enough.

    Args:
        path: the file.
        hours: duration, after which :class:`TimeIsUp` is raised.
        every: least number of seconds between two samples.
    """

    def __init__(self, path: Path, hours: float, every: float) -> None:
        self._path, self._every = path, every
        self._begin, self._next = time.monotonic(), 0.0
        self._end: float | None = hours * 3600

    def __call__(self, news: Progress | str) -> None:
        """Be the ``report`` of a training.

        Raises:
            TimeIsUp: once, after the given hours.
        """
        seconds = time.monotonic() - self._begin
        if isinstance(news, str):
            say(f"{seconds:.0f} s: {news}")
            return
        if seconds >= self._next:
            self._next = seconds + self._every
            taken = {"seconds": round(seconds, 1), "frames": news.env_steps, **sample()}
            append(self._path, taken)
            say(f"{seconds:.0f} s, {news.env_steps} frames: {brief(taken)}")
        if self._end is not None and seconds >= self._end:
            self._end = None
            raise TimeIsUp


def sample() -> Sample:
    """Return what each process of this process tree holds now, and Ray's object store.

    This process first gives free memory back to the system. Without that, its private memory
    goes up and down by 400 MiB with what the learner has just freed, and hides a leak.
    """
    gc.collect()
    give_back()
    store, references = ray_use()
    processes = {}
    for pid, title in tree(os.getpid()).items():
        files, sockets = descriptors(pid)
        processes[str(pid)] = {
            "name": "driver" if pid == os.getpid() else name_of(title),
            "private_mib": round(private_kib(pid) / 1024, 2),
            "shared_mib": round(shared_memory_kib(pid) / 1024, 2),
            "files": files,
            "sockets": sockets,
            "references": references.get(pid),
        }
    return {**store, "processes": processes}


def give_back() -> None:
    """Return the free memory of this process to the system (glibc)."""
    ctypes.CDLL(None).malloc_trim(0)


def give_back_regularly() -> None:
    """Do so every 5 seconds, in a thread.

    Reward actors keep up to 1 GiB that they have freed (:func:`.keep_freed_memory`). How much they
    keep grows a little with each batch that is larger than those before it.
    """

    def repeat() -> None:
        while True:
            time.sleep(5)
            give_back()

    threading.Thread(target=repeat, daemon=True).start()


def name_of(title: str) -> str:
    """Return a short name for a process, from its command line.

    Example:
        >>> name_of("ray::SingleAgentEnvRunner.sample"), name_of("python -u a/log_monitor.py --x")
        ('env runner', 'log_monitor.py')
        >>> name_of("lib/python3.11/raylet/raylet --command=python setup_worker.py")
        'raylet'
    """
    if title.startswith("ray::"):
        (word,) = re.findall(r"^ray::(\w+)", title) or [title]
        return NAMES.get(word, word)
    program, *words = title.split() or ["?"]
    scripts = [word for word in words if word.endswith(".py")]
    path = Path(scripts[0] if scripts and Path(program).name.startswith("python") else program)
    return f"{path.parent.name}/{path.name}" if path.name in ("agent.py", "main.py") else path.name


def append(path: Path, row: dict[str, Any]) -> None:
    """Append a line of JSON, so that a kill loses no more than this line."""
    with path.open("a") as file:
        file.write(json.dumps(row, default=str) + "\n")


def brief(taken: Sample) -> str:
    """Return the private memory of the processes of this package and the number of processes."""
    found = [
        f"{each['name']} {each['private_mib']:.0f} MiB"
        for each in taken["processes"].values()
        if each["name"] in OURS
    ]
    return f"{', '.join(found)}; {len(taken['processes'])} processes"


def main() -> None:
    """Train and measure, or only read what was measured; print."""
    options = parser(__doc__, repeats=None, precision=None)
    options.add_argument("--hours", type=float, default=2.0, help="duration of the training")
    options.add_argument("--every", type=float, default=10.0, help="seconds between two samples")
    options.add_argument("--warm", type=int, default=200_000, help="frames before the fit")
    options.add_argument("--run", type=Path, default=Path("runs/soak"), help="folder of the run")
    options.add_argument("--picture", type=Path, help="PNG to write")
    options.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change of the quick start"
    )
    options.add_argument("--figures", action="store_true", help="only read the samples of --run")
    args = options.parse_args()
    path = args.run / "samples.jsonl"
    if not args.figures:
        soak(args, path)
    header, *samples = map(json.loads, path.read_text().splitlines())
    found = figures(samples, args.warm)
    if args.picture is not None:
        draw(args.picture, samples, args.warm)
    settings = {**header["settings"], "warm": args.warm}
    finish("soak", found, settings, args.out, header["conditions"])


def soak(args: argparse.Namespace, path: Path) -> None:
    """Train the quick start for some hours, and sample."""
    assignments = [*SETTINGS, *args.set]
    experiment = Experiment.from_file("quickstart", assignments)
    args.run.mkdir(parents=True, exist_ok=True)
    settings = {"hours": args.hours, "every": args.every, "quickstart": assignments}
    append(path, {"settings": settings, "conditions": conditions()})
    hook = {"worker_process_setup_hook": give_back_regularly}
    start_ray(object_store_memory=OBJECT_STORE_BYTES, runtime_env=hook)
    try:
        train(experiment, args.run, report=Sampler(path, args.hours, args.every))
    except (KeyboardInterrupt, SystemExit):  # the time is up, Ctrl-C or SIGTERM
        say("ended")


def figures(samples: list[Sample], warm: int) -> dict[str, Any]:
    """Return the growth of what each lasting process held, and what grew more than it may."""
    measured = [taken for taken in samples if taken["frames"] > warm]
    if len(measured) < 3:
        raise SystemExit(
            f"soak: got {len(measured)} samples after {warm} frames, expected at least 3. Train "
            "longer, or lower --warm."
        )
    frames = [taken["frames"] for taken in measured]
    lasting = names(measured)
    by_process = {
        name: {
            field: growth(frames, values(measured, pid, field))
            for field in (*MEMORY, *COUNTS)
            if measured[0]["processes"][pid][field] is not None
        }
        for pid, name in lasting.items()
    }
    seen = {pid for taken in measured for pid in taken["processes"]}
    return {
        "hours": round(samples[-1]["seconds"] / 3600, 2),
        "frames": samples[-1]["frames"],
        "samples": len(measured),
        "grew_too_much": leaks(measured, lasting, by_process),
        "processes": by_process,
        "processes_that_came_or_went": len(seen) - len(lasting),
        "number_of_processes": growth(frames, [len(taken["processes"]) for taken in measured]),
        "store_mib": growth(frames, [taken["store_mib"] for taken in measured]),
        "store_objects": growth(frames, [taken["store_objects"] for taken in measured]),
        "course": [course(taken, lasting) for taken in samples[:: max(1, len(samples) // 60)]],
    }


def names(measured: list[Sample]) -> dict[str, str]:
    """Return the processes that are in all samples, with names that differ."""
    last = measured[-1]["processes"]
    pids = [pid for pid in last if all(pid in taken["processes"] for taken in measured)]
    found: dict[str, str] = {}
    for pid in pids:
        alike = [each for each in pids if last[each]["name"] == last[pid]["name"]]
        number = f" {alike.index(pid) + 1}" if len(alike) > 1 else ""
        found[pid] = last[pid]["name"] + number
    return found


def values(samples: list[Sample], pid: str, field: str) -> list[float]:
    """Return what a process held in each sample; references that were not counted repeat."""
    found: list[float] = []
    for taken in samples:
        value = taken["processes"][pid][field]
        found.append(found[-1] if value is None else value)
    return found


def leaks(
    measured: list[Sample], lasting: dict[str, str], by_process: dict[str, Any]
) -> dict[str, list[str]]:
    """Return which processes grew by more than they may: memory, and each count."""
    found: dict[str, list[str]] = {field: [] for field in (*MEMORY, *COUNTS)}
    tenth = max(1, len(measured) // 10)
    for pid, name in lasting.items():
        for field in MEMORY:
            if by_process[name][field]["slope_per_100k_frames"] > MOST_MIB:
                found[field].append(name)
        for field in set(COUNTS) & by_process[name].keys():
            held = values(measured, pid, field)
            if median(held[-tenth:]) - median(held[:tenth]) > MOST_MORE:
                found[field].append(name)
    return found


def course(taken: Sample, lasting: dict[str, str]) -> dict[str, Any]:
    """Return the private MiB and the sum of each count of a sample."""
    found = {pid: each for pid, each in taken["processes"].items() if pid in lasting}
    return {
        "seconds": taken["seconds"],
        "frames": taken["frames"],
        "private_mib": {lasting[pid]: each["private_mib"] for pid, each in found.items()},
        **{field: sum(each[field] or 0 for each in found.values()) for field in COUNTS},
    }


def draw(path: Path, samples: list[Sample], warm: int) -> None:
    """Save private memory, and the sum of each count over all processes, as a PNG."""
    lasting = names([taken for taken in samples if taken["frames"] > warm])
    figure, (top, bottom) = plt.subplots(2, figsize=(8, 7), sharex=True, layout="constrained")
    frames = [taken["frames"] for taken in samples]
    top.plot([], [], color="grey", lw=0.7, label="processes of Ray")
    for pid, name in lasting.items():
        present = [taken for taken in samples if pid in taken["processes"]]
        held = [taken["processes"][pid]["private_mib"] for taken in present]
        is_ours = present[-1]["processes"][pid]["name"] in OURS
        style = {"label": name} if is_ours else {"color": "grey", "lw": 0.7}
        top.plot([taken["frames"] for taken in present], held, **style)
    rows = [course(taken, lasting) for taken in samples]
    for field in COUNTS:
        bottom.plot(frames, [row[field] for row in rows], label=field)
    for axes in (top, bottom):
        axes.axvline(warm, color="grey", ls="--")
        axes.set_ylim(0, None)
        axes.grid(alpha=0.3)
        axes.legend(ncols=3, fontsize="small", loc=(0.02, 0.15 if axes is top else 0.5))
    top.set_ylabel("private memory, MiB")
    bottom.set(xlabel="frames scored", ylabel="in all of these processes")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
