"""Reports an error in a remote env runner to the driver."""

import contextlib
import dataclasses
import json
import traceback
import uuid
from collections.abc import Callable
from typing import Any

import ray

from rllib_vlm_reward.errors import ERRORS, PoolError
from rllib_vlm_reward.serving.service import RewardService

__all__ = ["Failure", "ReportingSample"]


@dataclasses.dataclass(frozen=True)
class Failure:
    """An error in an env runner, as it is stored in the pool.

    Attributes:
        run: the run whose env runner failed, since several trials may share a pool.
        text: for an error of this package its message; for another one, such as an exception in the
            user's env, its traceback.
        fatal: whether training cannot go on. RLlib restarts an env runner after other errors.
        id: makes two equal errors two failures.
    """

    run: str
    text: str
    fatal: bool
    id: str = dataclasses.field(default_factory=lambda: uuid.uuid4().hex)

    @classmethod
    def of(cls, error: Exception, run: str) -> "Failure":
        """Return the failure of an exception that is being handled."""
        if isinstance(error, ERRORS):
            return cls(run, f"{type(error).__name__}: {error}", fatal=True)
        text = "".join(traceback.format_exception(error))
        return cls(run, text.rstrip(), fatal=False)

    def report(self, pool: Callable[[], RewardService]) -> None:
        """Store the failure in the pool that the function returns, if it can be reached."""
        with contextlib.suppress(PoolError, ray.exceptions.RayError):
            pool().report_failure(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def of_run(cls, pool: RewardService, run: str) -> list["Failure"]:
        """Return the failures of a run that its env runners reported to a pool.

        Raises:
            PoolError: all reward actors have ended.
        """
        failures = [cls(**json.loads(text)) for text in pool.failures()]
        return [failure for failure in failures if failure.run == run]


class ReportingSample:
    """The ``sample`` method of an env runner, which raises the user's error, and reports it.

    RLlib 2.60 raises an empty RuntimeError in place of an error of the env. In a remote env runner
    it only logs it, on the env runner's node, and restarts the env runner. So the driver reads
    these reports (:class:`.Sampling`).

    Args:
        sample: the env runner's method.
        pool: a function that returns the pool, called only after an error; None in a local env
            runner, whose errors reach the caller.
        run: name of the run.
    """

    def __init__(
        self, sample: Callable[..., Any], pool: Callable[[], RewardService] | None, run: str
    ) -> None:
        # Replaces an earlier one, since an env runner may be attached several times.
        self._sample: Callable[..., Any] = (
            sample._sample if isinstance(sample, ReportingSample) else sample
        )
        self._pool, self._run = pool, run

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Sample."""
        try:
            return self._sample(*args, **kwargs)
        except Exception as error:
            replaced = type(error) is RuntimeError and not error.args
            original = error.__cause__ if replaced else error
            if not isinstance(original, Exception):
                raise
            if self._pool is not None:
                Failure.of(original, self._run).report(self._pool)
                self._cancel(self._pool)  # by default RLlib ends this process
        raise original  # outside of the except block, which would replace its context

    @staticmethod
    def _cancel(pool: Callable[[], RewardService]) -> None:
        with contextlib.suppress(PoolError, ray.exceptions.RayError):
            pool().cancel()
