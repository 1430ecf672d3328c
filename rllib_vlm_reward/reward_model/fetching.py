"""What a model needs beside its weights: the network, the package transformers, a tokenizer."""

import contextlib
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import open_clip

from rllib_vlm_reward.errors import CheckpointError
from rllib_vlm_reward.reward_model.spec import HUB, LAYOUT, Spec, checkpoint_errors

__all__ = ["check_tokenizer", "fetch_errors", "uses_transformers"]

LOCAL = "local-dir:"
_TIMEOUT_S = 5.0
_TOKENIZER = ("tokenizer.json", "vocab.json", "vocab.txt", "spiece.model")


def uses_transformers(spec: Spec) -> bool:
    """Return whether a model has a tokenizer or a text tower of Hugging Face's transformers.

    Example:
        >>> uses_transformers(Spec.parse("ViT-B-32/random"))
        False
        >>> uses_transformers(Spec.parse("ViT-B-16-SigLIP/webli"))
        True
    """
    text = _text_settings(spec)
    return bool(text.get("hf_tokenizer_name") or text.get("hf_model_name"))


def check_tokenizer(spec: Spec) -> None:
    """Check that a model's tokenizer can be made, as far as this is known without the network.

    Raises:
        CheckpointError: transformers is not installed, or the tokenizer's file is missing.
    """
    if not uses_transformers(spec):
        return
    if importlib.util.find_spec("transformers") is None:
        raise CheckpointError(
            f"encoder {spec.text!r}: its texts are read with Hugging Face's package transformers, "
            "which is not installed. Run: pip install transformers (the extra rllib-vlm-reward[hf] "
            "contains it)."
        )
    folder = Path(spec.model.removeprefix(LOCAL))
    if spec.model.startswith(LOCAL) and not any((folder / name).is_file() for name in _TOKENIZER):
        raise CheckpointError(
            f"encoder {spec.text!r}: {_TOKENIZER[0]} is missing in {folder}. Copy the tokenizer's "
            "files there; open_clip.push_to_hf_hub writes them."
        )


@contextlib.contextmanager
def fetch_errors(spec: str, problem: str, *, from_hub: bool) -> Iterator[None]:
    """As :func:`.checkpoint_errors`, around code that may fetch files from Hugging Face.

    Without a connection, huggingface_hub 2.4 tries each file again for up to a minute. So this
    makes one attempt to reach the hub; if it fails, only files in the cache are used.

    Args:
        spec: the encoder's spec.
        problem: what the error says if the code fails.
        from_hub: whether the code uses the hub.
    """
    constants = huggingface_hub.constants
    offline = constants.HF_HUB_OFFLINE
    with checkpoint_errors(spec, problem):
        try:
            constants.HF_HUB_OFFLINE = offline or (from_hub and not _is_reachable())
            yield
        finally:
            constants.HF_HUB_OFFLINE = offline


def _is_reachable() -> bool:
    try:
        session = huggingface_hub.get_session()
        session.head(huggingface_hub.constants.ENDPOINT, timeout=_TIMEOUT_S)
    except Exception:  # of httpx, or of requests in older releases
        return False
    return True


def _text_settings(spec: Spec) -> dict[str, Any]:
    if spec.model.startswith(HUB):
        return {}  # unknown until it is fetched
    if spec.model.startswith(LOCAL):
        config = json.loads((Path(spec.model.removeprefix(LOCAL)) / LAYOUT[0]).read_text())
        settings: dict[str, Any] = config["model_cfg"].get("text_cfg", {})
        return settings
    settings = (open_clip.get_model_config(spec.model) or {}).get("text_cfg", {})
    return settings
