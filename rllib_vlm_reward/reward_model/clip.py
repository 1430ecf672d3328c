"""open_clip's models as encoders, loaded by name or from disk."""

import contextlib
import copy
import difflib
import json
import logging
import math
import re
import threading
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import open_clip
import safetensors.torch
import torch
from open_clip.convert import convert_state_dict
from open_clip.model import convert_to_custom_text_state_dict
from open_clip.pretrained import download_pretrained, download_pretrained_from_hf
from torch import Tensor
from torch.nn.functional import normalize

from rllib_vlm_reward.errors import CheckpointError, RewardError
from rllib_vlm_reward.files import replaced_file, write_text
from rllib_vlm_reward.frames import Frames
from rllib_vlm_reward.goals import GoalSet, wordings
from rllib_vlm_reward.reward_model.encoder import Encoder, ScoreFunction, no_patches
from rllib_vlm_reward.reward_model.fetching import (
    check_tokenizer,
    fetch_errors,
    uses_transformers,
)
from rllib_vlm_reward.reward_model.frame_batches import as_frame_batches
from rllib_vlm_reward.reward_model.patches import has_patches, patch_grid_of
from rllib_vlm_reward.reward_model.precision import (
    TOLERANCE,
    check_drift,
    largest_changes,
    probe_frames,
    resolve,
)
from rllib_vlm_reward.reward_model.spec import (
    HUB,
    LAYOUT,
    METRICS,
    Spec,
    checkpoint_errors,
    shipped_names,
    without_warning,
)
from rllib_vlm_reward.reward_model.tokens import (
    Tokenizer,
    check_distinct,
    check_distinct_words,
    unknown_words,
)
from rllib_vlm_reward.reward_model.tower import ImageTower
from rllib_vlm_reward.reward_model.weights import fingerprint, load_weights, read_weights
from rllib_vlm_reward.warnings import warn_once

__all__ = [
    "CLIPEncoder",
    "check_clip",
    "check_clip_goals",
    "check_clip_words",
    "clip_embed_dim",
    "clip_has_patches",
    "clip_patch_grid",
    "save_clip",
]

_LOG = logging.getLogger(__name__)

_RANDOM_SEED = 0  # the same in every actor, so that all have equal weights
_TEXTS_AT_ONCE = 256
_LEAST_PROBE_COSINE = 0.999
_MOST_WORDS = 10  # that a warning names
_TOKENIZERS: dict[str, Any] = {}  # by the settings that they depend on
_HUB_OWNERS = {"openai", "google", "laion", "apple", "facebook", "timm", "microsoft", "salesforce"}
# OpenAI's own repositories, whose names open_clip's table does not have.
_OPENAI_TWINS = {
    f"openai/clip-vit-{hub}": f"{name}-quickgelu/openai"
    for hub, name in {
        "base-patch32": "ViT-B-32",
        "base-patch16": "ViT-B-16",
        "large-patch14": "ViT-L-14",
        "large-patch14-336": "ViT-L-14-336",
    }.items()
}
_OF_THE_WEIGHTS = ("mean", "std", "interpolation", "resize_mode")


class CLIPEncoder(Encoder):
    """A frozen CLIP on one device, which embeds frames and texts with unit norm.

    Use :meth:`load` to create one.

    Args:
        model: open_clip's module.
        tokenizer: the module's tokenizer.
        device: such as ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.
        precision: see :meth:`load`.

    Attributes:
        embed_dim: D, the length of an embedding.
        image_size: height and width in pixels of the model's input; frames are resized to it.
        logit_scale: the factor of a cosine, exp of the model's parameter.
        logit_bias: the term that a sigmoid model adds to the product; None for other models.
        fingerprint: SHA-256 of the weights in float32; independent of device and precision.
        context_length: the number of tokens that the model reads of a text.
        precision: precision of the image tower, ``fp32``, ``bf16`` or ``fp16``. Texts are always
            encoded in float32.
        model: open_clip's module, frozen.
        device: the module's device.
        tower: the image tower in that precision.
        exact: the tower in fp32, kept if ``auto`` chose another precision; else None.
        probes: the embeddings of :func:`probe_frames` in fp32 and by the tower, float32 ``[P, D]``
            each; None if the tower computes in fp32.

    Example:
        >>> import numpy as np
        >>> encoder = CLIPEncoder.load("small")
        >>> encoder.encode_frames(np.zeros((2, 64, 64, 3), np.uint8)).shape
        torch.Size([2, 64])
        >>> encoder.encode_texts(["a red ball"]).norm(dim=1).round(decimals=3)
        tensor([1.])
    """

    def __init__(
        self, model: Any, tokenizer: Any, *, device: str = "cpu", precision: str = "auto"
    ) -> None:
        self.device = torch.device(device)
        self.precision = resolve(precision, self.device)
        model = model.eval().requires_grad_(False)
        bias = getattr(model, "logit_bias", None)
        self.fingerprint = fingerprint(model)
        self.logit_scale = float(model.logit_scale.exp())
        self.logit_bias = None if bias is None else float(bias)
        self.model = model.to(self.device)
        self._tokenizer = Tokenizer(tokenizer)
        self.context_length = self._tokenizer.context_length
        self.embed_dim = self.encode_texts([""]).shape[1]
        self.tower = self._tower(model.visual, "fp32")
        self.image_size = self.tower.preprocess.size
        self._spec: str | None = None
        self.exact: ImageTower | None = None
        self.probes: tuple[Tensor, Tensor] | None = None
        self._towers = {"fp32": self.tower}
        self._lowering = threading.Lock()
        if self.precision != "fp32":
            self._lower(keep_exact=precision == "auto")

    def _tower(self, visual: Any, precision: str) -> ImageTower:
        return ImageTower(
            visual,
            self.device,
            precision,
            embed_dim=self.embed_dim,
            fingerprint=f"{self.fingerprint} {precision}",
        )

    def _lower(self, *, keep_exact: bool) -> None:
        """Convert the image tower, or a copy, and embed the probe frames before and after."""
        frames = probe_frames(self.image_size)
        exact, visual = self.tower(frames), self.model.visual
        if keep_exact:
            self.exact, visual = self.tower, copy.deepcopy(visual)
        else:
            self._towers = {}
        self.tower = self._towers[self.precision] = self._tower(visual, self.precision)
        self.probes = exact, self.tower(frames)

    @classmethod
    def load(cls, spec: str, *, device: str = "cpu", precision: str = "auto") -> "CLIPEncoder":
        """Load a model with all of its weights.

        Args:
            spec: ``"ARCH/TAG"`` (open_clip's pretrained weights), ``"ARCH/PATH"`` (a local
                ``.safetensors``, ``.pt``, ``.pth`` or ``.bin``), a folder in open_clip's layout,
                the name of a shipped CLIP, ``"hf-hub:ORG/NAME"``, or ``"ARCH/random"``
                (``"FOLDER/random"``), whose weights are drawn from a fixed seed.
            device: such as ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.
            precision: ``fp32``, ``bf16`` or ``fp16`` for the image tower's weights and
                activations. ``auto`` takes the fastest precision of the device, and keeps the fp32
                tower for scores that need it (ViT-B-32: 350 MB more). Preprocessing, texts and the
                returned embeddings are always float32.

        Returns:
            The encoder, on the device.

        Raises:
            CheckpointError: :func:`check_clip` refuses the spec; the weights or the tokenizer
                cannot be fetched; the weights would run code, or do not fit the architecture
                exactly; the embedding of a text differs from the one that was stored with the
                weights; or the precision is unknown.
        """
        resolve(precision, torch.device(device))
        parsed = _look_up(spec)
        path = _fetch(parsed)
        check_tokenizer(parsed)
        from_hub = parsed.model.startswith(HUB) or uses_transformers(parsed)
        with fetch_errors(spec, "its tokenizer cannot be fetched", from_hub=from_hub):
            tokenizer = _tokenizer(parsed)
        model = _build(parsed)
        if path is not None:
            load_weights(model, _to_open_clip(read_weights(path), model), source=str(path))
        encoder = cls(model, tokenizer, device=device, precision=precision)
        encoder._spec = spec
        _check_probe(encoder, parsed)
        return encoder

    def preprocess(self, frames: Frames | Sequence[Frames]) -> Tensor:
        """Turn frames into the model's input, on the device.

        Args:
            frames: uint8 ``[B, H, W, 3]`` of any size, or a sequence of such arrays of one size.

        Returns:
            ``[B, 3, h, w]`` in the tower's precision, computed in float32. See
            :class:`.Preprocess` for the difference from open_clip's transform.

        Raises:
            FrameError: the frames are not batches of uint8 RGB frames of one size.
        """
        return self.tower.pixels(frames)

    def encode_frames(self, frames: Frames | Sequence[Frames]) -> Tensor:
        """Embed frames: uint8 ``[B, H, W, 3]`` to float32 ``[B, D]``, unit norm.

        Raises:
            FrameError: the frames are not batches of uint8 RGB frames of one size.
        """
        return self.tower(frames)

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Embed texts: N > 0 strings to float32 ``[N, D]``, unit norm."""
        batches = (texts[i : i + _TEXTS_AT_ONCE] for i in range(0, len(texts), _TEXTS_AT_ONCE))
        return torch.cat(
            [normalize(self.model.encode_text(self.tokenize(b)), dim=1) for b in batches]
        )

    def check_texts(self, texts: Sequence[str]) -> None:
        """Check that no text is longer than the model reads.

        Raises:
            GoalError: a text has more tokens than ``context_length``.

        Example:
            >>> CLIPEncoder.load("small").check_texts(["a red ball " * 8])
            Traceback (most recent call last):
            ...
            rllib_vlm_reward.errors.GoalError: text 'a red ball a red ball a red ball a red ball \
...': it has 26 tokens, but the model reads only the first 16. Shorten it, or choose an encoder \
with a longer context.
        """
        self._tokenizer.checked_ids(texts)

    def token_ids(self, texts: Sequence[str]) -> list[Hashable]:
        """Return the token ids that the model reads of each text, as bytes."""
        return self._tokenizer.ids(texts)

    def tower_for(self, score: ScoreFunction, name: str) -> ImageTower:
        """Return the image tower whose precision changes a scorer's scores little enough.

        Args:
            score: computes the scorer's scores ``[P, G]`` from embeddings ``[P, D]``.
            name: the name of the scorer's head, for messages.

        Returns:
            The tower in the encoder's precision, if scores differ from those in fp32 by at most
            :data:`.TOLERANCE`. Otherwise, with ``auto``, the tower in fp32; this is logged.

        Raises:
            RewardError: scores differ by more than the tolerance, and ``precision`` is not
                ``auto``.
        """
        if self.probes is None:
            return self.tower
        drift = largest_changes(*map(score, self.probes))
        made_up = f"{len(self.probes[0])} made-up frames"
        if self.exact is None:
            check_drift(drift, self.precision, name, made_up)
        if self.exact is None or drift <= TOLERANCE:
            return self.tower
        _LOG.warning(
            "precision auto: %s changes the scores of %s by %.3f on %s, so fp32 is "
            "used unless frames of an env are measured",
            self.precision,
            name,
            drift,
            made_up,
        )
        return self.exact

    def tower_in(self, precision: str) -> ImageTower:
        """Return the image tower in a precision, whatever is the fastest one of the device.

        Args:
            precision: ``fp32``, ``bf16`` or ``fp16``.

        Raises:
            RewardError: the model was loaded in another precision alone, not with ``auto``.
        """
        with self._lowering:
            if precision not in self._towers:
                if "fp32" not in self._towers:
                    raise RewardError(
                        f"precision: got a scorer that asks for {precision}, but the model was "
                        f"loaded in {self.precision}. Load it with precision auto."
                    )
                visual = copy.deepcopy(self.model.visual)
                self._towers[precision] = self._tower(visual, precision)
                if self.device.type == "cuda":
                    torch.cuda.synchronize(self.device)  # other threads have streams of their own
            return self._towers[precision]

    def drift(self, frames: Frames | Sequence[Frames], score: ScoreFunction) -> float | None:
        """Return how far the encoder's precision moves the scores of frames, compared with fp32.

        If the model was not loaded with ``auto``, its weights are loaded once more for this.

        Args:
            frames: uint8 ``[P, H, W, 3]``, or batches of them, which are encoded one by one.
            score: see :meth:`tower_for`.

        Returns:
            See :func:`.largest_changes`. None if the encoder computes in fp32, or was not made by
            :meth:`load`.
        """
        exact = self.exact
        if exact is None and self.precision != "fp32" and self._spec is not None:
            exact = type(self).load(self._spec, device=str(self.device), precision="fp32").tower
        if exact is None:
            return None
        batches = as_frame_batches(frames)
        embedded = (torch.cat([*map(tower, batches)]) for tower in (exact, self.tower))
        return largest_changes(*map(score, embedded))

    def tokenize(self, texts: Sequence[str], context_length: int | None = None) -> Tensor:
        """Tokenize N texts: int64 ``[N, context_length]``, by default of the model's length."""
        return self._tokenizer(texts, context_length).to(self.device)


def check_clip(spec: str) -> None:
    """Check an encoder's spec without its weights.

    Args:
        spec: see :meth:`CLIPEncoder.load`.

    Raises:
        CheckpointError: the architecture or tag is unknown, a file or folder is missing, the tag's
            weights need the architecture's ``-quickgelu`` variant, or a file is given for an
            architecture whose preprocessing depends on the weights.

    Example:
        >>> check_clip("ViT-B-32/openai")
        Traceback (most recent call last):
        ...
        rllib_vlm_reward.errors.CheckpointError: encoder 'ViT-B-32/openai': openai was trained \
with QuickGELU, which ViT-B-32 is built without, so every embedding would be wrong. Use \
'ViT-B-32-quickgelu/openai'.
    """
    check_tokenizer(_look_up(spec))


def check_clip_goals(spec: str, goals: GoalSet) -> None:
    """Check what the model reads of a goal set, without the model's weights.

    A tokenizer that open_clip would have to download is not asked here. The reward actors check
    its texts when they have loaded the model. Words and statements that the model was never taught
    are logged as a warning, once in a process.

    Args:
        spec: see :meth:`CLIPEncoder.load`.
        goals: the goals.

    Raises:
        CheckpointError: :func:`check_clip` refuses the spec.
        GoalError: a statement is longer than the model reads, or the model cannot distinguish two
            statements of a goal.

    Example:
        >>> check_clip_goals("small", GoalSet.from_texts(["a red ball", "a  Red ball"]))
        Traceback (most recent call last):
        ...
        rllib_vlm_reward.errors.GoalError: goal 'a red ball': encoder 'small' reads its prompt ...
    """
    parsed = _look_up(spec)
    if not _tokenizes_alone(parsed):
        return
    warning = _unknown_words(parsed, goals.statements) or _unknown_statement(parsed, goals)
    if warning:
        warn_once(_LOG, warning)
    tokenizer = Tokenizer(_tokenizer(parsed))
    check_distinct(goals, tokenizer.checked_ids(goals.statements), spec)


def check_clip_words(spec: str, texts: Sequence[str]) -> None:
    """Check what the model reads of a readout's texts, as :func:`check_clip_goals` does of goals.

    Args:
        spec: see :meth:`CLIPEncoder.load`.
        texts: the texts, which are compared with each other.

    Raises:
        CheckpointError: :func:`check_clip` refuses the spec.
        GoalError: a text is longer than the model reads, or the model reads two of them alike.
    """
    parsed = _look_up(spec)
    if not _tokenizes_alone(parsed):
        return
    warning = _unknown_words(parsed, texts)
    if warning:
        warn_once(_LOG, warning)
    check_distinct_words(texts, Tokenizer(_tokenizer(parsed)).checked_ids(texts), spec)


def _unknown_words(spec: Spec, texts: Sequence[str]) -> str:
    """Return a warning about words that the model was never taught; "" if there are none."""
    vocabulary = _metrics(spec).get("vocabulary") or ()
    unknown = unknown_words(texts, vocabulary) if vocabulary else []
    if not unknown:
        return ""
    first = next(text for text in texts if unknown_words([text], vocabulary))
    rest = len(unknown) - _MOST_WORDS
    more = f" and {rest:,} more" if rest > 0 else ""
    return (
        f"encoder {spec.text!r} was never taught the words {unknown[:_MOST_WORDS]}{more} (as in "
        f"{first!r}), so their scores have no meaning and may never pass a threshold. Use the "
        "words of its model card, an open_clip model such as ViT-B-32/laion2b_s34b_b79k, or a CLIP "
        "of your own."
    )


def _unknown_statement(spec: Spec, goals: GoalSet) -> str:
    """Return a warning about a statement that the model was never taught; "" if there is none.

    A small CLIP that learnt "the agent is carrying a red ball" gives any score to "a red ball". A
    CLIP that was fine-tuned may know more than the statements of its last training.
    """
    metrics = _metrics(spec)
    was_random = str(metrics.get("encoder")).endswith("/random")
    if not was_random or not metrics.keys() >= {"vocabulary", "statements", "settings"}:
        return ""
    held_out = metrics["settings"].get("held_out_things", ())
    taught = {
        _read(text)
        for family in metrics["statements"].values()
        for statement in family
        if not any(thing in statement for thing in held_out)
        for text in wordings(statement)
    }
    unknown = [text for text in goals.statements if _read(text) not in taught]
    if not unknown:
        return ""
    (close,) = difflib.get_close_matches(_read(unknown[0]), sorted(taught), n=1, cutoff=0)
    more = f" (and of {len(unknown) - 1:,} more)" if len(unknown) > 1 else ""
    return (
        f"encoder {spec.text!r} knows the words of {unknown[0]!r}{more}, but was never taught the "
        "whole statement, so its scores may have no meaning. Write statements as its model card "
        f"does, such as {close!r}, or use another encoder."
    )


def _read(text: str) -> str:
    """Return a text without what the tokenizer does not read."""
    return " ".join(text.lower().split())


def _metrics(spec: Spec) -> dict[str, Any]:
    """Return the ``metrics.json`` that ``train-clip`` wrote beside a folder's weights, if any."""
    if spec.weights is None or not spec.model.startswith("local-dir:"):
        return {}
    file = Path(spec.model.removeprefix("local-dir:"), METRICS)
    try:
        content = json.loads(file.read_text()) if file.is_file() else {}
    except ValueError:  # another program's file
        content = {}
    return content if isinstance(content, dict) and _are_taught(content) else {}


def _are_taught(metrics: dict[str, Any]) -> bool:
    """Return whether what a ``metrics.json`` says was taught has the form of ``train-clip``."""
    statements, settings = metrics.get("statements", {}), metrics.get("settings", {})
    if not isinstance(statements, dict) or not isinstance(settings, dict):
        return False
    texts = (metrics.get("vocabulary", []), settings.get("held_out_things", []))
    return all(
        isinstance(each, list) and all(isinstance(text, str) for text in each)
        for each in (*texts, *statements.values())
    )


def _check_probe(encoder: "CLIPEncoder", spec: Spec) -> None:
    """Compare the embedding of a text with the one that ``train-clip`` stored with the weights.

    A setting of the text tower that changes no shape, such as its number of heads, changes it.
    """
    probe = _metrics(spec).get("probe")
    if not isinstance(probe, dict) or not probe.keys() >= {"text", "embedding"}:
        return
    text, numbers = str(probe["text"]), probe["embedding"]
    cosine = math.nan
    with contextlib.suppress(TypeError, ValueError, RuntimeError):  # no such list of numbers
        stored = torch.tensor(numbers, dtype=torch.float32)
        cosine = float(encoder.encode_texts([text])[0].cpu() @ stored)
    if not cosine >= _LEAST_PROBE_COSINE:  # written so that NaN fails too
        raise CheckpointError(
            f"encoder {spec.text!r}: the embedding of {text!r} has the cosine "
            f"{cosine:.3f} with the one in {METRICS}, expected 1. {LAYOUT[0]} or the weights are "
            "not those of the training. Copy the folder again, or remove probe from the file."
        )


def _tokenizer(spec: Spec) -> Any:
    """Return the model's tokenizer.

    The one that comes with open_clip takes 0.3 s to make, so models with the same settings share
    it.
    """
    if not _tokenizes_alone(spec):
        return open_clip.get_tokenizer(spec.model)
    text = _text_settings(spec)
    settings = json.dumps([text.get("context_length"), text.get("tokenizer_kwargs")])
    if settings not in _TOKENIZERS:
        _TOKENIZERS[settings] = open_clip.get_tokenizer(spec.model)
    return _TOKENIZERS[settings]


def _tokenizes_alone(spec: Spec) -> bool:
    """Return whether the model's tokenizer comes with open_clip."""
    if spec.model.startswith(HUB):
        return False
    is_siglip = not spec.model.startswith("local-dir:") and "siglip" in spec.model.lower()
    return not is_siglip and not _text_settings(spec).get("hf_tokenizer_name")


def _text_settings(spec: Spec) -> dict[str, Any]:
    settings: dict[str, Any] = open_clip.get_model_config(spec.model).get("text_cfg", {})
    return settings


def clip_embed_dim(spec: str) -> int:
    """Return the length of a model's embeddings, read from its configuration.

    Args:
        spec: see :meth:`CLIPEncoder.load`.

    Raises:
        CheckpointError: :func:`check_clip` refuses the spec, or the configuration cannot be
            fetched.

    Example:
        >>> clip_embed_dim("ViT-B-32/random")
        512
    """
    return int(_config(spec)["embed_dim"])


def _config(spec: str) -> dict[str, Any]:
    parsed = _look_up(spec)
    from_hub = parsed.model.startswith(HUB)
    with fetch_errors(spec, "its configuration cannot be fetched", from_hub=from_hub):
        config: dict[str, Any] = open_clip.get_model_config(parsed.model)
    return config


def clip_has_patches(spec: str) -> bool:
    """Return whether a model may have patch embeddings, read from its configuration.

    Args:
        spec: see :meth:`CLIPEncoder.load`.

    Raises:
        CheckpointError: :func:`check_clip` refuses the spec.

    Example:
        >>> clip_has_patches("ViT-B-32/random"), clip_has_patches("RN50/random")
        (True, False)
    """
    parsed = _look_up(spec)
    if parsed.model.startswith(HUB):  # its configuration would have to be fetched
        return True
    return has_patches(open_clip.get_model_config(parsed.model)["vision_cfg"])


def clip_patch_grid(spec: str) -> tuple[int, int]:
    """Return how many patches a model has down and across, read from its configuration.

    Args:
        spec: see :meth:`CLIPEncoder.load`.

    Raises:
        CheckpointError: :func:`check_clip` refuses the spec, or the configuration cannot be
            fetched.
        RewardError: the model has no patches.

    Example:
        >>> clip_patch_grid("grounded"), clip_patch_grid("ViT-B-32/random")
        ((7, 7), (7, 7))
    """
    config = _config(spec)["vision_cfg"]
    if not has_patches(config):  # of a model of the hub, whose configuration is read only here
        raise no_patches(spec)
    return patch_grid_of(config)


def save_clip(encoder: CLIPEncoder, spec: str, folder: Path) -> None:
    """Write a model in open_clip's folder layout, with weights in half precision.

    Args:
        encoder: the model.
        spec: the spec that it was loaded by, which names its architecture.
        folder: the folder; existing files are replaced.
    """
    parsed = _look_up(spec)
    preprocess = encoder.model.visual.preprocess_cfg
    config = {
        "model_cfg": open_clip.get_model_config(parsed.model),
        "preprocess_cfg": {
            key: [*value] if isinstance(value, tuple) else value
            for key, value in preprocess.items()
            if key in _OF_THE_WEIGHTS
        },
    }
    weights = {
        name: (value.half() if value.is_floating_point() else value).cpu().contiguous()
        for name, value in encoder.model.state_dict().items()
    }
    with replaced_file(folder / LAYOUT[1]) as fresh:
        safetensors.torch.save_file(weights, fresh)
    write_text(folder / LAYOUT[0], json.dumps(config, indent=2) + "\n")


def _look_up(text: str) -> Spec:
    """Parse a spec, and look up its architecture and tag in open_clip's tables."""
    spec = Spec.parse(text)
    if spec.model.startswith((HUB, "local-dir:")):
        return spec
    config = open_clip.get_model_config(spec.model)
    if config is None:
        _check_hub_id(text)
        names = [*open_clip.list_models(), *shipped_names()]
        close = difflib.get_close_matches(spec.model, names, n=3, cutoff=0.4)
        hint = f"Did you mean one of {close}?" if close else "Correct the name or the path."
        raise CheckpointError(
            f"encoder {text!r}: open_clip has no architecture {spec.model!r}, and there is no "
            f"folder {text!r}. Expected 'ARCHITECTURE/TAG', 'ARCHITECTURE/FILE', a folder, or a "
            f"shipped CLIP of {shipped_names()}. {hint} An architecture that "
            "open_clip.add_model_config added is known to that process alone, not to reward "
            f"actors: give a folder with {' and '.join(LAYOUT)}."
        )
    if isinstance(spec.weights, str):
        _check_tag(spec, spec.weights, needs_quick_gelu=not config.get("quick_gelu"))
    elif isinstance(spec.weights, Path) and len(_preprocessings(spec)) > 1:
        raise CheckpointError(
            f"encoder {text!r}: the tags of {spec.model} have {len(_preprocessings(spec))} "
            f"different preprocessings, {_preprocessings(spec)}, and the file does not say which "
            f"one it needs. Put the file in a folder as {LAYOUT[1]}, beside an {LAYOUT[0]} with "
            "preprocess_cfg."
        )
    return spec


def _check_hub_id(text: str) -> None:
    """Name open_clip's model if the spec is a Hugging Face id of the same weights."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", text):
        return
    twin = _OPENAI_TWINS.get(text.lower())
    for name, tag in () if twin else open_clip.list_pretrained():
        hub = str(open_clip.get_pretrained_cfg(name, tag).get("hf_hub") or "").strip("/")
        if hub.lower() == text.lower():
            twin = f"{name}/{tag}"
    if twin is not None:
        raise CheckpointError(
            f"encoder {text!r}: it is an id of Hugging Face, expected a name of open_clip. Use "
            f"{twin!r}, the same weights."
        )
    if text.partition("/")[0].lower() in _HUB_OWNERS:
        raise CheckpointError(
            f"encoder {text!r}: it looks like an id of Hugging Face, and open_clip lists no such "
            f"weights. Expected 'ARCHITECTURE/TAG', or '{HUB}{text}' if the repository holds "
            f"{LAYOUT[0]}; open_clip.list_pretrained() lists the names. A model in the format of "
            "transformers needs an encoder of your own."
        )


def _check_tag(spec: Spec, tag: str, *, needs_quick_gelu: bool) -> None:
    entry = open_clip.get_pretrained_cfg(spec.model, tag)
    if not entry:
        tags = open_clip.list_pretrained_tags_by_model(spec.model)
        got = f"{tag!r} is neither a file nor a tag of {spec.model}" if tag else "got no tag"
        raise CheckpointError(
            f"encoder {spec.text!r}: {got}. Expected '{spec.model}/TAG', where TAG is one of "
            f"{tags}, a path to weights, or 'random'."
        )
    # The reverse case is not an error: open_clip's entry for roberta-ViT-B-32 lacks quick_gelu.
    if entry.get("quick_gelu") and needs_quick_gelu:
        raise CheckpointError(
            f"encoder {spec.text!r}: {tag} was trained with QuickGELU, which {spec.model} is "
            "built without, so every embedding would be wrong. "
            f"Use '{spec.model}-quickgelu/{tag}'."
        )


def _preprocessings(spec: Spec) -> list[dict[str, Any]]:
    """Return the preprocessing settings that come with the weights, one dict per distinct set.

    open_clip stores mean, std, interpolation and resize mode with the tag, and uses OpenAI's
    settings for every file, even for a SigLIP. Here a file uses the settings of its architecture's
    tags, if these agree.
    """
    tags = open_clip.list_pretrained_tags_by_model(spec.model)
    distinct: list[dict[str, Any]] = []
    for tag in [spec.weights] if isinstance(spec.weights, str) else tags:
        entry = open_clip.get_pretrained_cfg(spec.model, tag)
        added = {key: entry[key] for key in _OF_THE_WEIGHTS if key in entry}
        if added not in distinct:
            distinct.append(added)
    return distinct or [{}]


def _build(spec: Spec) -> torch.nn.Module:
    """Build the model with seeded random weights, on the CPU in float32."""
    with (
        checkpoint_errors(spec.text, "it cannot be built"),
        without_warning(),
        torch.random.fork_rng(devices=[]),
    ):
        torch.default_generator.manual_seed(_RANDOM_SEED)
        model: torch.nn.Module = open_clip.create_model(
            spec.model,
            load_weights=False,
            pretrained_text=False,
            force_preprocess_cfg=_preprocessings(spec)[0],
        )
    return model


def _fetch(spec: Spec) -> Path | None:
    """Return the file of the weights, after downloading it if needed; None for random weights."""
    if not isinstance(spec.weights, str):
        return spec.weights
    with fetch_errors(spec.text, "its weights cannot be fetched", from_hub=True):
        if spec.weights.startswith(HUB):
            return Path(download_pretrained_from_hf(spec.weights.removeprefix(HUB)))
        return Path(download_pretrained(open_clip.get_pretrained_cfg(spec.model, spec.weights)))


def _to_open_clip(weights: dict[str, Tensor], model: Any) -> dict[str, Tensor]:
    """Rename weights as open_clip's loader does (3.3, ``load_checkpoint``).

    That loader also resizes position embeddings and sets a missing logit_bias to zero. This
    function does not, since weights that need either belong to another architecture.
    """
    if hasattr(model.visual, "trunk"):
        weights = convert_state_dict(model, weights)
    if "positional_embedding" in weights and not hasattr(model, "positional_embedding"):
        weights = convert_to_custom_text_state_dict(weights)
    for key in ("logit_scale", "logit_bias"):
        parameter = getattr(model, key, None)
        if key in weights and parameter is not None and weights[key].numel() == 1:
            weights[key] = weights[key].reshape(parameter.shape)
    position_ids = "text.transformer.embeddings.position_ids"  # unsaved since transformers 4.31
    return {k: v for k, v in weights.items() if k != position_ids or k in model.state_dict()}
