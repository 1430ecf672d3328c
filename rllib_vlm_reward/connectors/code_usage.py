"""Reports how the goals of a run use the codebook of a policy that sees them as discrete codes."""

import functools
from typing import Any

import numpy as np
import numpy.typing as npt
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.learner.learner import Learner

from rllib_vlm_reward.connectors.goal_embedding import GoalEmbedding
from rllib_vlm_reward.connectors.pipeline import driver_pieces
from rllib_vlm_reward.monitoring import metric_names as names
from rllib_vlm_reward.policies.goal_code import CodeUsage, find_goal_code

__all__ = ["add_code_usage"]


def add_code_usage(algorithm: Algorithm, result: dict[str, Any]) -> bool:
    """Add to an iteration's result how the goals of the run use the policy's codebook.

    A learner computes it with its newest weights, which need not leave its process.

    Args:
        algorithm: the algorithm.
        result: the result of the iteration; changed in place.

    Returns:
        Whether the policy has codes.
    """
    piece = next(driver_pieces(algorithm, GoalEmbedding), None)
    if piece is None:
        return False
    ask = functools.partial(_usage, embeddings=piece.goals)
    found = algorithm.learner_group.foreach_learner(ask, remote_actor_ids=[0])  # all are equal
    usages = [answer.get() for answer in found.ignore_errors()]  # none if the learner has failed
    if None in usages:
        return False
    group = result.setdefault(names.ENV_RUNNERS, {}).setdefault(names.GROUP, {})
    for usage in usages:
        group[names.GOAL_CODE] = {name: float(value) for name, value in usage._asdict().items()}
    return True


def _usage(learner: Learner, *, embeddings: npt.NDArray[np.float32]) -> CodeUsage | None:
    """Return the usage in a learner's process; None if the policy has no codes."""
    code = find_goal_code(learner.module[DEFAULT_MODULE_ID].unwrapped())
    return None if code is None else code.usage(embeddings)
