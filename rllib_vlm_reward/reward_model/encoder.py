"""The seam of the encoder: what a model must offer to give rewards, and how one is named."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from rllib_vlm_reward.errors import CheckpointError, ConfigError, RewardError
from rllib_vlm_reward.frames import Frames
from rllib_vlm_reward.settings import load_object

__all__ = [
    "Encoder",
    "Tower",
    "check_device",
    "check_encoder",
    "checked",
    "embed_dim",
    "is_import_path",
    "load_encoder",
]

# Embeddings of P frames, float32 [P, D], to the scores of each against some goals, [P, G].
ScoreFunction = Callable[[Tensor], Tensor]


class Tower(Protocol):
    """What turns frames into embeddings, in one precision.

    Attributes:
        fingerprint: differs wherever the embeddings of a frame may; names them in the cache.
        precision: ``fp32``, ``bf16`` or ``fp16``.
    """

    fingerprint: str
    precision: str

    def __call__(self, frames: Sequence[Frames]) -> Tensor:
        """Embed batches of one H and W, uint8 ``[b, H, W, 3]``, as float32 ``[B, D]``."""


class Encoder:
    """A frozen model that embeds frames and texts in one space.

    :class:`.CLIPEncoder` holds open_clip's models. For a model of your own derive a class from this
    one, which is called with the ``device`` alone, and give its import path as ``encoder``. It
    sets :attr:`embed_dim` and :attr:`fingerprint`, and overrides :meth:`encode_frames` and
    :meth:`encode_texts`. Several threads call it at once.

    Attributes:
        embed_dim: D, the length of an embedding.
        fingerprint: names the weights: equal in all processes that have the same, in hex.
        logit_scale: the multiplier of a cosine, for heads that make a probability of it.
        logit_bias: what a sigmoid model adds to that; None for others.
        image_size: height and width that the model works with; frames of any size come.
        precision: in which frames are encoded.
        device: where it computes.
    """

    embed_dim: int
    fingerprint: str
    logit_scale: float = 100.0
    logit_bias: float | None = None
    image_size: tuple[int, int] = (224, 224)
    precision: str = "fp32"
    device: torch.device

    def __init__(self, device: str = "cpu") -> None:
        self.device = torch.device(device)

    def encode_frames(self, frames: Any) -> Tensor:
        """Embed frames: uint8 ``[B, H, W, 3]`` to float32 ``[B, D]``, unit norm."""
        raise NotImplementedError(f"{type(self).__name__} overrides encode_frames.")

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Embed texts: N > 0 strings to float32 ``[N, D]``, unit norm."""
        raise NotImplementedError(f"{type(self).__name__} overrides encode_texts.")

    def check_texts(self, texts: Sequence[str]) -> None:
        """Raise a GoalError for a text that the model cannot read whole; any will do here."""

    def tower_for(self, score: ScoreFunction, name: str) -> Tower:
        """Return what the frames of a scorer are encoded by.

        Args:
            score: the scorer's: embeddings ``[P, D]`` to scores ``[P, G]``, for an encoder that
                chooses a precision by what it does to scores.
            name: of the scorer's head, for messages.
        """
        return _WholeEncoder(self)


class _WholeEncoder:
    """The tower of an encoder that has but one."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.fingerprint, self.precision = encoder.fingerprint, encoder.precision

    @torch.inference_mode()
    def __call__(self, frames: Sequence[Frames]) -> Tensor:
        joined = frames[0] if len(frames) == 1 else np.concatenate(frames)
        return checked(self._encoder, "encode_frames", len(joined), joined)


def checked(encoder: Encoder, method: str, number: int, given: Any) -> Tensor:
    """Return what an encoder's method makes of N frames or texts: float32 ``[N, D]``.

    Raises:
        RewardError: another shape, or norms that are not 1.
    """
    embeddings = torch.as_tensor(getattr(encoder, method)(given)).float()
    expected = [number, encoder.embed_dim]
    if list(embeddings.shape) != expected:
        raise RewardError(
            f"encoder {type(encoder).__name__}: {method} gave {list(embeddings.shape)} for "
            f"{number} of them, expected {expected}."
        )
    norms = embeddings.norm(dim=1)
    if not torch.allclose(norms, torch.ones_like(norms), atol=1e-3):
        raise RewardError(
            f"encoder {type(encoder).__name__}: {method} gave norms from {norms.min():.3g} to "
            f"{norms.max():.3g}, expected 1. Return "
            "torch.nn.functional.normalize(embeddings, dim=1)."
        )
    return embeddings


def load_encoder(name: str, *, device: str = "cpu", precision: str = "auto") -> Encoder:
    """Load an encoder with all of its weights, or raise.

    Args:
        name: what :meth:`.CLIPEncoder.load` takes, or the import path of an :class:`Encoder`.
        device: such as ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.
        precision: see :meth:`.CLIPEncoder.load`; ``auto`` for an encoder of your own.

    Raises:
        CheckpointError: what :meth:`.CLIPEncoder.load` refuses; a class that is no encoder.
        ConfigError: an import path that leads nowhere.

    Example:
        >>> load_encoder("small").embed_dim
        64
    """
    if not is_import_path(name):
        from rllib_vlm_reward.reward_model.clip import CLIPEncoder  # open_clip: 200 MB

        return CLIPEncoder.load(name, device=device, precision=precision)
    check_encoder(name, precision)
    encoder: Encoder = _encoder_class(name)(device=device)
    for attribute, kind in (("embed_dim", int), ("fingerprint", str)):
        value = getattr(encoder, attribute, None)
        if not isinstance(value, kind):
            raise CheckpointError(
                f"encoder {name!r}: {attribute} is {value!r}, expected {kind.__name__}. Set it in "
                "the class or in __init__."
            )
    return encoder


def check_encoder(name: str, precision: str = "auto") -> None:
    """Raise at once what can be known about an encoder without its weights.

    Args:
        name: see :func:`load_encoder`.
        precision: see :func:`load_encoder`.

    Raises:
        CheckpointError: see :func:`.clip.check_clip`; a class that is no encoder; a precision for
            an encoder of your own.
        ConfigError: an import path that leads nowhere.

    Example:
        >>> check_encoder("rllib_vlm_reward.reward_model.bank.TextBank")
        Traceback (most recent call last):
        ...
        rllib_vlm_reward.errors.CheckpointError: encoder \
'rllib_vlm_reward.reward_model.bank.TextBank': it is no encoder, expected a class that derives \
from rllib_vlm_reward.Encoder.
    """
    if not is_import_path(name):
        from rllib_vlm_reward.reward_model.clip import check_clip

        check_clip(name)
        return
    _encoder_class(name)
    if precision != "auto":
        raise CheckpointError(
            f"encoder {name!r}: got precision {precision!r}, expected auto: an encoder of your own "
            "computes as it likes. Leave serving.precision out."
        )


def embed_dim(name: str) -> int:
    """Return the length of an encoder's embeddings, of open_clip's without loading weights.

    Raises:
        CheckpointError, ConfigError: what :func:`check_encoder` refuses.

    Example:
        >>> embed_dim("ViT-B-32/random")
        512
    """
    if not is_import_path(name):
        from rllib_vlm_reward.reward_model.clip import clip_embed_dim

        return clip_embed_dim(name)
    declared = getattr(_encoder_class(name), "embed_dim", None)
    return declared if isinstance(declared, int) else load_encoder(name).embed_dim


def check_device(device: str) -> None:
    """Raise unless torch can compute there, before anything is played or loaded.

    Raises:
        ConfigError: torch does not know the device, or this machine has none such.

    Example:
        >>> check_device("cpu")
        >>> check_device("gpu")
        Traceback (most recent call last):
        ...
        rllib_vlm_reward.errors.ConfigError: device: got 'gpu', expected one that this torch can \
use, such as cpu or cuda (...
    """
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # a torch without CUDA asserts it
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"device: got {device!r}, expected one that this torch can use, such as cpu or cuda "
            f"({reason})."
        ) from error


def is_import_path(name: str) -> bool:
    """Return whether an encoder's name is the import path of a class, not one of open_clip's.

    Example:
        >>> is_import_path("my_package.MyEncoder"), is_import_path("ViT-B-32/openai")
        (True, False)
    """
    parts = name.split(".")
    return len(parts) > 1 and all(map(str.isidentifier, parts)) and not Path(name).exists()


def _encoder_class(name: str) -> type[Any]:
    found = load_object(name, "encoder")
    if not (isinstance(found, type) and issubclass(found, Encoder)):
        raise CheckpointError(
            f"encoder {name!r}: it is no encoder, expected a class that derives from "
            "rllib_vlm_reward.Encoder."
        )
    return found
