"""Reports an error in an env runner to the driver."""

import contextlib
from collections.abc import Callable, Iterator

import ray

from rllib_vlm_reward.errors import PoolError
from rllib_vlm_reward.serving.pool import RewardPool

__all__ = ["reported"]


@contextlib.contextmanager
def reported(pool: Callable[[], RewardPool], run: str) -> Iterator[None]:
    """Report an error in the block to the pool, under the run's name, and raise it again.

    RLlib 2.60 only logs an error in a remote env runner, waits a minute and restarts the env
    runner. So the driver reads these reports when the iteration ends
    (:class:`.callbacks.VLMRewardCallbacks`).

    Args:
        pool: a function that returns the pool; called only after an error.
        run: name of the run.
    """
    try:
        yield
    except Exception as error:
        with contextlib.suppress(PoolError, ray.exceptions.RayError):
            pool().report_failure(f"{run}: {type(error).__name__}: {error}")
        raise
