"""Runs a search, or goes on with one, with one pool of reward models for all its trials."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher
from ray.tune.search.sample import Domain

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.serving.pool import RewardPool
from rllib_vlm_reward.sweep.results import SweepResults
from rllib_vlm_reward.sweep.trial import ExperimentTrial

__all__ = ["search"]


def search(
    space: dict[str, Any],
    output: Path,
    *,
    num_samples: int,
    scheduler: TrialScheduler,
    searcher: Searcher | None = None,
    seed: int = 0,
) -> SweepResults:
    """Search experiments, and write what was found.

    Joins the Ray cluster of ``RAY_ADDRESS`` if that is set, else starts Ray on this machine. A
    search that lies in ``output`` goes on where it was: finished trials are not repeated.

    Args:
        space: the mapping of an experiment's YAML, with search spaces in it. With
            ``vlm_reward.pool_name`` one pool of that name serves all trials: it is started here,
            and closed at the end.
        output: folder of Tune's own files, and of what :meth:`.SweepResults.save` writes.
        num_samples: trials.
        scheduler: what is stopped early or exploited, by ``objective`` over ``env_steps``.
        searcher: draws the trials, such as ``OptunaSearch()``; None draws them at random.
        seed: of the random draws.

    Raises:
        ConfigError: no trial reported.
        PoolError: the shared pool cannot be placed.
    """
    started = not ray.is_initialized()
    if started:
        _start_ray()
    try:
        with _shared_pool(space["vlm_reward"]):
            grid = _tuner(space, output, num_samples, scheduler, searcher, seed).fit()
    finally:
        if started:
            ray.shutdown()
    results = SweepResults(grid, space)
    results.save(output)
    return results


def _start_ray() -> None:
    if "RAY_ADDRESS" in os.environ:
        ray.init(log_to_driver=False)
    else:
        ray.init(address="local", include_dashboard=False, log_to_driver=False)


@contextlib.contextmanager
def _shared_pool(settings: dict[str, Any]) -> Iterator[None]:
    """Start the pool that all trials name, which ends with the search and not with a trial."""
    if settings.get("pool_name") is None:
        yield
        return
    any_trial = {key: _drawn(value) for key, value in settings.items()}
    pool = RewardPool.start(VLMRewardConfig(**any_trial), name=settings["pool_name"])
    try:
        yield
    finally:
        pool.close()


def _drawn(value: Any) -> Any:
    if isinstance(value, Domain):
        return value.sample()
    if isinstance(value, dict) and [*value] == ["grid_search"]:
        return value["grid_search"][0]
    return value


def _tuner(
    space: dict[str, Any],
    output: Path,
    num_samples: int,
    scheduler: TrialScheduler,
    searcher: Searcher | None,
    seed: int,
) -> tune.Tuner:
    path = str(output.resolve() / "trials")
    if tune.Tuner.can_restore(path):
        return tune.Tuner.restore(path, ExperimentTrial, resume_errored=True, param_space=space)
    return tune.Tuner(
        ExperimentTrial,
        param_space=space,
        tune_config=tune.TuneConfig(
            metric="objective",
            mode="max",
            num_samples=num_samples,
            scheduler=scheduler,
            search_alg=searcher or tune.search.BasicVariantGenerator(random_state=seed),
        ),
        run_config=tune.RunConfig(
            name="trials",
            storage_path=str(output.resolve()),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=True, num_to_keep=1),
        ),
    )
