"""How an error in an env runner reaches the driver."""

import contextlib
from collections.abc import Callable, Iterator

import ray

from rllib_vlm_reward.errors import PoolError
from rllib_vlm_reward.serving.pool import RewardPool

__all__ = ["reported"]


@contextlib.contextmanager
def reported(pool: Callable[[], RewardPool], run: str) -> Iterator[None]:
    """Report an error to the pool, under the run's name, and raise it.

    RLlib 2.60 only logs an error of a remote env runner, waits a minute and restarts it. The driver
    reads the reports when the iteration ends (:class:`.callbacks.VLMRewardCallbacks`).
    """
    try:
        yield
    except Exception as error:
        with contextlib.suppress(PoolError, ray.exceptions.RayError):
            pool().report_failure(f"{run}: {type(error).__name__}: {error}")
        raise
