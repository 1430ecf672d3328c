"""The contrastive loss, where it is known exactly which statements hold in each frame."""

from torch import Tensor
from torch.nn.functional import softplus

__all__ = ["contrast"]


def contrast(logits: Tensor, holds: Tensor) -> Tensor:
    """Cross entropy of each statement that holds against all that do not.

    For a frame with the true statements T and the false ones F of a family, the mean over t in T
    of -log(exp z_t / (exp z_t + Σ_{f in F} exp z_f)). So true statements do not compete with each
    other ("a ball is next to a key" and "a key is next to a ball"), and where one statement
    excludes all others it is the softmax cross entropy, whose probability is the paper's
    equation 1.

    Args:
        logits: float32 ``[B, S]``, logit_scale times cosine.
        holds: bool ``[B, S]``, at least one True and one False in each row.

    Returns:
        float32 scalar, the mean over frames.

    Example:
        >>> import torch
        >>> holds = torch.tensor([[True, False, False]])
        >>> round(contrast(torch.zeros(1, 3), holds).item(), 4)  # log 3
        1.0986
    """
    against = logits.masked_fill(holds, float("-inf")).logsumexp(dim=1, keepdim=True)
    each = softplus(against - logits) * holds
    return (each.sum(dim=1) / holds.sum(dim=1)).mean()
