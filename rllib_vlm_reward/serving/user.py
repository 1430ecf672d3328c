"""Who is at the other end of a Unix socket: its address can be read by everybody on the machine."""

import os
import socket
import struct

__all__ = ["check_user"]

_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid


def check_user(connection: socket.socket) -> None:
    """Raise unless the process at the other end is this one's user's.

    Raises:
        PermissionError: it is another user's.

    Example:
        >>> ours, _ = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        >>> check_user(ours)
    """
    size = _CREDENTIALS.size
    _, uid, _ = _CREDENTIALS.unpack(
        connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    )
    if uid != os.geteuid():
        raise PermissionError(f"link: got a process of user {uid}, expected {os.geteuid()}.")
