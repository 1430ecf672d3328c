"""The file of a configuration: a path, or the name of one that ships with the package."""

import os
from pathlib import Path

from rllib_vlm_reward.errors import ConfigError
from rllib_vlm_reward.settings.section import excerpt

__all__ = ["find_config", "home_path", "shipped_configs"]

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


def home_path(given: Path | str) -> Path:
    """Return a path that somebody wrote, in which a leading ``~`` stands for the home folder.

    Raises:
        ConfigError: there is no such user, or no file can have this name.

    Example:
        >>> home_path("goals/lift.yaml").name
        'lift.yaml'
        >>> home_path("~nobody-of-this-name/lift.yaml")
        Traceback (most recent call last):
        ...
        rllib_vlm_reward.errors.ConfigError: path: got '~nobody-of-this-name/lift.yaml', whose \
home folder is unknown. Correct the name of the user, or write the path in full.
    """
    try:
        os.fsencode(given)
        path = Path(given).expanduser()
    except RuntimeError as error:
        raise ConfigError(
            f"path: got {str(given)!r}, whose home folder is unknown. Correct the name of the "
            "user, or write the path in full."
        ) from error
    except UnicodeEncodeError:
        path = Path("\0")
    if "\0" in str(path):
        raise ConfigError(f"path: got {str(given)!r}, which no file can be called. Correct it.")
    return path


def find_config(given: Path | str) -> Path:
    """Return the file that a path or a name stands for.

    Args:
        given: path of a file; or the name of a shipped configuration, such as ``quickstart``. A
            file of that path comes first.

    Raises:
        ConfigError: there is no such file, and no configuration of that name ships; or see
            :func:`home_path`.

    Example:
        >>> find_config("quickstart").name
        'quickstart.yaml'
        >>> find_config("quickstat")
        Traceback (most recent call last):
        ...
        rllib_vlm_reward.errors.ConfigError: configuration: got 'quickstat', which is no file, \
expected the path of a YAML file, or one of the names that ship with the package: android, ...
    """
    path = home_path(given)
    # A pipe is as good as a file. These functions accept names that are too long for a file.
    if os.path.exists(path) and not os.path.isdir(path):
        return path
    shipped = shipped_configs()
    if str(given) in shipped:
        return shipped[str(given)]
    raise ConfigError(
        f"configuration: got {excerpt(str(given))}, which is no file, expected the path of a YAML "
        f"file, or one of the names that ship with the package: {', '.join(shipped)}. Choose one, "
        "or correct the path."
    )
