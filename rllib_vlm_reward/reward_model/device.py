"""Where a CLIP can compute."""

import torch

from rllib_vlm_reward.errors import ConfigError

__all__ = ["check_device"]


def check_device(device: str) -> None:
    """Raise unless torch can compute there, before anything is played or loaded.

    Raises:
        ConfigError: torch does not know the device, or sees none such.

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
