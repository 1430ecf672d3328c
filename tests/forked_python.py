"""What stands for Python, or for Ray's worker: it asks ``fork_server.py`` for a fork, and waits."""

import json
import os
import socket
import sys


def ask(address, *words):
    """Have a process forked that runs these words; end as it ends."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.connect(address)
        request = {"words": words, "env": dict(os.environ), "folder": os.getcwd()}
        socket.send_fds(server, [json.dumps(request).encode()], [0, 1, 2])
        status = int(server.recv(10) or 0)  # of a worker nothing comes
    if status < 0:
        os.kill(os.getpid(), -status)
    sys.exit(status)


if __name__ == "__main__":
    ask(*sys.argv[1:])
