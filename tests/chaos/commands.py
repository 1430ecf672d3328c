"""Runs commands of rllib-vlm-reward in processes that are forked from one that has imported all.

A command alone spends ten seconds of CPU on imports. Here only the first one waits for them.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import traceback
from pathlib import Path

import strikes

TIMEOUT_S = 120


class Command:
    """A command that runs.

    Attributes:
        pid: its process.
        log: the file with its output.
    """

    def __init__(self, server, pid, log):
        self._server, self.pid, self.log = server, pid, log

    def wait(self):
        """Wait for its end; return the exit status, or minus the signal that killed it."""
        return self._server.wait(self.pid)

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        assert self.wait() == -signal.SIGKILL


class Commands:
    """Starts commands; a context manager.

    Args:
        environment: what the commands find in their environment, beside this process's.
    """

    def __init__(self, **environment):
        self._environment = environment
        self._running = set()

    def __enter__(self):
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            env={**os.environ, "OMP_NUM_THREADS": "1", **self._environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_):
        for pid in self._running:  # of a test that failed
            os.kill(pid, signal.SIGKILL)
        self._process.stdin.close()
        self._process.wait(TIMEOUT_S)
        self._process.stdout.close()

    def start(self, *words, log, full_at=None):
        """Start a command.

        Args:
            *words: its arguments.
            log: file for its output.
            full_at: a part of a path, and a number: the disk is full when the command opens that
                file, see :func:`strikes.at_file`; without a number (None), when RLlib saves that
                component, see :func:`strikes.at_component`.
        """
        words = [str(word) for word in words]
        pid = self.ask({"start": words, "log": str(log), "full_at": full_at})
        self._running.add(pid)
        return Command(self, pid, Path(log))

    def wait(self, pid):
        status = self.ask({"wait": pid})
        self._running.discard(pid)
        return status

    def ask(self, request):
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


def serve():
    """Answer the requests of :class:`Commands`, until the input ends."""
    import torch

    import rllib_vlm_reward.run
    import rllib_vlm_reward.sweep  # noqa: F401
    from rllib_vlm_reward.cli import main

    torch.set_num_threads(1)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    logs = {}
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            answer = os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])
            logs.pop(request["wait"]).wait()
        else:
            # A pipe can be written although the disk is full.
            with open(request["log"], "ab") as file:
                log = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=file)
            if (answer := os.fork()) == 0:
                answers.close()
                become(main, request, log.stdin.fileno())
            log.stdin.close()
            logs[answer] = log
        print(answer, file=answers, flush=True)


def become(main, request, log):
    """Be the command that was asked for."""
    status = 1
    try:
        for here in (1, 2):
            os.dup2(log, here)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        if request["full_at"] is not None:
            part, number = request["full_at"]
            if number is None:
                strikes.at_component(part, strikes.limit)
            else:
                sys.addaudithook(strikes.at_file(part, number, strikes.limit))
        sys.argv = ["rllib-vlm-reward", *request["start"]]
        main()
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else bool(ended.code)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    serve()
