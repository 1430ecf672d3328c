"""Weights: read without running code, loaded whole or not at all, known by their fingerprint."""

import hashlib
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from rllib_vlm_reward.errors import CheckpointError

__all__ = ["SUFFIXES", "fingerprint", "load_weights", "read_weights"]

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a checkpoint's tensors by name, onto the CPU; nothing in the file is executed.

    A training checkpoint's ``state_dict`` is taken out, and the ``module.`` that
    DistributedDataParallel puts before each name is dropped.

    Raises:
        CheckpointError: not weights, damaged, or a pickle that holds more than tensors.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "linear.safetensors"
        >>> safetensors.torch.save_file({"weight": torch.ones(2)}, path)
        >>> read_weights(path)
        {'weight': tensor([1., 1.])}
    """
    content = _read(path)
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(
            f"checkpoint {path}: got {type(content).__name__}, expected tensors by name. "
            "Save model.state_dict() with safetensors.torch.save_file."
        )
    strangers = [key for key, value in content.items() if not isinstance(value, Tensor)]
    if strangers:
        raise CheckpointError(
            f"checkpoint {path}: {strangers[:3]} are no tensors, expected tensors by name. "
            "Save model.state_dict() with safetensors.torch.save_file."
        )
    prefix = "module." if all(key.startswith("module.") for key in content) else ""
    return {key.removeprefix(prefix): value for key, value in content.items()}


def _read(path: Path) -> Any:
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"checkpoint {path}: refused, since it holds more than tensors, and unpickling that "
            "can run code. Save model.state_dict() as .safetensors where the file is trusted. "
            f"({_first_line(error)})"
        ) from error
    except Exception as error:  # a torn pickle raises whatever its opcodes run into
        raise CheckpointError(
            f"checkpoint {path}: cannot be read as weights ({_first_line(error)}). Expected "
            "safetensors, or what torch.save(model.state_dict()) writes. Copy it again."
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], *, source: str) -> None:
    """Load weights into a model that they fit exactly: every name, every shape.

    Raises:
        CheckpointError: missing or unknown names, or other shapes; the model is left as it was.

    Example:
        >>> load_weights(torch.nn.Linear(1, 1), {"weight": torch.ones(1, 1)}, source="mine.pt")
        Traceback (most recent call last):
        ...
        rllib_vlm_reward.errors.CheckpointError: mine.pt: the weights are of another \
architecture: 1 missing ['bias']. Name the architecture that they were trained with.
    """
    wanted = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    given = {key: tuple(value.shape) for key, value in weights.items()}
    reshaped = [
        f"{key} {list(given[key])} for {list(wanted[key])}"
        for key in wanted.keys() & given.keys()
        if wanted[key] != given[key]
    ]
    problems = {
        "missing": sorted(wanted.keys() - given.keys()),
        "unexpected": sorted(given.keys() - wanted.keys()),
        "of another shape": sorted(reshaped),
    }
    said = [f"{len(keys)} {what} {keys[:3]}" for what, keys in problems.items() if keys]
    if said:
        raise CheckpointError(
            f"{source}: the weights are of another architecture: {', '.join(said)}. "
            "Name the architecture that they were trained with."
        )
    model.load_state_dict(weights)


def fingerprint(model: nn.Module) -> str:
    """Return the SHA-256, in hex, of a model's weights: names, types, shapes and values.

    Example:
        >>> fingerprint(torch.nn.Identity()) == hashlib.sha256().hexdigest()
        True
    """
    digest = hashlib.sha256()
    for key, value in sorted(model.state_dict().items()):
        digest.update(f"{key} {value.dtype} {list(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().numpy())
    return digest.hexdigest()
