"""The list of a checkpoint's files, by which a part that is missing is noticed."""

import json
from pathlib import Path

from rllib_vlm_reward.errors import CheckpointError
from rllib_vlm_reward.files import write_text

__all__ = ["check_files", "list_files"]

_MANIFEST = "files.json"
_EXAMPLES = 3  # how many files a message names


def list_files(folder: Path) -> None:
    """Write down which files a checkpoint has, and how large they are."""
    write_text(folder / _MANIFEST, json.dumps(_sizes(folder), indent=0) + "\n")


def check_files(folder: Path) -> None:
    """Check that a checkpoint has all files that it had when it was saved.

    RLlib 2.60 restores what is there: without the policy's folder, a run would go on with new
    weights.

    Args:
        folder: the checkpoint; one that RLlib wrote alone has no list, and is not checked.

    Raises:
        CheckpointError: a file is missing, or has another size.

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
        listed = {str(name): int(size) for name, size in json.loads(path.read_text()).items()}
    except (ValueError, TypeError, AttributeError):
        raise _is_torn(folder, [f"{_MANIFEST} cannot be read"]) from None
    there = _sizes(folder)
    wrong = [
        f"{name} has {there[name]:,} bytes instead of {size:,}"
        if name in there
        else f"{name} is missing"
        for name, size in listed.items()
        if there.get(name) != size
    ]
    if wrong:
        raise _is_torn(folder, wrong)


def _sizes(folder: Path) -> dict[str, int]:
    return {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / _MANIFEST
    }


def _is_torn(folder: Path, wrong: list[str]) -> CheckpointError:
    more = f", and {len(wrong) - _EXAMPLES} more" if len(wrong) > _EXAMPLES else ""
    return CheckpointError(
        f"checkpoint {folder}: got other files than when it was saved: "
        f"{', '.join(wrong[:_EXAMPLES])}{more}. Copy the run's folder again; if it was not copied, "
        "restore it from a backup, or train anew in another folder."
    )
