"""Loads the CLIPs of an evaluation, one at a time; each encodes every frame once."""

import itertools
import logging
from collections.abc import Callable, Mapping
from typing import TypeVar

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.evaluation.labelled import LabelledFrames
from rllib_vlm_reward.reward_model.encoder import check_encoder, load_encoder
from rllib_vlm_reward.reward_model.model import RewardModel
from rllib_vlm_reward.reward_model.precision import check_drift
from rllib_vlm_reward.warnings import warn_once

__all__ = ["check_precision", "load_model", "with_each_model"]

_LOG = logging.getLogger(__name__)
_FRAMES_COMPARED = 64

_Found = TypeVar("_Found")


def load_model(config: VLMRewardConfig, *, frames: int, device: str) -> RewardModel:
    """Load a reward's CLIP, after a check of the goals.

    Args:
        config: the reward.
        frames: number of frames to score. The model caches the embeddings of all of them, 2 KB
            a frame with a ViT-B-32.
        device: where the CLIP computes, such as ``"cpu"`` or ``"cuda"``.

    Raises:
        CheckpointError: see :meth:`.CLIPEncoder.load`.
        GoalError: see :func:`.check_encoder`.

    Example:
        >>> config = VLMRewardConfig(encoder="small", goals=["a {ball|key}"])
        >>> load_model(config, frames=10, device="cpu").encoder.embed_dim
        64
    """
    _check(config)
    encoder = load_encoder(config.encoder, device=device, precision=config.serving.precision)
    return RewardModel(encoder, cache_frames=frames)


def _check(config: VLMRewardConfig) -> None:
    config.expect_one_encoder("scoring")
    check_encoder(config.encoder, config.serving.precision, config.goal_sets)
    if config.agents:
        warn_once(
            _LOG,
            f"agents: got settings of their own for {[*config.agents]}, which are not measured "
            "here: frames are scored with the reward of all other agents. To measure an agent's "
            "reward, write it into a file without `agents`.",
        )


def check_precision(model: RewardModel, config: VLMRewardConfig, frames: LabelledFrames) -> None:
    """Check that a precision that the reward names changes the scores of frames little enough.

    Args:
        model: the reward's CLIP.
        config: the reward.
        frames: N frames, of which the first 64 are scored in fp32 too.

    Raises:
        RewardError: see :func:`.check_drift`.
    """
    named, scorer = config.serving.precision, config.scorer
    if named in ("auto", "fp32"):
        return
    _, pixels = next(frames.batches(_FRAMES_COMPARED))
    drift = model.drift(pixels, scorer)
    check_drift(drift or 0.0, named, scorer.head, f"{len(pixels)} labelled frames")


def with_each_model(
    rewards: Mapping[str, VLMRewardConfig],
    work: Callable[[str, RewardModel], _Found],
    *,
    frames: int,
    device: str,
    report: Callable[[str], None] = lambda _: None,
) -> dict[str, _Found]:
    """Call ``work`` for each reward with its CLIP, and return the results by name.

    Rewards with the same encoder and precision share a CLIP, and one CLIP is in memory at a time.

    Args:
        rewards: rewards by name, in any order.
        work: called with a reward's name and the loaded CLIP; it must keep no reference to it.
        frames: see :func:`load_model`.
        device: see :func:`load_model`.
        report: called with the name of the next reward, before its CLIP is loaded.

    Example:
        >>> config = VLMRewardConfig(encoder="small", goals=["a {ball|key}"])
        >>> with_each_model(
        ...     {"a": config, "b": config},
        ...     lambda name, model: f"{name}: {model.encoder.embed_dim}",
        ...     frames=10,
        ...     device="cpu",
        ... )
        {'a': 'a: 64', 'b': 'b: 64'}
    """

    def clip_of(name: str) -> tuple[str, str]:
        return rewards[name].encoder, rewards[name].serving.precision

    results, model = {}, None
    for _, names in itertools.groupby(sorted(rewards, key=clip_of), clip_of):
        model = None  # frees this CLIP before the next one is loaded
        for name in names:
            report(name)
            if model is None:
                model = load_model(rewards[name], frames=frames, device=device)
            else:
                _check(rewards[name])
            results[name] = work(name, model)
    return {name: results[name] for name in rewards}
