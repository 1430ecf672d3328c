"""Files that are written as a whole or not at all, and folders that one process writes."""

import contextlib
import fcntl
import logging
import os
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

__all__ = [
    "FolderLock",
    "remove_unfinished",
    "replace_file",
    "replaced_file",
    "reserve_file",
    "write_text",
]

_LOG = logging.getLogger(__name__)
_FRESH = ".new-"  # how the name of a file begins that is still being written
_LOCK = ".lock"
_ZEROS = 2**20  # bytes that are written at once


@contextlib.contextmanager
def replaced_file(path: Path) -> Iterator[Path]:
    """Yield a path to write to; when the block ends, that file replaces ``path`` as a whole.

    A kill, a full disk or an error in the block leaves the old file as it was. An equal file is not
    replaced. Missing folders are created.

    Args:
        path: the file. The yielded path has the same suffix and lies in the same folder.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "figures.csv")
        >>> with replaced_file(path) as fresh:
        ...     _ = fresh.write_text("a,b")
        >>> path.read_text(), len(list(path.parent.iterdir()))
        ('a,b', 1)
    """
    path = Path(os.path.realpath(path))  # a link is kept, and what it points to is replaced
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{_FRESH}{uuid.uuid4().hex}-{path.name}")  # nodes may share the folder
    try:
        yield fresh
        if not _are_equal(fresh, path):
            replace_file(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)


def replace_file(fresh: Path, path: Path) -> None:
    """Rename a finished file, and make sure that it survives a power failure."""
    _flush_to_disk(fresh)
    os.replace(fresh, path)
    _flush_to_disk(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8 as a whole, see :func:`replaced_file`.

    Nothing at all is written if the file has this text already, so that this works on a full disk.
    """
    content = text.encode()
    if path.is_file() and path.read_bytes() == content:
        return
    with replaced_file(path) as fresh:
        fresh.write_bytes(content)


def reserve_file(path: Path, size: int) -> None:
    """Create a file of zeros, all of whose space on the disk is taken.

    A memory map writes into such a file. Into one that only has a length, a write on a full disk
    would end the process with SIGBUS.

    Args:
        path: the file; replaced if it exists.
        size: number of bytes.

    Raises:
        OSError: the disk, the quota or the largest size of a file does not suffice.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "frames.bin")
        >>> reserve_file(path, 3)
        >>> path.read_bytes()
        b'\\x00\\x00\\x00'
    """
    try:
        with path.open("wb") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            else:  # macOS
                for start in range(0, size, _ZEROS):
                    file.write(bytes(min(_ZEROS, size - start)))
    except OSError as error:
        path.unlink(missing_ok=True)
        reason = f"{os.strerror(error.errno or 0)} for {size:,} bytes"
        raise OSError(error.errno, reason, str(path)) from error


def remove_unfinished(folder: Path) -> None:
    """Remove the files that a killed process was writing, also in folders of the folder."""
    for stale in folder.rglob(f"{_FRESH}*"):
        stale.unlink(missing_ok=True)


class FolderLock:
    """Keeps a second process out of a folder. The lock ends with the process, even if it is killed.

    It begins when the object is made, and ends with :meth:`release` or a ``with`` block.

    Args:
        folder: the folder; created if it does not exist.

    Raises:
        FileExistsError: another process, or another lock of this one, holds the folder.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> lock = FolderLock(folder)
        >>> try:
        ...     FolderLock(folder)
        ... except FileExistsError as error:
        ...     f"process {os.getpid()} on {socket.gethostname()}" in str(error)
        True
        >>> lock.release()
        >>> with FolderLock(folder):
        ...     pass
    """

    # A POSIX lock does not keep out its own process, and closing any descriptor of the file ends
    # it. Unlike flock(), forked children (sub-envs of an AsyncVectorEnv) do not inherit it.
    _held: set[Path] = set()  # noqa: RUF012

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file: int | None = None
        self._path = folder.resolve() / _LOCK
        mine = f"process {os.getpid()} on {socket.gethostname()}"
        if self._path in self._held:
            raise _is_taken(folder, mine)
        file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            other = os.read(file, 1000).decode(errors="replace").strip() or "another process"
            os.close(file)
            raise _is_taken(folder, other) from None
        except OSError as error:  # some network file systems have no locks
            _LOG.warning("%s cannot be locked (%s). Let only one process write it.", folder, error)
        with contextlib.suppress(OSError):  # a full disk: the lock holds without the name
            os.ftruncate(file, 0)
            os.pwrite(file, mine.encode(), 0)
        self._file = file
        self._held.add(self._path)
        for stale in folder.glob(f"{_FRESH}*"):  # of a process that was killed
            stale.unlink(missing_ok=True)

    def __enter__(self) -> "FolderLock":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Let another process write the folder. Idempotent."""
        if self._file is not None:
            os.close(self._file)
            self._held.discard(self._path)
            self._file = None


def _is_taken(folder: Path, holder: str) -> FileExistsError:
    return FileExistsError(
        f"{folder}: {holder} is writing this folder, expected only one process. Wait for that "
        "process, end it, or choose another --output."
    )


def _are_equal(fresh: Path, path: Path) -> bool:
    if not path.is_file() or path.stat().st_size != fresh.stat().st_size:
        return False
    return path.read_bytes() == fresh.read_bytes()


def _flush_to_disk(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
