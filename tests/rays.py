"""The Ray that tests share, and leave for those that need another one.

A process is connected to one Ray at a time. Starting one and a pool on it takes 10 to 20 seconds,
so all tests that ask for ``cluster`` share one; those that ask for ``own_ray`` come before it.
"""

import contextlib
import gc
import os
import time
from pathlib import Path

import pytest
import ray

import rllib_vlm_reward

FOLDERS = sorted({str(path.parent) for path in Path(__file__).parent.rglob("*.py")})
FOLDERS.append(str(Path(rllib_vlm_reward.__file__).parents[1]))  # workers have this package, too
# Of Ray Data, which keeps them as long as Ray runs.
OF_RAY = (
    "ActorLocationTracker",
    "AutoscalingCoordinator",
    "AutoscalingRequester",
    "datasets_stats_actor",
)
_INIT = ray.init
_earlier = contextlib.ExitStack()


def unasked(*args, **kwargs):
    """Refuse to start Ray: in place of ``ray.init`` where no test asked for one."""
    raise AssertionError("this test starts Ray: it must ask for the fixture `cluster` or `own_ray`")


@contextlib.contextmanager
def may_start():
    """Within it ``ray.init`` works; the Ray that was started must be ended there, too."""
    assert not ray.is_initialized(), "another Ray is connected: tests with own_ray come first"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray, "init", _INIT)
        yield
    assert not ray.is_initialized(), "Ray was left running"


@contextlib.contextmanager
def started(*folders, **options):
    """Start Ray, whose workers find the modules beside the tests and in folders; yield its address.

    Args:
        *folders: further ones.
        **options: for ``ray.init``.
    """
    found = [*FOLDERS, *map(str, folders), os.environ.get("PYTHONPATH", "")]
    with may_start(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, found)))
        given = {"include_dashboard": False, "log_to_driver": False}
        _INIT(address="local", **{**given, "object_store_memory": 200_000_000, **options})
        try:
            yield ray.get_runtime_context().gcs_address
        finally:
            ray.shutdown()


def hold(context):
    """Enter a context that a later file may end before the session does; return what it yields."""
    return _earlier.enter_context(context)


def release():
    """End the context that is held, if one is."""
    _earlier.close()


def assert_clean(kept, timeout_s=30):
    """Assert that no actor is left but those kept, of one CPU each, and no CPU is taken.

    Args:
        kept: names of actors that may stay.
        timeout_s: for actors to end that were asked to.
    """
    deadline = time.monotonic() + timeout_s
    gc.collect()  # an algorithm whose build failed closes its pool when it is collected
    while left := _left_behind(kept):
        assert time.monotonic() < deadline, f"left behind on the session's Ray: {left}"
        time.sleep(0.1)


def _left_behind(kept):
    names = {actor["name"] for actor in ray.util.list_named_actors(all_namespaces=True)}
    left = sorted(names - set(kept) - set(OF_RAY))
    taken = ray.cluster_resources()["CPU"] - ray.available_resources().get("CPU", 0.0)
    taken -= len(names & set(kept))
    return left + [f"{taken:g} CPUs taken"] * (taken > 0)
