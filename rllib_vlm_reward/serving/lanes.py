"""How many batches a device computes at once."""

import contextlib
import dataclasses
import math
import os
from collections.abc import Iterator

import torch

from rllib_vlm_reward.freed_memory import keep_freed_memory

__all__ = ["Lanes", "cores", "use_threads"]

_MAX_LANES = 8


@dataclasses.dataclass(frozen=True)
class Lanes:
    """The lanes of a device: threads that each compute one batch at a time.

    On a CPU, each lane has separate cores, and the waiting frames are divided among the lanes. This
    is faster than one batch on all cores, whose threads must synchronise at every layer. On a GPU,
    the second lane transfers the next frames while the first lane computes.

    Attributes:
        device: ``cpu`` or ``cuda``.
        count: number of lanes.
        threads: number of torch's threads for each lane.
        splits: whether waiting frames are divided among idle lanes.

    Example:
        >>> Lanes.on("cpu", 2)
        Lanes(device='cpu', count=2, threads=1, splits=True)
        >>> Lanes.on("cpu", 64).threads
        8
        >>> Lanes.on("cuda", 4).count
        2
    """

    device: str
    count: int
    threads: int
    splits: bool

    @classmethod
    def on(cls, device: str, cores: int) -> "Lanes":
        """Return the lanes of a device for an actor that may use ``cores`` CPU cores."""
        if device == "cpu":
            threads = math.ceil(cores / _MAX_LANES)
            count = cores // threads
            return cls(device, count, threads, splits=count > 1)
        return cls(device, 2, cores, splits=False)

    @property
    def cores(self) -> int:
        """The number of CPU cores that the actor may use."""
        return self.threads * (self.count if self.splits else 1)

    @contextlib.contextmanager
    def lane(self) -> Iterator[None]:
        """Run the with block as a lane: set torch's threads and, on a GPU, use a new stream."""
        # Ray 2.60 sets OMP_NUM_THREADS=1 if an actor reserves no CPU.
        use_threads(self.threads)
        if self.device == "cpu":
            keep_freed_memory()
            yield
            return
        with torch.cuda.stream(torch.cuda.Stream()):  # type: ignore[no-untyped-call]
            yield


def use_threads(count: int) -> None:
    """Set the number of torch's threads with which the calling thread computes, and no other.

    Example:
        >>> use_threads(1)
        >>> torch.get_num_threads()
        1
    """
    # In torch 2.15, a thread gets its number when it first computes or reads it: the number that
    # any thread has set last. So read it first, or a lane would use the cores of all lanes.
    torch.get_num_threads()
    torch.set_num_threads(count)


def cores() -> int:
    """Return the number of CPU cores on which this process may run."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
