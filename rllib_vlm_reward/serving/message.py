"""What a link carries: the frames stay in shared memory, so a message is a header."""

import pickle
import struct
from typing import NamedTuple

__all__ = ["ASK", "LONGEST", "Ask", "Reply"]

ASK = struct.Struct("<QQIIII32s")
_REPLY = struct.Struct("<QQ")
LONGEST = 65536  # bytes; a Unix datagram holds 200 KB by Linux's default
_LONGEST_TEXT = 4096


class Ask(NamedTuple):
    """Score a request.

    Attributes:
        number: of the request, on its link.
        segment: where it lies; its memory comes with the first message that names it.
        shape: B, H, W of its frames.
        fingerprint: of the scorer, SHA-256 in hex.
        run: whose request it is, 64 bits.

    Example:
        >>> ask = Ask(7, 0, (16, 56, 56), "ab" * 32, run=1)
        >>> Ask.unpack(ask.pack()) == ask
        True
    """

    number: int
    segment: int
    shape: tuple[int, int, int]
    fingerprint: str
    run: int

    def pack(self) -> bytes:
        """Return the message."""
        fingerprint = bytes.fromhex(self.fingerprint)
        return ASK.pack(self.run, self.number, self.segment, *self.shape, fingerprint)

    @classmethod
    def unpack(cls, message: bytes) -> "Ask":
        """Read a message."""
        run, number, segment, batch, height, width, fingerprint = ASK.unpack(message)
        return cls(number, segment, (batch, height, width), fingerprint.hex(), run)


class Reply(NamedTuple):
    """The scores lie in the segment, or there is an error.

    Attributes:
        number: of the request.
        waiting: frames that queue at the actor.
        error: what its scoring raised.

    Example:
        >>> Reply.unpack(Reply(7, 128, ValueError("no")).pack())
        Reply(number=7, waiting=128, error=ValueError('no'))
    """

    number: int
    waiting: int
    error: Exception | None = None

    def pack(self) -> bytes:
        """Return the message; of an error that cannot travel, its text."""
        header = _REPLY.pack(self.number, self.waiting)
        return header if self.error is None else header + _pickled(self.error)

    @classmethod
    def unpack(cls, message: bytes) -> "Reply":
        """Read a message, which must come from an actor of this cluster: it may hold a pickle."""
        number, waiting = _REPLY.unpack_from(message)
        rest = message[_REPLY.size :]
        return cls(number, waiting, pickle.loads(rest) if rest else None)


def _pickled(error: Exception) -> bytes:
    try:
        pickled = pickle.dumps(error)
        pickle.loads(pickled)
    except Exception:
        pickled = b""
    if pickled and len(pickled) + _REPLY.size <= LONGEST:
        return pickled
    return pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"[:_LONGEST_TEXT]))
