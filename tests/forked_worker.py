"""What the tests' Ray starts as a worker: asks ``fork_server.py`` for it, and lasts as long."""

import json
import os
import socket
import sys

if __name__ == "__main__":
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(os.environ["FORK_SERVER"])
        request = {"arguments": sys.argv[1:], "env": dict(os.environ), "folder": os.getcwd()}
        content = json.dumps(request).encode()
        socket.send_fds(server, [len(content).to_bytes(4, "big")], [1, 2])
        server.sendall(content)
        server.recv(1)  # the worker holds the other end
