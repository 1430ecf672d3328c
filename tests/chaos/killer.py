"""A thread that kills processes, one after the other."""

import contextlib
import os
import random
import signal
import threading

import ray
from ray.exceptions import RayError

from rllib_vlm_reward.serving.router import present

# For an answer. A process that is being restarted gives none, and an env runner answers only when
# it has sampled, which takes many seconds on a slow machine.
PATIENCE_S = 20.0


def pids_of_actors(pool):
    """Return the process ids of a pool's actors that answer now."""
    return _answers([actor.describe.remote() for actor in present(pool).values()], "pid")


def pids_of_env_runners(group):
    """Return the process ids of the env runners that answer now."""
    actors = [*group._worker_manager.actors().values()]  # RLlib's thread may change them meanwhile
    return _answers([actor.apply.remote(lambda runner: {"pid": os.getpid()}) for actor in actors])


def _answers(refs, key="pid"):
    ready, _ = ray.wait(refs, num_returns=len(refs), timeout=PATIENCE_S) if refs else ([], [])
    found = []
    for ref in ready:
        with contextlib.suppress(RayError):  # it ended meanwhile
            found.append(ray.get(ref)[key])
    return found


class Killer(threading.Thread):
    """Within it, one of several processes is killed every few seconds.

    Until all of them answer again, none is killed: on a slow machine training would never go on.

    Args:
        pids: a function that returns the process ids of those that answer now.
        number: how many there are.
        every: seconds between two kills.

    Attributes:
        killed: the processes that were killed.
    """

    def __init__(self, pids, number, every):
        super().__init__(daemon=True)
        self._pids, self._number, self._every = pids, number, every
        self._draw, self._end = random.Random(0), threading.Event()
        self.killed = []

    def run(self):
        while not self._end.wait(self._every):
            found = [pid for pid in self._pids() if pid not in self.killed]
            if len(found) < self._number:
                continue
            pid = self._draw.choice(found)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                self.killed.append(pid)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self.join()
