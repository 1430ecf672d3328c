"""Reads the reward of a YAML file: of a run, or of the section ``vlm_reward`` alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rllib_vlm_reward.config.reward_config import VLMRewardConfig
from rllib_vlm_reward.errors import ConfigError
from rllib_vlm_reward.settings import (
    Section,
    assign_settings,
    find_config,
    key_hint,
    read_settings,
    validated,
)

__all__ = ["check_reward", "read_config"]

_SECTION = VLMRewardConfig.place


def read_config(path: Path | str, assignments: Sequence[str] = ()) -> VLMRewardConfig:
    """Read the reward from a run's YAML file, or from a file with only the keys of ``vlm_reward``.

    Args:
        path: the file, or the name of a shipped run; see :func:`.find_config`.
        assignments: texts ``key=value`` with the keys of a run's YAML, such as
            ``vlm_reward.threshold=0.6``, also for a file with only the section's keys; see
            :func:`.assign_settings`. Those of the run's other sections have no effect.

    Raises:
        ConfigError: there is no such file or name. Or the file is not a mapping, or has an unknown
            key, a repeated key, or a value outside its range; the error names the file. Or an
            assignment is wrong, or names a section that the file does not have.

    Example:
        >>> read_config("quickstart", ["vlm_reward.threshold=0.6"]).threshold
        0.6
        >>> read_config("quickstart", ["threshold=0.6"])
        Traceback (most recent call last):
        ...
        rllib_vlm_reward.errors.ConfigError: --set threshold=0.6: ...quickstart.yaml has no key \
'threshold' at its top level. It belongs in vlm_reward. Move it there.
    """
    path = find_config(path)
    settings = read_settings(path)
    if not isinstance(settings, dict):
        raise ConfigError(
            f"{path}: got {type(settings).__name__}, expected a mapping. Give a run's YAML with "
            f"the section {_SECTION}, or a file with only the keys of that section."
        )
    if _SECTION not in settings:
        settings = {_SECTION: settings}
    changed = assign_settings(settings, assignments)
    for assignment in assignments:
        key = assignment.partition("=")[0].partition(".")[0]
        if key not in settings:
            raise ConfigError(
                f"--set {assignment}: {path} has no key {key!r} at its top level. "
                f"{key_hint(key, [*settings])}"
            )
    return validated(VLMRewardConfig, changed[_SECTION], str(path))


class _Run(Section):
    """The section of a run that is read here, with its name for the error message."""

    vlm_reward: VLMRewardConfig


def check_reward(run: Any, where: str) -> None:
    """Check the reward in the settings of a run, without PyTorch and Ray.

    Args:
        run: the settings. Whatever is no mapping with a reward is left to :class:`.Experiment`.
        where: where they come from, such as a file, for the error message.

    Raises:
        ConfigError: the reward has an unknown key, or a value outside its range.

    Example:
        >>> reward = {"encoder": "small", "goals": ["a ball"], "negatives": "a room"}
        >>> check_reward({"vlm_reward": reward}, "run.yaml")
        Traceback (most recent call last):
        ...
        rllib_vlm_reward.errors.ConfigError: run.yaml: vlm_reward.negatives: got the text \
'a room', expected a list. Write [a room].
    """
    if isinstance(run, dict) and _SECTION in run:
        validated(_Run, {_SECTION: run[_SECTION]}, where)
