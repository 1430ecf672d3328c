"""Ray's workers, forked from a process that has imported the libraries they need.

A worker spends five seconds of CPU on the import of torch, RLlib and open_clip before its actor
begins, and the tests start some two hundred. So their Ray starts ``forked_worker.py`` in place of
its ``default_worker.py``. That asks this server, of which each test process has one, for a fork,
and the fork runs Ray's file with the same arguments, environment and output. With
``pytest --fresh-workers`` Ray starts its workers itself.
"""

import contextlib
import gc
import importlib
import json
import os
import random
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

# What Ray, RLlib, open_clip and this project import. Not Ray itself, whose C++ part reads a
# worker's environment as soon as it is imported.
MODULES = (
    "cryptography",
    "gymnasium",
    "jsonschema",
    "minigrid",
    "open_clip",
    "pandas",
    "pyarrow.parquet",
    "pydantic",
    "requests",
    "rich",
    "scipy.signal",
    "scipy.stats",
    "smart_open",
    "torch._dynamo",
)


@contextlib.contextmanager
def forked_workers():
    """Within it, the Ray that this process starts forks its workers."""
    import pytest
    from ray._private import services

    start_raylet = services.start_raylet
    default = str(Path(services.__file__).with_name("workers") / "default_worker.py")
    forked = str(Path(__file__).with_name("forked_worker.py"))
    server = None

    def start(*args, **options):
        nonlocal server
        server = server or subprocess.Popen(
            [sys.executable, __file__, address, default],
            stdin=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": "", "OMP_NUM_THREADS": "1"},
            start_new_session=True,  # it ends with its input, not by Ctrl-C
        )
        args = [forked if value == default else value for value in args]
        return start_raylet(*args, **options)

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        address = f"{folder}/server"
        patch.setenv("FORK_SERVER", address)
        patch.setattr(services, "start_raylet", start)
        yield
        if server:
            server.stdin.close()
            server.wait()


def serve(address, worker):
    """Fork a worker for each connection, until the input ends."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(64)
        for module in MODULES:
            importlib.import_module(module)
        gc.collect()
        gc.freeze()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                os.setsid()  # or Ray, which ends a worker's process group, would end this server
                become(worker, connection)
                return
            connection.close()


def become(worker, connection):
    """Run Ray's file as if the client had; the connection ends with this process."""
    header, outputs, *_ = socket.recv_fds(connection, 4, 2)
    with connection.makefile("rb") as stream:
        request = json.loads(stream.read(int.from_bytes(header, "big")))
    for here, output in enumerate(outputs, start=1):
        os.dup2(output, here)
        os.close(output)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["folder"])
    sys.argv = [worker, *request["arguments"]]
    found = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    sys.path[:1] = [str(Path(worker).parent), *found]
    _draw_other_numbers()
    runpy.run_path(worker, run_name="__main__")


def _draw_other_numbers():
    import numpy as np
    import torch

    random.seed()
    np.random.seed()
    torch.seed()


if __name__ == "__main__":
    serve(*sys.argv[1:])
