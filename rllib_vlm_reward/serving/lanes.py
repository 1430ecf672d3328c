"""How many batches a device takes at once."""

import contextlib
import dataclasses
import math
import os
from collections.abc import Iterator

import torch

__all__ = ["Lanes", "cores", "use_threads"]

_MAX_LANES = 8


@dataclasses.dataclass(frozen=True)
class Lanes:
    """Batches that run at once on one device.

    On a CPU each lane has cores of its own, and what waits is divided among them: two batches on a
    core each pass each other no data, where one batch on two cores meets at every layer. On a GPU
    a second lane brings the next frames there while the first computes.

    Attributes:
        device: ``cpu`` or ``cuda``.
        count: of lanes.
        threads: torch's, for each.
        splits: whether what waits is divided among idle lanes.

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
        """Return the lanes of a device, for an actor that may use so many cores."""
        if device == "cpu":
            threads = math.ceil(cores / _MAX_LANES)
            count = cores // threads
            return cls(device, count, threads, splits=count > 1)
        return cls(device, 2, cores, splits=False)

    @property
    def cores(self) -> int:
        """CPU cores that the actor may use."""
        return self.threads * (self.count if self.splits else 1)

    @contextlib.contextmanager
    def lane(self) -> Iterator[None]:
        """Make the calling thread a lane: with its threads and, on a GPU, a stream of its own."""
        # Ray 2.60 sets OMP_NUM_THREADS=1 where an actor asks for no CPU.
        use_threads(self.threads)
        if self.device == "cpu":
            yield
            return
        with torch.cuda.stream(torch.cuda.Stream()):  # type: ignore[no-untyped-call]
            yield


def use_threads(count: int) -> None:
    """Let the calling thread, and no other, compute with so many of torch's threads.

    Example:
        >>> use_threads(1)
        >>> torch.get_num_threads()
        1
    """
    # torch 2.15 sets a thread's number when the thread first computes or asks for it, to what any
    # thread has set last: a lane would then take the cores of all.
    torch.get_num_threads()
    torch.set_num_threads(count)


def cores() -> int:
    """Return how many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
