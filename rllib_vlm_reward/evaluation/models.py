"""The CLIPs that judge: loaded once, one at a time, and no frame encoded twice."""

import itertools
from collections.abc import Callable, Iterator, Mapping

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.reward_model.encoder import CLIPEncoder
from rllib_vlm_reward.reward_model.model import RewardModel

__all__ = ["each_model", "load_model"]


def load_model(config: VLMRewardConfig, *, frames: int, device: str) -> RewardModel:
    """Load a reward's CLIP.

    Args:
        config: the reward.
        frames: how many it will see; it keeps the embeddings of all.
        device: such as ``"cpu"`` or ``"cuda"``.

    Raises:
        CheckpointError: see :meth:`.CLIPEncoder.load`.

    Example:
        >>> config = VLMRewardConfig(encoder="small", goals=["a {ball|key}"])
        >>> load_model(config, frames=10, device="cpu").encoder.embed_dim
        64
    """
    encoder = CLIPEncoder.load(config.encoder, device=device, precision=config.precision)
    return RewardModel(encoder, cache_frames=frames)


def each_model(
    rewards: Mapping[str, VLMRewardConfig],
    *,
    frames: int,
    device: str,
    report: Callable[[str], None] = lambda _: None,
) -> Iterator[tuple[str, RewardModel]]:
    """Yield each reward's name with its CLIP; those of one encoder and precision share it.

    Args:
        rewards: by name, in any order.
        frames: see :func:`load_model`.
        device: see :func:`load_model`.
        report: told the name of what comes next, before its CLIP is loaded.

    Example:
        >>> config = VLMRewardConfig(encoder="small", goals=["a {ball|key}"])
        >>> twice = each_model({"a": config, "b": config}, frames=10, device="cpu")
        >>> len({model for _, model in twice})
        1
    """

    def clip_of(name: str) -> tuple[str, str]:
        return rewards[name].encoder, rewards[name].precision

    for _, names in itertools.groupby(sorted(rewards, key=clip_of), clip_of):
        model = None
        for name in names:
            report(name)
            model = model or load_model(rewards[name], frames=frames, device=device)
            yield name, model
