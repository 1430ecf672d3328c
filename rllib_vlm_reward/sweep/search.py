"""Runs a search, or goes on with one, with one pool of reward models for all its trials."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydantic
import ray
from ray import tune
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher
from ray.tune.search.variant_generator import generate_variants

from rllib_vlm_reward.errors import ERRORS, ConfigError, PoolError
from rllib_vlm_reward.resources import trial_resources
from rllib_vlm_reward.run import Experiment
from rllib_vlm_reward.serving.deployment import Demand, joined_cluster, living_nodes
from rllib_vlm_reward.serving.pool import RewardPool
from rllib_vlm_reward.serving_config import ServingConfig
from rllib_vlm_reward.sweep.results import SweepResults
from rllib_vlm_reward.sweep.trial import ExperimentTrial

__all__ = ["search"]

_DRAWS = 20


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

    Joins the Ray cluster of ``RAY_ADDRESS`` if that is set, else starts Ray on this machine. The
    same search in ``output`` goes on: finished trials are not repeated, others go on from their
    last report. What a scheduler has learnt of earlier trials is not kept by Ray 2.60.

    Args:
        space: the mapping of an experiment's YAML, with search spaces in it. With
            ``vlm_reward.pool_name`` one pool of that name serves all trials: it is started here,
            and closed at the end.
        output: folder of Tune's own files, and of what :meth:`.SweepResults.save` writes.
        num_samples: trials, or where there is a grid, repetitions of it.
        scheduler: what is stopped early or exploited, by ``objective`` over ``env_steps``.
        searcher: draws the trials, such as ``OptunaSearch()``; None draws them at random.
        seed: of the random draws.

    Raises:
        pydantic.ValidationError: no draw makes an experiment, or the first of the package's own
            errors that one raises.
        ConfigError: no trial reported; another search lies in ``output``; or what is searched
            differs between models that one pool is to serve.
        PoolError: the cluster has no room for the shared pool, or beside it for a trial.
    """
    asked = _describe([space, num_samples, seed, type(scheduler), type(searcher)])
    _check_same(asked, output)
    drawn = _any_experiment(space)
    with joined_cluster(include_dashboard=False), _shared_pool(space, drawn):
        _check_room(drawn)
        output.mkdir(parents=True, exist_ok=True)
        (output / "search.json").write_text(asked)
        grid = _tuner(space, output, num_samples, scheduler, searcher, seed).fit()
    points = sum(1 for _ in generate_variants(space))
    results = SweepResults(grid, space, trials=num_samples * points)
    results.save(output)
    return results


def _draws(space: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for _ in range(_DRAWS):
        yield from (drawn for _, drawn in generate_variants(space))


def _any_experiment(space: dict[str, Any]) -> Experiment:
    """Draw until an experiment comes of it: a trial whose draw makes none fails alone."""
    refusal: Exception | None = None
    for drawn in _draws(space):
        try:
            experiment = Experiment.model_validate(drawn)
            experiment.to_algorithm_config()
        except (pydantic.ValidationError, *ERRORS) as error:
            refusal = refusal or error
        else:
            return experiment
    assert refusal is not None
    raise refusal


def _check_same(asked: str, output: Path) -> None:
    kept = output / "search.json"
    if kept.exists() and kept.read_text() != asked:
        raise ConfigError(
            f"search: another one lies in {output}, see {kept}; expected the same space, samples, "
            "seed, scheduler and searcher. Name another output."
        )


def _describe(asked: Any) -> str:
    """Return what is searched, and how, as JSON: the same in every process."""
    return json.dumps(asked, default=_in_words, indent=1)


def _in_words(value: Any) -> Any:
    if callable(value):
        return f"{value.__module__}.{value.__qualname__}"
    return {"is": type(value).__name__, **vars(value)}


@contextlib.contextmanager
def _shared_pool(space: dict[str, Any], drawn: Experiment) -> Iterator[None]:
    """Start the pool that all trials name, which ends with the search and not with a trial."""
    # The section itself may be what is searched, so what is drawn tells, not the space.
    rewards = [its["vlm_reward"] for its in _draws(space) if isinstance(its["vlm_reward"], dict)]
    name = drawn.vlm_reward.pool_name
    if name is None and all(reward.get("pool_name") is None for reward in rewards):
        yield
        return
    defaults = {key: field.default for key, field in type(drawn.vlm_reward).model_fields.items()}
    of_the_pool = sorted({"encoder", *ServingConfig.model_fields})
    values = {key: [reward.get(key, defaults[key]) for reward in rewards] for key in of_the_pool}
    different = [key for key, each in values.items() if any(it != each[0] for it in each)]
    if different or name is None:
        raise ConfigError(
            f"search: got {different} to search and pool_name, but one pool serves one model. "
            "Leave pool_name out, and each trial starts its own."
        )
    pool = RewardPool.start(drawn.vlm_reward, name=name)
    try:
        yield
    finally:
        pool.close()


def _check_room(drawn: Experiment) -> None:
    """Refuse trials for which there is no room beside the shared pool, were they alone."""
    asked = trial_resources(drawn.to_algorithm_config()).required_resources
    vlm = drawn.vlm_reward
    there, shares = ray.cluster_resources(), vlm.pool_name is not None
    if shares:
        pool = Demand.of(vlm, living_nodes())
        there["CPU"] = there.get("CPU", 0.0) - pool.actors * pool.cpus
        there["GPU"] = there.get("GPU", 0.0) - pool.actors * pool.gpus
    for name, amount in asked.items():
        if amount > there.get(name, 0.0):
            raise PoolError(
                f"trial: it asks for {amount:g} {name}, but the cluster has "
                f"{there.get(name, 0.0):g}{' beside the shared pool' * shares}. Lower "
                "env_runners.num_env_runners, vlm_reward.num_actors or num_cpus_per_actor, share a "
                "pool with vlm_reward.pool_name, or add nodes."
            )


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
            # Several, since population-based training may restore one while the next is written.
            checkpoint_config=tune.CheckpointConfig(
                checkpoint_frequency=1, checkpoint_at_end=True, num_to_keep=4
            ),
        ),
    )
