"""The file of a configuration: a path, or the name of one that ships with the package."""

from pathlib import Path

from rllib_vlm_reward.errors import ConfigError

__all__ = ["find_config", "shipped_configs"]

_PACKAGE = Path(__file__).parents[1]
# The wheel has the folder in the package; a clone, and so an editable install, has it beside.
_INSTALLED, _CLONE = _PACKAGE / "configs", _PACKAGE.parent / "configs"


def shipped_configs() -> dict[str, Path]:
    """Return the files of the configurations that ship with the package, by name.

    Example:
        >>> shipped_configs()["quickstart"].name
        'quickstart.yaml'
    """
    folder = _INSTALLED if _INSTALLED.is_dir() else _CLONE
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def find_config(given: Path | str) -> Path:
    """Return the file that a path or a name stands for.

    Args:
        given: path of a file; or the name of a shipped configuration, such as ``quickstart``. A
            file of that path comes first.

    Raises:
        ConfigError: there is no such file, and no configuration of that name ships.

    Example:
        >>> find_config("quickstart").name
        'quickstart.yaml'
        >>> find_config("quickstat")
        Traceback (most recent call last):
        ...
        rllib_vlm_reward.errors.ConfigError: configuration: got 'quickstat', which is no file, \
expected the path of a YAML file, or one of the names that ship with the package: appo, ...
    """
    path = Path(given).expanduser()
    if path.exists() and not path.is_dir():  # a pipe is as good as a file
        return path
    shipped = shipped_configs()
    if str(given) in shipped:
        return shipped[str(given)]
    raise ConfigError(
        f"configuration: got {str(given)!r}, which is no file, expected the path of a YAML file, "
        f"or one of the names that ship with the package: {', '.join(shipped)}."
    )
