"""New processes, forked from one that has imported what they need.

A process spends seven seconds of CPU on the import of torch, RLlib and open_clip before it does
anything, and the tests start some three hundred: Ray's workers, and programs. So their Ray starts
``forked_worker.py`` in place of its ``setup_worker.py``, and tests start ``python()`` in place of
``sys.executable``. Both ask this server, of which each test process has one, for a fork. The fork
has the arguments, environment, folder, input and output of who asked, and nothing of the tests.

The server imports libraries. Ray reads the environment as soon as it is imported (RAY_JOB_ID and
RAY_RAYLET_PID in 2.60), so the server has a child for each environment. It forks, and imports Ray,
RLlib and this project where it forks often. Nor does the tests' Ray start what no test looks at:
the processes that read logs, scale the cluster and show a dashboard. A forked reward actor does not
measure which batches are fastest, which takes 2 s of CPU (``tests/serving/test_actor.py`` does).

With ``pytest --fresh-processes`` all processes are Python's and Ray's own.
"""

import contextlib
import functools
import gc
import importlib
import inspect
import itertools
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
import types
from pathlib import Path

FOLDER = Path(__file__).parent
LIBRARIES = (
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
ACTOR = "rllib_vlm_reward.serving.actor"
WITH_RAY = (
    "ray.rllib.algorithms.ppo",
    "ray.rllib.algorithms.ppo.torch.default_ppo_torch_rl_module",
    "ray.rllib.env.multi_agent_env_runner",
    "ray.rllib.env.single_agent_env_runner",
    "ray.tune",
    "rllib_vlm_reward",
    "rllib_vlm_reward.plugin",
    ACTOR,
)
NOT_STARTED = ("start_log_monitor", "start_monitor", "start_api_server")
WORKER = "Ray's worker"
FEW = 2  # processes of an environment, such as those that Ray starts for no job yet
BATCH_SIZE = 64
LARGEST_REQUEST = 2**17  # bytes


@contextlib.contextmanager
def serving():
    """Within it, the Ray that this process starts and ``python()`` have a server."""
    import pytest

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("FORK_SERVER", f"{folder}/server")
        patch.setenv("REPORTER_UPDATE_INTERVAL_MS", "60000")  # looks at each process, else each 5 s
        serve_ray(patch.setattr)
        yield
        if _server.cache_info().currsize:
            _server().stdin.close()
            _server().wait()
            _server.cache_clear()


def python():
    """Return the words that start Python."""
    if "FORK_SERVER" not in os.environ:
        return [sys.executable]
    _server()
    return [sys.executable, str(FOLDER / "forked_python.py"), os.environ["FORK_SERVER"]]


def serve_ray(setattr):
    """Have the Ray that this process starts fork its workers."""
    from ray._private import node, services

    start_raylet = services.start_raylet
    setup = str(Path(services.__file__).with_name("workers") / "setup_worker.py")
    forked = str(FOLDER / "forked_worker.py")

    def start(*args, **options):
        _server()
        return start_raylet(*(forked if it == setup else it for it in args), **options)

    setattr(services, "start_raylet", start)
    for name in NOT_STARTED:
        setattr(node.Node, name, lambda *_, **options: None)


def find_callers_quickly(setattr):
    """Replace the ``inspect.stack()[1].frame`` of each RLlib connector, 0.1 s under pytest.

    It reads the sources of all 60 frames (Ray 2.60), as often as 40 times for one algorithm.
    """
    from ray.rllib.connectors import connector_v2

    quick = types.SimpleNamespace(
        stack=lambda: [None, types.SimpleNamespace(frame=sys._getframe(2))],
        getargvalues=inspect.getargvalues,
    )
    setattr(connector_v2, "inspect", quick)


@functools.cache
def _server():
    """Start the server, unless this process is one of its forks."""
    address = os.environ["FORK_SERVER"]
    if os.path.exists(address):
        return None
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(address)
        listener.listen(64)
        return subprocess.Popen(
            [sys.executable, __file__, str(listener.fileno()), address],
            stdin=subprocess.PIPE,
            pass_fds=[listener.fileno()],
            env={**os.environ, "PYTHONPATH": "", "OMP_NUM_THREADS": "1"},
            start_new_session=True,  # it ends with its input, not by Ctrl-C
        )


def serve(listener, address):
    """Have a process forked for each connection, until the input ends."""
    children = {}  # by environment: the connection to the process that forks
    _import(LIBRARIES)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
        connection, _ = listener.accept()
        content, streams, *_ = socket.recv_fds(connection, LARGEST_REQUEST, 3)
        key = json.dumps(sorted(json.loads(content)["env"].items()))
        if key not in children:
            children[key], requests = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            if os.fork() == 0:
                for each in (listener, connection, *children.values()):
                    each.close()
                for stream in streams:
                    os.close(stream)
                return fork(requests, json.loads(content)["env"] | {"FORK_SERVER": address})
            requests.close()
        files = [connection.detach(), *streams]
        socket.send_fds(children[key], [content], files)
        for file in files:
            os.close(file)


def fork(requests, env):
    """Fork for each request, until the server ends."""
    os.environ.clear()
    os.environ.update(env)
    sys.path[:1] = filter(None, env.get("PYTHONPATH", "").split(os.pathsep))
    for number in itertools.count():
        content, files, *_ = socket.recv_fds(requests, LARGEST_REQUEST, 4)
        if not content:
            return
        if number == FEW:
            _import(WITH_RAY)
            sys.modules[ACTOR].best_batch_size = lambda model: BATCH_SIZE
            find_callers_quickly(setattr)
        if os.fork() == 0:
            requests.close()
            connection, *streams = files
            return become(json.loads(content), socket.socket(fileno=connection), streams)
        for file in files:
            os.close(file)


def become(request, connection, streams):
    """Be the process that was asked for."""
    os.setsid()  # or Ray, which ends a worker's process group, would end the server
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for here, stream in enumerate(streams):
        os.dup2(stream, here)
        os.close(stream)
    os.chdir(request["folder"])
    _draw_other_numbers()
    program, *arguments = request["words"]
    if program == WORKER:
        from ray._private.workers import __path__ as folder

        connection.detach()  # it ends with this process
        return run(f"{folder[0]}/default_worker.py", *arguments)
    program_id = os.fork()
    if program_id:
        return guard(program_id, connection)
    connection.close()
    serve_ray(setattr)
    return run(program, *arguments)


def guard(program, connection):
    """Tell who asked how its program ended; end the program if who asked is no more."""
    ended = os.pidfd_open(program)
    if ended not in select.select([ended, connection], [], [])[0]:
        os.kill(program, signal.SIGKILL)
    _, status = os.waitpid(program, 0)
    with contextlib.suppress(BrokenPipeError):
        connection.send(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def run(program, *arguments):
    """Run a file, or the code after ``-c``."""
    if program == "-c":
        code, *arguments = arguments
        sys.path.insert(0, "")
        sys.argv = [program, *arguments]
        sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(code, "<string>", "exec"), sys.modules["__main__"].__dict__)
    else:
        sys.path.insert(0, str(Path(program).parent))
        sys.argv = [program, *arguments]
        runpy.run_path(program, run_name="__main__")


def _import(modules):
    for module in modules:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()


def _draw_other_numbers():
    import numpy as np
    import torch

    random.seed()
    np.random.seed()
    torch.seed()
    if "ray" in sys.modules:
        # Ray's generator takes no seed. Two workers that draw the same id at the same time end one
        # of them, and Ray (2.60) waits 60 s before it starts another.
        from ray._raylet import ObjectID

        for _ in range(random.randrange(10_000)):
            ObjectID.from_random()


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2])
