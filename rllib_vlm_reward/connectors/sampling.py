"""Raises an error if the env runners fail, or if nothing is sampled any more."""

import logging
import time
from collections.abc import Callable
from typing import Any

import ray
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.env.env_runner_group import EnvRunnerGroup

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.connectors.failure import Failure
from rllib_vlm_reward.errors import PoolError, RewardError
from rllib_vlm_reward.monitoring.metric_names import ENV_RUNNERS
from rllib_vlm_reward.serving.service import RewardService

__all__ = ["Sampling"]

_LOG = logging.getLogger(__name__)
_SAMPLED = (ENV_RUNNERS, "num_env_steps_sampled_lifetime")
_PATIENCE_S = 5.0  # for an answer of the env runners
_PAUSE_S = 1.0  # between two looks within an iteration, each of which asks all reward actors


class Sampling:
    """Looks whether env runners fail, and whether new steps arrive; only the driver has one.

    RLlib 2.60 goes on with iterations in which nothing is sampled. With DQN and SAC a single
    iteration never ends then. So
    :meth:`look_before_each_step` also looks within an iteration.

    Args:
        config: the reward of the run.
        run: name of the run, under which env runners report their failures.
        clock: returns the time in seconds.
    """

    def __init__(
        self, config: VLMRewardConfig, run: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stalled_seconds, self._run, self._clock = config.stalled_seconds, run, clock
        self._seen: set[str] = set()
        self._failures: list[str] = []  # since the last new step
        self._steps: int | None = None
        self._dropped = 0
        self._without = 0.0  # training seconds without a new step
        self._looked_at: float | None = None  # None between two iterations
        self._lost_before: set[str] = set()  # nodes, by Ray's id

    def look_before_each_step(self, algorithm: Algorithm, pool: RewardService) -> None:
        """Call :meth:`look` before each training step of the algorithm.

        RLlib 2.60 has no callback there. It calls the public ``restore_env_runners`` before each.
        """
        self._lost_before = {*_lost_nodes()}
        restore = algorithm.restore_env_runners

        def look_and_restore(env_runner_group: EnvRunnerGroup) -> list[int]:
            if env_runner_group is algorithm.env_runner_group:
                now, then = self._clock(), self._looked_at
                if then is None or now - then >= _PAUSE_S or not _some_run(algorithm):
                    self.look(algorithm, pool)
            restored: list[int] = restore(env_runner_group)
            return restored

        algorithm.restore_env_runners = look_and_restore

    def end_iteration(
        self, algorithm: Algorithm, pool: RewardService, result: dict[str, Any]
    ) -> None:
        """Look once more, and stop the clock until the next iteration.

        Raises:
            RewardError: see :meth:`look`; or RLlib dropped all samples of the first iteration.
        """
        before = self._steps or 0
        self.look(algorithm, pool)
        self._looked_at = None
        dropped = result.get("fault_tolerance", {}).get("num_env_runners_dropped_lifetime", 0)
        if dropped > self._dropped and not before and not self._steps:
            raise RewardError(
                f"iteration: RLlib dropped {dropped - self._dropped} samples because they took "
                f"longer than sample_timeout_s ({algorithm.config.sample_timeout_s} s), so the "
                "agent learnt nothing. Free the CPUs if other programs use them; raise "
                "sample_timeout_s (in config.env_runners(), or under env_runners in the YAML); "
                "lower train_batch_size_per_learner or rollout_fragment_length; or give the reward "
                "more actors or GPUs."
            )
        self._dropped = dropped

    def look(self, algorithm: Algorithm, pool: RewardService) -> None:
        """Look for failures of env runners, and for new steps.

        Raises:
            RewardError: an env runner failed for good; all env runners failed, and no new step has
                arrived; or nothing was sampled for ``stalled_seconds`` of training.
        """
        now = self._clock()
        steps = int(algorithm.metrics.peek(_SAMPLED, default=0))
        arrived = steps > (self._steps or 0)
        if arrived:
            self._without, self._failures = 0.0, []
        elif self._looked_at is not None:
            self._without += now - self._looked_at
        self._steps, self._looked_at = steps, now
        goes_on = (arrived or _some_run(algorithm)) and algorithm.config.restart_failed_env_runners
        self.raise_failures(pool, goes_on=goes_on)
        if self._without >= self._stalled_seconds:
            raise RewardError(self._stalled(algorithm, pool))

    def raise_failures(self, pool: RewardService, *, goes_on: bool = False) -> None:
        """Raise the new failures of this run's env runners.

        Args:
            pool: where the env runners report failures.
            goes_on: whether other env runners go on, so that failures that are not fatal are only
                logged.

        Raises:
            RewardError: there are failures.
        """
        new = [each for each in Failure.of_run(pool, self._run) if each.id not in self._seen]
        self._seen |= {failure.id for failure in new}
        self._failures = [*dict.fromkeys([*self._failures, *(failure.text for failure in new)])]
        if any(failure.fatal for failure in new) or (self._failures and not goes_on):
            raise RewardError("\n".join(["env runners failed:", *self._failures]))
        if new:
            _LOG.error("an env runner failed, and RLlib restarts it:\n%s", new[-1].text)

    def _stalled(self, algorithm: Algorithm, pool: RewardService) -> str:
        group = algorithm.env_runner_group
        runners, healthy = group.num_remote_env_runners(), group.num_healthy_remote_env_runners()
        missing = []
        if runners:  # RLlib takes an env runner that does not answer for healthy
            answers = group.foreach_env_runner(
                _answer, local_env_runner=False, timeout_seconds=_PATIENCE_S
            )
            missing.append(
                f"{healthy} of {runners} env runners are healthy, and {len(answers)} answer"
            )
        try:
            actors = pool.stats()
            silent = [row["actor"] for row in actors if not row["up"]]
            missing.append(
                f"{len(actors) - len(silent)} of {len(actors)} reward actors answer"
                + (f" (not {', '.join(silent)})" if silent else "")
            )
        except PoolError as error:
            missing.append(f"no reward actor answers ({error})")
        lost = [at for node, at in _lost_nodes().items() if node not in self._lost_before]
        if lost:
            nodes = "a node" if len(lost) == 1 else f"{len(lost)} nodes"
            missing.append(f"the cluster lost {nodes} ({', '.join(lost)})")
        return (
            f"training stands still: nothing was sampled for {self._without:.0f} s of training, "
            f"after {self._steps} env steps, expected new steps within stalled_seconds="
            f"{self._stalled_seconds:g}. {'; '.join(missing)}. What was collected since is lost. "
            "Bring back the missing nodes or actors and continue from the last checkpoint; if the "
            "env is only slow, raise vlm_reward.stalled_seconds."
            + "".join(f"\nAn env runner failed:\n{text}" for text in self._failures)
        )


def _lost_nodes() -> dict[str, str]:
    """Return the addresses of the nodes that Ray's cluster ever lost, by the node's id."""
    return {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if not node["Alive"]}


def _answer(_: EnvRunner) -> bool:
    return True


def _some_run(algorithm: Algorithm) -> bool:
    group = algorithm.env_runner_group
    return not group.num_remote_env_runners() or group.num_healthy_remote_env_runners() > 0
