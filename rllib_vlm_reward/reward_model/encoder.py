"""The base class of encoders, and functions that load and check one by its name."""

import os
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from rllib_vlm_reward.errors import CheckpointError, ConfigError, RewardError
from rllib_vlm_reward.frames import Frames
from rllib_vlm_reward.goals import GoalSet
from rllib_vlm_reward.reward_model.readouts import Readout
from rllib_vlm_reward.settings import load_object

__all__ = [
    "Encoder",
    "Tower",
    "check_device",
    "check_encoder",
    "check_patches",
    "checked",
    "embed_dim",
    "is_import_path",
    "load_encoder",
    "no_patches",
    "patch_grid",
]

# Maps the embeddings of P frames, float32 [P, D], to their scores for G goals, float32 [P, G].
ScoreFunction = Callable[[Tensor], Tensor]


class Tower(Protocol):
    """Turns frames into embeddings, in one precision.

    Attributes:
        fingerprint: identifies the tower in the cache of embeddings. Two towers that may give
            different embeddings for a frame have different fingerprints.
        precision: ``fp32``, ``bf16`` or ``fp16``.
    """

    fingerprint: str
    precision: str

    def __call__(self, frames: Sequence[Frames]) -> Tensor:
        """Embed batches of frames of one size, uint8 ``[b, H, W, 3]``, as float32 ``[B, D]``."""

    def with_patches(self, frames: Sequence[Frames]) -> tuple[Tensor, Tensor]:
        """Embed frames, ``[B, D]``, and their patches, ``[B, h, w, D]``: float32, unit norm.

        Raises:
            RewardError: the tower has no patches.
        """


class Encoder:
    """A frozen model that embeds frames and texts in one space.

    :class:`.CLIPEncoder` implements open_clip's models. To use a model of your own, derive a class
    from this one and set ``encoder`` to the import path of your class; there is no table of
    encoders, so one that ships is a file beside this one, named in the same way. The class sets
    :attr:`embed_dim` and :attr:`fingerprint`, and overrides :meth:`encode_frames` and
    :meth:`encode_texts`. It is created with ``device`` as its only argument. Its methods must be
    thread-safe.

    Args:
        device: such as ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.

    Attributes:
        embed_dim: D, the length of an embedding.
        fingerprint: a text that identifies the weights; the same in every process.
        logit_scale: the factor by which heads multiply a cosine to compute a probability.
        logit_bias: the term that a sigmoid model adds to the product; None for other models.
        image_size: height and width in pixels of the model's input; frames may have any size.
        precision: the precision in which frames are encoded.
        device: the device on which the model computes.
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
        raise NotImplementedError(f"{type(self).__name__} must override encode_frames.")

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Embed texts: N > 0 strings to float32 ``[N, D]``, unit norm."""
        raise NotImplementedError(f"{type(self).__name__} must override encode_texts.")

    def check_texts(self, texts: Sequence[str]) -> None:
        """Check that the model can read the texts completely.

        The base class accepts every text.

        Args:
            texts: the texts to check.

        Raises:
            GoalError: a text is too long for the model.
        """

    def token_ids(self, texts: Sequence[str]) -> Sequence[Hashable]:
        """Return what the model reads of each text: equal values for texts that it reads alike.

        A goal is refused if its prompt and one of its negatives have equal values. The base class
        returns the texts. Override it if your model ignores, for example, upper and lower case.
        """
        return texts

    def tower_for(self, score: ScoreFunction, name: str) -> Tower:
        """Return the tower that encodes the frames of a scorer.

        Args:
            score: computes the scorer's scores ``[P, G]`` from embeddings ``[P, D]``. An encoder
                can use it to measure how much a precision changes the scores.
            name: the name of the scorer's head, for messages.
        """
        return _WholeEncoder(self)

    def tower_in(self, precision: str) -> Tower:
        """Return the tower for a scorer that names its precision.

        The base class has one tower, and returns it whatever the precision.

        Args:
            precision: ``fp32``, ``bf16`` or ``fp16``.
        """
        return _WholeEncoder(self)

    def drift(self, frames: Frames | Sequence[Frames], score: ScoreFunction) -> float | None:
        """Return how far :attr:`precision` moves the scores of frames, compared with fp32.

        The base class has one precision, and returns None.

        Args:
            frames: uint8 ``[P, H, W, 3]``, or batches of them, which are encoded one by one.
            score: see :meth:`tower_for`.

        Returns:
            The mean over the frames of the largest change of a score; None if there is nothing to
            compare, and so nothing to choose.
        """
        return None


class _WholeEncoder:
    """The tower of an encoder that has only one."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.fingerprint, self.precision = encoder.fingerprint, encoder.precision

    @torch.inference_mode()
    def __call__(self, frames: Sequence[Frames]) -> Tensor:
        joined = frames[0] if len(frames) == 1 else np.concatenate(frames)
        return checked(self._encoder, "encode_frames", len(joined), joined)

    def with_patches(self, frames: Sequence[Frames]) -> tuple[Tensor, Tensor]:
        """Refuse, since the encoder embeds whole frames."""
        raise no_patches(type(self._encoder).__name__)


def checked(encoder: Encoder, method: str, number: int, given: Any) -> Tensor:
    """Call an encoder's method, and check the embeddings that it returns.

    Args:
        encoder: the encoder.
        method: ``encode_frames`` or ``encode_texts``.
        number: N, how many frames or texts are given.
        given: the frames or texts.

    Returns:
        The embeddings, float32 ``[N, D]``, unit norm.

    Raises:
        RewardError: the embeddings have another shape, or their norms are not 1.
    """
    embeddings = torch.as_tensor(getattr(encoder, method)(given)).float()
    expected = [number, encoder.embed_dim]
    if list(embeddings.shape) != expected:
        raise RewardError(
            f"encoder {type(encoder).__name__}: {method} returned the shape "
            f"{list(embeddings.shape)} for {number} inputs, expected {expected}. Return one "
            "embedding of length embed_dim for each input."
        )
    norms = embeddings.norm(dim=1)
    if not torch.allclose(norms, torch.ones_like(norms), atol=1e-3):
        raise RewardError(
            f"encoder {type(encoder).__name__}: {method} returned norms from {norms.min():.3g} to "
            f"{norms.max():.3g}, expected 1. Return "
            "torch.nn.functional.normalize(embeddings, dim=1)."
        )
    return embeddings


def no_patches(name: str) -> RewardError:
    """Return the error of a readout with an encoder, by its name or class, without patches."""
    return RewardError(
        f"bonus or goal_map: got the encoder {name!r}, which has no patch embeddings, expected a "
        "ViT of open_clip or timm with at least two layers, such as ViT-B-16/openai. Choose one, "
        "or remove the key."
    )


def load_encoder(name: str, *, device: str = "cpu", precision: str = "auto") -> Encoder:
    """Load an encoder with all of its weights.

    Args:
        name: a name that :meth:`.CLIPEncoder.load` accepts, or the import path of a subclass of
            :class:`Encoder`.
        device: such as ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.
        precision: see :meth:`.CLIPEncoder.load`; must be ``auto`` for an encoder of your own.

    Returns:
        The encoder, on the device.

    Raises:
        CheckpointError: :meth:`.CLIPEncoder.load` fails, the class is not an encoder, or its
            attributes are missing.
        ConfigError: the import path cannot be imported.

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


def check_encoder(name: str, precision: str = "auto", goals: Iterable[GoalSet] = ()) -> None:
    """Check an encoder's name and precision, and what it reads of goals, without its weights.

    Every command and function that scores frames calls this before it does anything slow. Goals
    for an encoder of your own are checked when it has been created.

    Args:
        name: see :func:`load_encoder`.
        precision: see :func:`load_encoder`.
        goals: the goal sets to score.

    Raises:
        CheckpointError: :func:`.clip.check_clip` refuses the name, the class is not an encoder, or
            a precision is set for an encoder of your own.
        ConfigError: the import path cannot be imported.
        GoalError: see :func:`.clip.check_clip_goals`.

    Example:
        >>> check_encoder("rllib_vlm_reward.reward_model.bank.TextBank")
        Traceback (most recent call last):
        ...
        rllib_vlm_reward.errors.CheckpointError: encoder \
'rllib_vlm_reward.reward_model.bank.TextBank': it is not an encoder, expected a class that derives \
from rllib_vlm_reward.Encoder.
    """
    if not is_import_path(name):
        from rllib_vlm_reward.reward_model.clip import check_clip, check_clip_goals

        check_clip(name)
        for each in goals:
            check_clip_goals(name, each)
        return
    _encoder_class(name)
    if precision != "auto":
        raise CheckpointError(
            f"encoder {name!r}: got precision {precision!r}, expected auto, since an encoder of "
            "your own chooses its precision. Remove serving.precision."
        )


def check_patches(name: str, readouts: Iterable[Readout] = ()) -> None:
    """Check that an encoder has patch embeddings, and what it reads of readouts' texts.

    The weights are not loaded. An encoder of Hugging Face's hub is not asked here, and one of your
    own reads no text here. The reward actors check these when they have loaded them.

    Args:
        name: see :func:`load_encoder`; :func:`check_encoder` accepts it.
        readouts: the readouts.

    Raises:
        RewardError: it has none.
        GoalError: see :func:`.clip.check_clip_words`.

    Example:
        >>> check_patches("small")
        >>> check_patches("RN50/random")
        Traceback (most recent call last):
        ...
        rllib_vlm_reward.errors.RewardError: bonus or goal_map: got the encoder 'RN50/random', \
which has no patch embeddings, expected a ViT ...
    """
    if is_import_path(name):
        has_patches = _encoder_class(name).tower_for is not Encoder.tower_for
    else:
        from rllib_vlm_reward.reward_model.clip import check_clip_words, clip_has_patches

        has_patches = clip_has_patches(name)
        for readout in readouts if has_patches else ():
            if readout.texts:
                check_clip_words(name, readout.texts)
    if not has_patches:
        raise no_patches(name)


def patch_grid(name: str) -> tuple[int, int]:
    """Return how many patches an encoder has down and across. The weights are not loaded.

    Args:
        name: see :func:`load_encoder`; :func:`check_encoder` accepts it.

    Raises:
        CheckpointError: the configuration cannot be fetched.
        RewardError: it has no patches; or it is your own, and so does not say.

    Example:
        >>> patch_grid("grounded")
        (7, 7)
    """
    check_patches(name)
    if not is_import_path(name):
        from rllib_vlm_reward.reward_model.clip import clip_patch_grid

        return clip_patch_grid(name)
    raise RewardError(
        f"goal_map: got true with the encoder {name!r} of your own, whose number of patches is not "
        "known here. Set goal_map: [h, w], the numbers of patches down and across."
    )


def embed_dim(name: str) -> int:
    """Return the length of an encoder's embeddings.

    The weights are loaded only for an encoder of your own whose class does not set ``embed_dim``.

    Args:
        name: see :func:`load_encoder`.

    Raises:
        CheckpointError: see :func:`load_encoder`.
        ConfigError: the import path cannot be imported.

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
    """Check that torch can compute on a device.

    Args:
        device: such as ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.

    Raises:
        ConfigError: torch does not know the device, or this machine does not have it.

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
    except (RuntimeError, AssertionError) as error:  # torch without CUDA raises an AssertionError
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"device: got {device!r}, expected one that this torch can use, such as cpu or cuda "
            f"({reason})."
        ) from error


def is_import_path(name: str) -> bool:
    """Return whether an encoder's name is the import path of a class, not a name of open_clip.

    Example:
        >>> is_import_path("my_package.MyEncoder"), is_import_path("ViT-B-32/openai")
        (True, False)
    """
    parts = name.split(".")
    return len(parts) > 1 and all(map(str.isidentifier, parts)) and not os.path.exists(name)


def _encoder_class(name: str) -> type[Any]:
    found = load_object(name, "encoder")
    if not (isinstance(found, type) and issubclass(found, Encoder)):
        raise CheckpointError(
            f"encoder {name!r}: it is not an encoder, expected a class that derives from "
            "rllib_vlm_reward.Encoder."
        )
    return found
