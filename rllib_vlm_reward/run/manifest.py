"""The list of a checkpoint's files, by which a part that is missing or damaged is noticed."""

import json
from pathlib import Path

import xxhash

from rllib_vlm_reward.errors import CheckpointError
from rllib_vlm_reward.files import write_text

__all__ = ["check_files", "list_files"]

_MANIFEST = "files.json"
_EXAMPLES = 3  # how many files a message names


def list_files(folder: Path) -> None:
    """Write down which files a checkpoint has, with their sizes and hashes."""
    write_text(folder / _MANIFEST, json.dumps(_files(folder), indent=0) + "\n")


def check_files(folder: Path) -> None:
    """Check that a checkpoint has all files that it had when it was saved.

    RLlib 2.60 restores what is there: without the policy's folder, a run would go on with new
    weights.

    Args:
        folder: the checkpoint; one that RLlib wrote alone has no list, and is not checked.

    Raises:
        CheckpointError: a file is missing, or has other bytes.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "state.pkl").write_bytes(b"1234")
        >>> list_files(folder)
        >>> check_files(folder)
        >>> _ = (folder / "state.pkl").write_bytes(b"12")
        >>> check_files(folder)
        Traceback (most recent call last):
        ...
        rllib_vlm_reward.errors.CheckpointError: checkpoint ...: got other files than when it was \
saved: state.pkl has 2 bytes instead of 4. Copy the run's folder again; if it was not copied, \
restore it from a backup, or train anew in another folder.
    """
    path = folder / _MANIFEST
    if not path.is_file():
        return
    try:
        listed = {name: (int(size), hash_) for name, (size, hash_) in _read(path).items()}
    except (ValueError, TypeError, AttributeError):
        raise _is_torn(folder, [f"{_MANIFEST} cannot be read"]) from None
    there = _files(folder)
    wrong = [_difference(name, there.get(name), was) for name, was in listed.items()]
    wrong = [each for each in wrong if each]
    if wrong:
        raise _is_torn(folder, wrong)


def _read(path: Path) -> dict[str, tuple[int, str]]:
    read: dict[str, tuple[int, str]] = json.loads(path.read_text())
    return read


def _files(folder: Path) -> dict[str, tuple[int, str]]:
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path != folder / _MANIFEST:
            content = path.read_bytes()
            name = path.relative_to(folder).as_posix()
            files[name] = len(content), xxhash.xxh3_64_hexdigest(content)
    return files


def _difference(name: str, there: tuple[int, str] | None, was: tuple[int, str]) -> str:
    if there is None:
        return f"{name} is missing"
    if there[0] != was[0]:
        return f"{name} has {there[0]:,} bytes instead of {was[0]:,}"
    return "" if there == was else f"{name} has other bytes"


def _is_torn(folder: Path, wrong: list[str]) -> CheckpointError:
    more = f", and {len(wrong) - _EXAMPLES} more" if len(wrong) > _EXAMPLES else ""
    return CheckpointError(
        f"checkpoint {folder}: got other files than when it was saved: "
        f"{', '.join(wrong[:_EXAMPLES])}{more}. Copy the run's folder again; if it was not copied, "
        "restore it from a backup, or train anew in another folder."
    )
