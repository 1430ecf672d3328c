"""Reads weights without running code, loads all of them or none, and fingerprints them."""

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
    """Read a checkpoint's tensors onto the CPU, without executing code from the file.

    If the file is a training checkpoint, its ``state_dict`` is returned. The prefix ``module.``,
    which DistributedDataParallel adds to each name, is removed.

    Args:
        path: a ``.safetensors`` file, or a file that ``torch.save`` wrote.

    Returns:
        The tensors by name.

    Raises:
        CheckpointError: the file is damaged, holds no weights, or is a pickle that holds more than
            tensors.

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
    non_tensors = [key for key, value in content.items() if not isinstance(value, Tensor)]
    if non_tensors:
        raise CheckpointError(
            f"checkpoint {path}: {non_tensors[:3]} are not tensors, expected tensors by name. "
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
            f"checkpoint {path}: refused, since it is damaged or holds more than tensors, and "
            "unpickling it can run code. Copy it again; if it is whole and you trust it, save its "
            f"state_dict() as .safetensors. ({_first_line(error)})"
        ) from error
    except Exception as error:  # an incomplete pickle may raise any error
        raise CheckpointError(
            f"checkpoint {path}: cannot be read as weights ({_first_line(error)}). Expected "
            "safetensors, or a file that torch.save(model.state_dict()) wrote. Copy it again."
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], *, source: str) -> None:
    """Load weights into a model whose names and shapes match exactly.

    Args:
        model: the model, changed in place.
        weights: tensors by name.
        source: where the weights come from, for the error message.

    Raises:
        CheckpointError: names are missing or unknown, shapes differ, or a weight is not finite; the
            model is not changed.

    Example:
        >>> load_weights(torch.nn.Linear(1, 1), {"weight": torch.ones(1, 1)}, source="mine.pt")
        Traceback (most recent call last):
        ...
        rllib_vlm_reward.errors.CheckpointError: mine.pt: the weights are of another \
architecture: 1 missing ['bias']. Name the architecture with which they were trained.
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
    found = [f"{len(keys)} {problem} {keys[:3]}" for problem, keys in problems.items() if keys]
    if found:
        raise CheckpointError(
            f"{source}: the weights are of another architecture: {', '.join(found)}. "
            "Name the architecture with which they were trained."
        )
    for key, value in weights.items():
        if value.is_floating_point() and not value.isfinite().all():
            kind = "NaN" if value.isnan().any() else "infinite values"
            raise CheckpointError(
                f"{source}: the weights hold {kind} in {key}, so no score would be a number. Copy "
                "the file again, or choose an earlier checkpoint of that training."
            )
    model.load_state_dict(weights)


def fingerprint(model: nn.Module) -> str:
    """Return the SHA-256 of a model's weights (names, types, shapes, values) as hexadecimal text.

    Example:
        >>> fingerprint(torch.nn.Identity()) == hashlib.sha256().hexdigest()
        True
    """
    digest = hashlib.sha256()
    for key, value in sorted(model.state_dict().items()):
        digest.update(f"{key} {value.dtype} {list(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().numpy())
    return digest.hexdigest()
