"""Whether this algorithm's Tune trial asked for its reward actors."""

from ray.rllib.algorithms.algorithm import Algorithm
from ray.util import get_current_placement_group

from rllib_vlm_reward.serving.deployment import Group

__all__ = ["reward_group"]


def reward_group(algorithm: Algorithm, actors: int) -> Group:
    """Return the trial's placement group, if it has a bundle more for each of so many actors.

    RLlib 2.60 drops what Tune tells a trial of its resources (``algorithm.trial_resources`` is
    None), so the bundles are counted.
    """
    group = get_current_placement_group()
    if group is None:
        return None
    own = algorithm.config.algo_class.default_resource_request(algorithm.config).bundles
    return group if len(group.bundle_specs) == len(own) + actors else None
