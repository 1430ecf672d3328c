"""The resources that a Tune trial requests, with those of its reward actors."""

from typing import Any

from ray import tune
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.plugin import reward_of
from rllib_vlm_reward.serving.service import bundles_of, is_service_running

__all__ = ["rewarded", "trial_resources"]


def rewarded(algorithm: type[Algorithm]) -> type[Algorithm]:
    """Return a trainable whose trials request their reward actors, besides what RLlib requests.

    Args:
        algorithm: such as ``PPO``.

    Returns:
        a subclass for a ``Tuner`` whose ``param_space`` is a configuration that
        :func:`.add_vlm_reward` changed. It may contain search spaces: Tune draws their values
        before a trial requests its resources.

    Example:
        >>> from ray.rllib.algorithms.ppo import PPO
        >>> tune.Tuner(rewarded(PPO), param_space=config).fit()  # doctest: +SKIP
    """

    def request(settings: dict[str, Any]) -> tune.PlacementGroupFactory:
        return trial_resources(algorithm.get_default_config().update_from_dict(settings))

    trainable: type[Algorithm] = tune.with_resources(algorithm, request)
    return trainable


def trial_resources(config: AlgorithmConfig) -> tune.PlacementGroupFactory:
    """Return the resources of an algorithm: RLlib's bundles, and one for each reward actor.

    Pass them to ``tune.with_resources`` with a function that builds the algorithm; for an
    algorithm's class, use :func:`rewarded`. There is no bundle for reward actors that reserve
    neither CPUs nor GPUs, and none for those of a pool that runs already (``pool_name``).

    Args:
        config: a configuration without search spaces, changed by :func:`.add_vlm_reward`.

    Raises:
        PoolError: each actor requests more than one GPU, but not a whole number of them.
        RewardError: the configuration has no reward.
    """
    rllib = config.algo_class.default_resource_request(config)
    vlm = reward_of(config)
    bundles = [] if _is_shared(vlm) else bundles_of(vlm)
    if not bundles:
        return rllib
    head: list[dict[str, float]] = [{}] if rllib.head_bundle_is_empty else []
    return tune.PlacementGroupFactory([*head, *rllib.bundles, *bundles], strategy=rllib.strategy)


def _is_shared(vlm: VLMRewardConfig) -> bool:
    name = vlm.serving.pool_name
    return name is not None and is_service_running(name, vlm)
