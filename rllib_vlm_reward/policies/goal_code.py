"""A discrete code of the goal, which is all that the policy sees of it."""

import importlib.util
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pydantic
import torch
from ray.rllib.core.rl_module import RLModule
from torch import Tensor, nn

from rllib_vlm_reward.errors import ConfigError
from rllib_vlm_reward.settings import Section, validated

__all__ = [
    "CodeUsage",
    "GoalCode",
    "GoalCodeConfig",
    "find_goal_code",
    "goal_code_config",
    "make_goal_code",
    "with_mean_square_1",
]

COMMITMENT = 0.25


class GoalCodeConfig(Section, place="policy.model_config.goal_code"):
    """The goal passes a bottleneck of discrete codes. Needs ``rllib-vlm-reward[codes]``.

    Attributes:
        groups: into how many parts of equal length the goal is cut; each gets a code. It must
            divide the length of CLIP's embeddings.
        codes: number of vectors in the codebook, which all groups share. A policy distinguishes
            ``codes`` to the power of ``groups`` goals at most.

    Raises:
        pydantic.ValidationError: a key is unknown, or a value is outside its range.

    Example:
        >>> GoalCodeConfig(groups=4, codes=32)
        GoalCodeConfig(groups=4, codes=32)
    """

    groups: Annotated[int, pydantic.Field(ge=1)]
    codes: Annotated[int, pydantic.Field(ge=2)]


class CodeUsage(NamedTuple):
    """How a set of goals uses a codebook.

    Attributes:
        perplexity: exp(entropy) of the codes, over all groups of all goals: between 1, if there is
            one code in use, and the size of the codebook, if all codes are used equally often.
        dead_codes: the codes that no goal uses.
        alike_goals: the goals whose code another goal has too, so that the policy cannot
            distinguish them.
    """

    perplexity: float
    dead_codes: int
    alike_goals: int


class GoalCode(nn.Module):
    """Replaces each group of a goal by the nearest vector of a codebook.

    A linear layer, the codes and all that follows are learned together. The gradient passes the
    codes as if they were not there (straight-through); a loss of 0.25 times the mean squared
    distance between groups and codes, added to the learner's loss, moves both towards each other.
    This is the factorial bottleneck of Islam et al. (arXiv 2211.00247) on van den Oord et al.'s
    vector quantisation (arXiv 1711.00937).

    No Learner needs to know of the loss: it rides on the gradient of the features. Each forward
    pass adds it once, if the learner's loss depends on that pass. All that is learned is a
    parameter, so env runners and learners with the same weights have the same codes.

    Args:
        dim: D, the length of a goal.
        config: the settings, see :func:`goal_code_config`.
    """

    def __init__(self, dim: int, config: GoalCodeConfig) -> None:
        super().__init__()
        from vector_quantize_pytorch import VectorQuantize  # an extra, and slow to import

        self.codes = config.codes
        self.project = nn.Linear(dim, dim)
        self.quantizer = VectorQuantize(
            dim=dim,
            codebook_dim=dim // config.groups,
            heads=config.groups,
            codebook_size=config.codes,
            commitment_weight=COMMITMENT,
            # By gradient alone: no moving averages, which a forward pass would change.
            learnable_codebook=True,
            ema_update=False,
            rotation_trick=False,
        )
        # The library has the averages all the same. They never change: no state needs them.
        codebook = self.quantizer._codebook
        for name, value in [*codebook.named_buffers()]:
            codebook.register_buffer(name, value, persistent=False)

    def forward(self, goal: Tensor) -> Tensor:
        """Return the goals by their codes.

        Args:
            goal: float32 ``[N, D]``, with a mean square of 1.

        Returns:
            float32 ``[N, D]``; 0 for a goal of zeros, with which RLlib pads sequences.
        """
        is_goal = goal.any(dim=-1)
        coded = torch.zeros_like(goal)
        coded[is_goal], _, loss = self.quantizer(self.project(goal[is_goal]))
        # The library's loss asks for a gradient even where nothing learns, as in target networks.
        with_loss: Tensor = _WithLoss.apply(coded, loss) if coded.requires_grad else coded
        return with_loss

    @torch.no_grad()
    def indices(self, goals: npt.NDArray[np.float32]) -> Tensor:
        """Return the code of each group, int64 ``[N, G]``.

        Args:
            goals: float32 ``[N, D]``: CLIP's embeddings, with norm 1.
        """
        given = torch.as_tensor(goals, device=self.project.weight.device)
        _, indices, _ = self.quantizer(self.project(with_mean_square_1(given)))
        found: Tensor = indices.reshape(len(goals), -1)
        return found

    def names(self, goals: npt.NDArray[np.float32]) -> list[str]:
        """Return the codes in a form to read, such as ``7-0-31-4``; see :meth:`indices`."""
        return ["-".join(map(str, row)) for row in self.indices(goals).tolist()]

    def usage(self, goals: npt.NDArray[np.float32]) -> CodeUsage:
        """Return how goals use the codebook; see :meth:`indices`."""
        indices = self.indices(goals)
        counts = torch.bincount(indices.flatten(), minlength=self.codes)
        entropy = torch.special.entr(counts / counts.sum()).sum()
        same = torch.unique(indices, dim=0, return_counts=True)[1]
        return CodeUsage(
            perplexity=float(entropy.exp()),
            dead_codes=int((counts == 0).sum()),
            alike_goals=int(same[same > 1].sum()),
        )


class _WithLoss(torch.autograd.Function):
    """Returns a tensor as it is; in the backward pass, a loss gets the gradient 1 beside it."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, loss: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        return gradient, gradient.new_ones(())


def goal_code_config(dim: int, model_config: Mapping[str, Any]) -> GoalCodeConfig | None:
    """Return the checked settings of the goal's code; None if the policy has none.

    Args:
        dim: D, the length of a goal.
        model_config: of the RLModule.

    Raises:
        ConfigError: a key is unknown, a value is outside its range, the groups do not divide the
            goal, or the package that the code needs is not installed.

    Example:
        >>> goal_code_config(64, {"goal_code": {"groups": 5, "codes": 32}})
        Traceback (most recent call last):
        ...
        rllib_vlm_reward.errors.ConfigError: model_config.goal_code: got 5 groups for goals of 64 \
numbers, expected a divisor of 64. Set groups to one of [1, 2, 4, 8, 16, 32, 64].
    """
    given = model_config.get("goal_code")
    if given is None:
        return None
    config = validated(GoalCodeConfig, given, "model_config.goal_code")
    if dim % config.groups:
        divisors = [groups for groups in range(1, dim + 1) if dim % groups == 0]
        raise ConfigError(
            f"model_config.goal_code: got {config.groups} groups for goals of {dim} numbers, "
            f"expected a divisor of {dim}. Set groups to one of {divisors}."
        )
    if importlib.util.find_spec("vector_quantize_pytorch") is None:
        raise ConfigError(
            "model_config.goal_code: the package vector-quantize-pytorch is not installed. Run: "
            'pip install "rllib-vlm-reward[codes]"'
        )
    return config


def make_goal_code(dim: int, model_config: Mapping[str, Any]) -> nn.Module:
    """Create what goals pass on their way to the network: a code, or nothing."""
    config = goal_code_config(dim, model_config)
    return nn.Identity() if config is None else GoalCode(dim, config)


def find_goal_code(module: RLModule) -> GoalCode | None:
    """Return the code of the network that acts, or None; SAC's critics have others."""
    encoder = getattr(module, "pi_encoder", None) or getattr(module, "encoder", None)
    parts = encoder.modules() if isinstance(encoder, nn.Module) else ()
    return next((part for part in parts if isinstance(part, GoalCode)), None)


def with_mean_square_1(goal: Tensor) -> Tensor:
    """Return goals of norm 1, float32 ``[..., D]``, with a mean square of 1.

    The entries of a unit vector get smaller as D grows, and torch's initialisation expects inputs
    with variance 1.
    """
    scaled: Tensor = goal * goal.shape[-1] ** 0.5
    return scaled
