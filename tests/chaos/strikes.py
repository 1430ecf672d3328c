"""Ways to strike a process: a kill or a full disk, at a chosen change of a file."""

import errno
import multiprocessing
import os
import resource
import signal
import sys
import traceback

FORK = multiprocessing.get_context("fork")  # without the seconds of imports of a new process
CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir")
WRITES = os.O_WRONLY | os.O_RDWR


def is_opened_to_write(event, arguments):
    """Return whether an audit event is a file that is opened to be written."""
    return event == "open" and isinstance(arguments[2], int) and bool(arguments[2] & WRITES)


def at_change(number, act):
    """Return an audit hook that acts before the given change of a file; numbers begin at 0."""
    left = [number]

    def hook(event, arguments):
        if not is_opened_to_write(event, arguments) and event not in CHANGES:
            return
        left[0] -= 1
        if left[0] == -1:
            act()

    return hook


def at_file(part, number, act):
    """Return an audit hook that acts before a file is opened to write.

    Of the files whose path has this part in it, it is that of the given number, from 0.
    """
    left = [number]

    def hook(event, arguments):
        if is_opened_to_write(event, arguments) and part in str(arguments[0]):
            left[0] -= 1
            if left[0] == -1:
                act()

    return hook


def at_component(part, act):
    """Act before RLlib saves a component, the first whose path has this part in it.

    Ray 2.60 writes these files with Arrow, which raises no audit events.
    """
    from ray.rllib.utils.checkpoints import Checkpointable

    save, left = Checkpointable.save_to_path, [True]

    def save_to_path(component, path=None, **options):
        if left[0] and part in str(path):
            left[0] = False
            act()
        return save(component, path, **options)

    Checkpointable.save_to_path = save_to_path


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def refuse():
    """Fail once, as the creation of a file on a full disk does."""
    raise OSError(errno.ENOSPC, "No space left on device")


def limit(largest_file=0):
    """From now on, fail to write more into a file, as on a disk that is full."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))


def attempt(function, *arguments, hook=None, largest_file=None):
    """Call a function in a process with a hook or a limit; return 1 for an OSError, 0 for none."""
    process = FORK.Process(target=_attempt, args=(function, arguments, hook, largest_file))
    process.start()
    process.join()
    return process.exitcode


def _attempt(function, arguments, hook, largest_file):
    status = 2
    try:
        if largest_file is not None:
            limit(largest_file)
        if hook is not None:
            sys.addaudithook(hook)
        function(*arguments)
        status = 0
    except OSError:
        status = 1
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)
