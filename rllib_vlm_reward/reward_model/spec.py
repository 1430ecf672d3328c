"""An encoder's spec: a string that names an architecture and its weights."""

import contextlib
import dataclasses
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from rllib_vlm_reward.errors import CheckpointError, ConfigError
from rllib_vlm_reward.reward_model.preprocess import check_preprocess
from rllib_vlm_reward.reward_model.weights import SUFFIXES
from rllib_vlm_reward.settings import home_path

__all__ = [
    "HUB",
    "LAYOUT",
    "METRICS",
    "Spec",
    "absolute_spec",
    "checkpoint_errors",
    "shipped_names",
    "without_warning",
]

HUB = "hf-hub:"
METRICS = "metrics.json"  # what train-clip writes about its CLIP
LAYOUT = ("open_clip_config.json", "open_clip_model.safetensors")
_CONFIG, _WEIGHTS = LAYOUT[0], (LAYOUT[1], "open_clip_pytorch_model.bin")
# What open_clip raises while it builds a model of wrong settings, such as a patch of 0 pixels.
_WRONG_VALUES = (
    *(ValueError, TypeError, AssertionError),
    *(LookupError, AttributeError, ArithmeticError),
)
_SHIPPED = Path(__file__).parent / "checkpoints"


@dataclasses.dataclass(frozen=True)
class Spec:
    """A parsed spec. Its files and folders exist; architecture and tag are not checked yet.

    Attributes:
        text: the spec as given.
        model: open_clip's name: an architecture, ``local-dir:FOLDER`` or ``hf-hub:ORG/NAME``.
        weights: a file, a tag or ``hf-hub:ORG/NAME``; None for random weights.

    Example:
        >>> Spec.parse("ViT-B-32/openai").weights
        'openai'
        >>> Spec.parse("ViT-B-32/random").weights is None
        True
        >>> Spec.parse("ViT-B-32/my/clip.pt")
        Traceback (most recent call last):
        ...
        rllib_vlm_reward.errors.CheckpointError: encoder 'ViT-B-32/my/clip.pt': no file \
my/clip.pt in ...
    """

    text: str
    model: str
    weights: Path | str | None

    @classmethod
    def parse(cls, text: str) -> "Spec":
        """Parse a spec in any form that :meth:`.CLIPEncoder.load` accepts.

        Raises:
            CheckpointError: the file is missing or has another suffix, a configuration is given in
                place of its folder, or the folder is not in open_clip's layout or its configuration
                is incomplete.
        """
        if text.startswith(HUB):
            return cls(text, text, text)
        _refuse_config(text)
        bare = text.removesuffix("/random")
        folder = _SHIPPED / bare if bare in shipped_names() else _path(bare, text)
        # os.path, unlike Path, accepts a name that is too long for a file.
        if bare != text and os.path.isfile(folder / _CONFIG):
            _check_config(folder, text)
            return cls(text, f"local-dir:{folder}", None)
        if bare == text and os.path.isdir(folder):
            return cls(text, f"local-dir:{folder}", _weights_in(folder, text))
        model, _, weights = text.partition("/")
        if weights == "random":
            return cls(text, model, None)
        path = _path(weights, text)
        if path.suffix in SUFFIXES or os.path.isfile(path):
            return cls(text, model, _weights_at(path, text))
        return cls(text, model, weights)


def shipped_names() -> list[str]:
    """Return the names of the CLIPs that ship with this package."""
    return sorted(config.parent.name for config in _SHIPPED.glob(f"*/{_CONFIG}"))


def absolute_spec(text: str, folder: str) -> str:
    """Return a spec for a process that works in another folder.

    Args:
        text: a spec, or an import path.
        folder: the folder from which a relative path in the spec is read.

    Example:
        >>> folder = str(_SHIPPED.parent)
        >>> absolute_spec("checkpoints/base", folder) == f"{folder}/checkpoints/base"
        True
        >>> absolute_spec("ViT-B-32/openai", folder), absolute_spec("small", folder)
        ('ViT-B-32/openai', 'small')
    """
    bare, model, weights = text.removesuffix("/random"), *text.partition("/")[::2]
    if bare in shipped_names():
        return text
    if os.path.isdir(os.path.join(folder, bare)):
        return os.path.join(folder, text)
    if weights and os.path.isfile(os.path.join(folder, weights)):
        return f"{model}/{os.path.join(folder, weights)}"
    return text


def _path(given: str, text: str) -> Path:
    try:
        return home_path(given)
    except ConfigError as error:
        raise CheckpointError(f"encoder {text!r}: {error}") from error


def _refuse_config(text: str) -> None:
    """Refuse the configuration of a model alone, ``FILE.json``, or ``FILE.json/WEIGHTS``."""
    file, suffix, weights = text.partition(".json")
    if not suffix or not (weights == "" or weights.startswith("/")):
        return
    path = Path(file + suffix)
    if path.name == _CONFIG:
        remedy = f"Give its folder, {str(path.parent)!r}, which must also hold the weights"
    else:
        remedy = (
            f"Make a folder with {_CONFIG} (model_cfg: the content of {path.name}; preprocess_cfg: "
            f"mean, std, interpolation and resize_mode) and the weights, {_WEIGHTS[0]}, and give "
            "the folder"
        )
    raise CheckpointError(
        f"encoder {text!r}: got the file of an architecture, expected a model with its weights. "
        f"{remedy}; for random weights, give FOLDER/random."
    )


def _weights_at(path: Path, text: str) -> Path:
    if not os.path.isfile(path):
        raise CheckpointError(
            f"encoder {text!r}: no file {path} in {Path.cwd()}, expected weights in a file that "
            f"ends in one of {', '.join(SUFFIXES)}. Correct the path."
        )
    if path.suffix not in SUFFIXES:
        raise CheckpointError(
            f"encoder {text!r}: the file {path} ends in {path.suffix!r}, expected "
            f"one of {', '.join(SUFFIXES)}. Save the weights with safetensors.torch.save_file."
        )
    return path


def _weights_in(folder: Path, text: str) -> Path:
    files = [folder / name for name in _WEIGHTS if (folder / name).is_file()]
    if not files or not (folder / _CONFIG).is_file():
        raise CheckpointError(
            f"encoder {text!r}: the folder holds {sorted(p.name for p in folder.iterdir())[:5]}, "
            f"expected {_CONFIG} and {_WEIGHTS[0]} (or {_WEIGHTS[1]}). Add the missing file."
        )
    _check_config(folder, text)
    return files[0]


def _check_config(folder: Path, text: str) -> None:
    """Refuse a configuration that open_clip would not have written, but would read as another."""
    try:
        config = json.loads((folder / _CONFIG).read_text())
        model, preprocess = config["model_cfg"], config["preprocess_cfg"]
        if type(model["embed_dim"]) is not int or model["embed_dim"] < 1:
            raise ValueError(
                f"model_cfg: got embed_dim {model['embed_dim']!r}, expected its length"
            )
        for key in ("vision_cfg", "text_cfg"):
            if not isinstance(model[key], dict):
                raise ValueError(f"model_cfg: got {key} {model[key]!r}, expected a mapping")
        context = model["text_cfg"].get("context_length", 1)
        if type(context) is not int or context < 1:
            raise ValueError(f"text_cfg: got context_length {context!r}, expected 1 token or more")
        check_preprocess({"mean": None, "std": None, **preprocess})
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"encoder {text!r}: {folder / _CONFIG} is not open_clip's configuration "
            f"({type(error).__name__}: {error}). Expected model_cfg and preprocess_cfg. "
            "Write the file with open_clip.push_to_hf_hub."
        ) from error


@contextlib.contextmanager
def checkpoint_errors(spec: str, problem: str) -> Iterator[None]:
    """Raise errors of the with block as a CheckpointError that names spec and problem."""
    try:
        yield
    except (OSError, ImportError, RuntimeError, *_WRONG_VALUES) as error:
        raise CheckpointError(
            f"encoder {spec!r}: {problem} ({type(error).__name__}: {error}). Expected it on this "
            "disk or on the network. Check the name and the connection, or give a folder with "
            f"{' and '.join(LAYOUT)}."
        ) from error


@contextlib.contextmanager
def without_warning() -> Iterator[None]:
    """Suppress open_clip's warning about random weights, since the weights are loaded later."""

    def is_other(record: logging.LogRecord) -> bool:
        message = record.getMessage()
        return "No pretrained weights" not in message and "no CLIP weights found" not in message

    logging.getLogger().addFilter(is_other)
    try:
        yield
    finally:
        logging.getLogger().removeFilter(is_other)
