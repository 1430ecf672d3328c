"""What a Tune trial asks of the cluster, its reward actors included."""

from typing import Any

from ray import tune
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.plugin import reward_of
from rllib_vlm_reward.serving.deployment import Demand, is_taken, living_nodes

__all__ = ["rewarded", "trial_resources"]


def rewarded(algorithm: type[Algorithm]) -> type[Algorithm]:
    """Let each Tune trial of an algorithm ask for its reward actors, beside what RLlib asks for.

    Args:
        algorithm: such as ``PPO``.

    Returns:
        a class like it, for a ``Tuner`` whose ``param_space`` is a configuration that
        :func:`.add_vlm_reward` changed; search spaces in it are drawn before each trial asks.

    Example:
        >>> from ray.rllib.algorithms.ppo import PPO
        >>> tune.Tuner(rewarded(PPO), param_space=config).fit()  # doctest: +SKIP
    """

    def ask(settings: dict[str, Any]) -> tune.PlacementGroupFactory:
        return trial_resources(algorithm.get_default_config().update_from_dict(settings))

    trainable: type[Algorithm] = tune.with_resources(algorithm, ask)
    return trainable


def trial_resources(config: AlgorithmConfig) -> tune.PlacementGroupFactory:
    """Return what an algorithm asks of the cluster: RLlib's bundles, and one for each reward actor.

    For ``tune.with_resources`` of a function that builds the algorithm itself; see
    :func:`rewarded` for an algorithm's class. Reward actors that reserve neither CPUs nor GPUs
    have no bundle, nor have those of a pool that runs already (``pool_name``).

    Args:
        config: without search spaces, and changed by :func:`.add_vlm_reward`.

    Raises:
        PoolError: several GPUs and a part of one for each actor.
        RewardError: the configuration has no reward.
    """
    own = config.algo_class.default_resource_request(config)
    vlm = reward_of(config)
    bundles = [] if _is_shared(vlm) else Demand.of(vlm, living_nodes()).bundles()
    if not bundles:
        return own
    head: list[dict[str, float]] = [{}] if own.head_bundle_is_empty else []
    return tune.PlacementGroupFactory([*head, *own.bundles, *bundles], strategy=own.strategy)


def _is_shared(vlm: VLMRewardConfig) -> bool:
    return vlm.pool_name is not None and is_taken(vlm.pool_name)
