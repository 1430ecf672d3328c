"""Runs a search, or continues one, with one pool of reward models for all its trials."""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pydantic
import ray
from ray import tune
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher
from ray.tune.search.variant_generator import generate_variants

from rllib_vlm_reward.config import ServingConfig
from rllib_vlm_reward.errors import ERRORS, ConfigError, PoolError
from rllib_vlm_reward.files import FolderLock, write_text
from rllib_vlm_reward.run import Experiment
from rllib_vlm_reward.serving.deployment import joined_cluster
from rllib_vlm_reward.serving.service import bundles_of, start_service
from rllib_vlm_reward.sweep.resources import trial_resources
from rllib_vlm_reward.sweep.results import SweepResults
from rllib_vlm_reward.sweep.trial import ExperimentTrial

__all__ = ["search"]

_DRAWS = 20
_SERVING = ServingConfig().model_dump()
_MODELS = ("encoder", "experts")


def search(
    space: dict[str, Any],
    output: Path,
    *,
    num_samples: int,
    scheduler: TrialScheduler | None = None,
    searcher: Searcher | None = None,
    seed: int = 0,
) -> SweepResults:
    """Search experiments, and write the results.

    The function joins the Ray cluster of ``RAY_ADDRESS`` if that is set; otherwise it starts Ray
    on this machine. If ``output`` holds the same search, that search continues: finished trials
    are not repeated, and others continue from their last report. Ray 2.60 does not restore what a
    scheduler knows of earlier trials.

    Args:
        space: the mapping of an experiment's YAML, with search spaces in it. With
            ``vlm_reward.serving.pool_name``, one pool of that name serves all trials; this
            function starts and closes it.
        output: folder for Tune's files, and for those that :meth:`.SweepResults.save` writes.
        num_samples: number of trials; with a grid, number of repetitions of the grid.
        scheduler: decides which trials stop early or continue from others, by ``objective`` over
            ``env_steps``; None lets each trial train to its end.
        searcher: draws the trials, such as ``OptunaSearch()``; None draws them at random.
        seed: seed of the random draws.

    Raises:
        pydantic.ValidationError: none of several draws from ``space`` is a valid experiment. If
            the first one fails with an error of this package, that error is raised instead.
        FileExistsError: another process is writing ``output``.
        ConfigError: no trial has reported results, ``output`` holds another search, or one pool
            would have to serve different models.
        PoolError: the cluster has no room for the shared pool, or for a trial beside it.
    """
    description = _describe([space, num_samples, seed, type(scheduler), type(searcher)])
    _check_same(description, output)
    drawn = _any_experiment(space)
    with (
        FolderLock(output),
        joined_cluster(include_dashboard=False),
        _shared_pool(space, drawn),
    ):
        _check_room(drawn)
        write_text(output / "search.json", description)
        grid = _tuner(space, output, num_samples, scheduler, searcher, seed).fit()
        points = sum(1 for _ in generate_variants(space))
        results = SweepResults(grid, space, trials=num_samples * points)
        results.save(output)
    return results


def _draws(space: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for _ in range(_DRAWS):
        yield from (drawn for _, drawn in generate_variants(space))


def _any_experiment(space: dict[str, Any]) -> Experiment:
    """Draw until an experiment is valid; a trial with an invalid draw fails by itself later."""
    first_error: Exception | None = None
    for drawn in _draws(space):
        try:
            experiment = Experiment.model_validate(drawn)
            experiment.to_algorithm_config()
        except (pydantic.ValidationError, *ERRORS) as error:
            first_error = first_error or error
        else:
            return experiment
    assert first_error is not None
    raise first_error


def _check_same(description: str, output: Path) -> None:
    path = output / "search.json"
    if path.exists() and path.read_text() != description:
        raise ConfigError(
            f"search: {output} holds another search, see {path}; expected the same space, samples, "
            "seed, scheduler and searcher. Choose another output."
        )


def _describe(search: Any) -> str:
    """Return a search as JSON, which is the same in every process."""
    return json.dumps(search, default=_to_json, indent=1)


def _to_json(value: Any) -> Any:
    if callable(value):
        return f"{value.__module__}.{value.__qualname__}"
    return {"is": type(value).__name__, **vars(value)}


def _differs(key: str, settings: Sequence[Mapping[str, Any]]) -> bool:
    return any(each[key] != settings[0][key] for each in settings)


@contextlib.contextmanager
def _shared_pool(space: dict[str, Any], drawn: Experiment) -> Iterator[None]:
    """Start the pool that all trials share; close it when the search ends."""
    # The whole section may be a search space, so look at draws from it.
    rewards = [draw["vlm_reward"] for draw in _draws(space) if isinstance(draw["vlm_reward"], dict)]
    settings = [
        {**{key: reward.get(key) for key in _MODELS}, **_SERVING, **reward.get("serving", {})}
        for reward in rewards
    ]
    name = drawn.vlm_reward.serving.pool_name
    if name is None and all(each["pool_name"] is None for each in settings):
        yield
        return
    different = [key for key in sorted({*_SERVING, *_MODELS}) if _differs(key, settings)]
    if different or name is None:
        raise ConfigError(
            f"search: {different} differ between trials that share a pool (serving.pool_name), "
            "expected the same values, since a pool serves one model. Leave pool_name out: then "
            "each trial starts its own pool."
        )
    pool = start_service(drawn.vlm_reward, name=name)
    try:
        yield
    finally:
        pool.close()


def _check_room(drawn: Experiment) -> None:
    """Check that the cluster has room for one trial, and for the shared pool beside it."""
    requested = trial_resources(drawn.to_algorithm_config()).required_resources
    vlm = drawn.vlm_reward
    available, shares = ray.cluster_resources(), vlm.serving.pool_name is not None
    if shares:
        for bundle in bundles_of(vlm):
            for kind, amount in bundle.items():
                available[kind] = available.get(kind, 0.0) - amount
    for name, amount in requested.items():
        if amount > available.get(name, 0.0):
            raise PoolError(
                f"search: a trial requests {amount:g} {name}, but the cluster has "
                f"{available.get(name, 0.0):g}{' beside the shared pool' * shares}. Lower "
                "env_runners.num_env_runners, vlm_reward.serving.num_actors or num_cpus_per_actor, "
                "share a pool with vlm_reward.serving.pool_name, or add nodes."
            )


def _tuner(
    space: dict[str, Any],
    output: Path,
    num_samples: int,
    scheduler: TrialScheduler | None,
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
            # Keep several: population-based training may restore one while the next is written.
            checkpoint_config=tune.CheckpointConfig(
                checkpoint_frequency=1, checkpoint_at_end=True, num_to_keep=4
            ),
        ),
    )
