"""A process that only saves and resumes a small run folder, and what may happen to it."""

import os
import sys
from pathlib import Path

from strikes import FORK, limit

from rllib_vlm_reward.run.experiment import Experiment
from rllib_vlm_reward.run.progress import Progress
from rllib_vlm_reward.run.run_folder import RunFolder

FILES = 4
EXPERIMENT = {
    "environment": {"env": "CartPole-v1"},
    "vlm_reward": {"encoder": "small", "goals": ["a ball", "a key"]},
}


class Weights:
    """Stands for an algorithm: files of growing size that must all be of the same save."""

    def __init__(self, number):
        self.number = number

    def save_to_path(self, path):
        Path(path, "learner").mkdir(parents=True)
        for file in range(FILES):
            Path(path, "learner", str(file)).write_text(f"{self.number} " * 10 ** (file + 1))


def saved(checkpoint):
    """Return the number of a checkpoint's save, after checking that all its files have it."""
    texts = [(checkpoint / "learner" / str(file)).read_text().split() for file in range(FILES)]
    assert [len(text) for text in texts] == [10 ** (file + 1) for file in range(FILES)]
    (number,) = {int(word) for text in texts for word in text}
    return number


def opened(path, stop):
    """Open a folder as ``train`` does, or ``train --resume`` if there is something to resume."""
    resume = any((path / name).exists() for name in ("checkpoint", "checkpoint.old"))
    experiment = Experiment(**EXPERIMENT, stop={"env_steps": stop})
    return RunFolder(path, experiment, resume=resume)


def resumed(path):
    """Return the number of the save from which a folder resumes; 0 if it starts anew."""
    folder = opened(path, 1)
    try:
        if not folder.checkpoint.exists():
            return 0
        number = saved(folder.checkpoint)
        assert [row.iteration for row in folder.history] == list(range(1, number + 1))
        return number
    finally:
        folder.close()


def save(path, done, *, saves=10**9, stop=1, largest_file=None, hook=None):
    """Open the folder and save again and again; send the number of each finished save."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # TensorBoard's thread prints its errors
    if largest_file is not None:  # a longer write fails, as on a full disk
        limit(largest_file)
    if hook is not None:
        sys.addaudithook(hook)
    try:
        folder = opened(path, stop)
        for _ in range(saves):
            number = len(folder.history) + 1
            folder.log(Progress(number, number, 1.0, *[None] * 4, 1.0), {"a": 1.0})
            folder.save_checkpoint(Weights(number))
            done.send(number)
        os._exit(0)
    except OSError:
        os._exit(1)


def start(path, **how):
    """Start :func:`save` in a process; return it, and where it sends the finished saves."""
    received, sent = FORK.Pipe(duplex=False)
    process = FORK.Process(target=save, args=(path, sent), kwargs=how)
    process.start()
    sent.close()
    return process, received


def finished(process, received, before):
    """Wait for the process; return the number of the last save that it finished."""
    process.join()
    while True:
        try:
            before = received.recv()
        except EOFError:
            received.close()
            return before
