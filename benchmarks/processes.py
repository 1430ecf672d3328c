"""The processes of a benchmark, what each of them holds, and how that grows (Linux, Ray 2.60)."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import ray
from ray._private.internal_api import node_stats


def tree(pid: int) -> dict[int, str]:
    """Return the process and all that it started, also indirectly; each with its command line."""
    parents, titles = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                title = (entry / "cmdline").read_text()
            except OSError:  # it has ended
                continue
            if state != "Z":
                parents[int(entry.name)] = int(parent)
                titles[int(entry.name)] = title.replace("\0", " ").strip()
    found = {pid}
    while grown := {child for child, parent in parents.items() if parent in found} - found:
        found |= grown
    return {each: titles[each] for each in sorted(found) if each in titles}


def private_kib(pid: int) -> int:
    """Return the KiB that a process wrote and shares with no other; 0 if it has ended.

    What it only read of a file, such as a library, is not counted: whether another process has
    read it too changes with the other processes.
    """
    return _rollup_kib(pid, "Private_Dirty")


def shared_memory_kib(pid: int) -> int:
    """Return a process's part of the shared memory that it uses; 0 if it has ended."""
    return _rollup_kib(pid, "Pss_Shmem")


def _rollup_kib(pid: int, field: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith(field))


def descriptors(pid: int) -> tuple[int, int]:
    """Return the number of open files, pipes and the like, and of sockets; 0 if it has ended.

    The shared memory of requests to reward actors is no file here: :func:`shared_memory_kib` counts
    it. There is one for each request that is under way at once, so a slow machine may need more.
    """
    sockets = others = 0
    try:
        for entry in os.scandir(f"/proc/{pid}/fd"):
            try:
                target = os.readlink(entry.path)
            except OSError:  # it was closed
                continue
            if target.startswith("socket:"):
                sockets += 1
            elif not target.startswith("/memfd:rllib_vlm_reward"):
                others += 1
    except OSError:
        return 0, 0
    return others, sockets


def ray_use() -> tuple[dict[str, float], dict[int, int]]:
    """Return the use of Ray's object store, and how many object references each process holds.

    The raylet counts the MiB and the objects of the store, and asks the workers and the driver for
    the references that are in scope there.
    """
    (node,) = ray.nodes()
    address = node["NodeManagerAddress"], node["NodeManagerPort"]
    found = node_stats(*address, include_memory_info=False)
    store = {
        "store_mib": found.store_stats.object_store_bytes_used / 2**20,
        "store_objects": found.store_stats.num_local_objects,
    }
    return store, {each.pid: each.num_object_refs_in_scope for each in found.core_workers_stats}


def growth(frames: Sequence[float], values: Sequence[float]) -> dict[str, float]:
    """Return the first, last and highest value, and the slope with its standard error."""
    x, y = np.array(frames) / 100_000, np.array(values, float)
    (slope, offset), error = np.polyfit(x, y, 1), float("nan")
    if len(x) > 2:
        residual = y - slope * x - offset
        error = float(np.sqrt(residual @ residual / (len(x) - 2) / ((x - x.mean()) ** 2).sum()))
    return {
        "first": round(float(y[0]), 1),
        "last": round(float(y[-1]), 1),
        "highest": round(float(y.max()), 1),
        "slope_per_100k_frames": round(float(slope), 2),
        "slope_standard_error": round(error, 2),
    }
