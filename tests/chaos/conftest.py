import dataclasses
from pathlib import Path

import pytest

HOUR = 3600
LONG_FORM_S = 60
PATIENCE_S = 1500  # for a test, on a machine that is busy with other things
# They start a cluster or a run for each test, which takes minutes on two cores. Their short form
# runs if they are named: pytest -n 0 tests/chaos/test_training_chaos.py. Without them, each event
# happens once: see test_recount.py, test_callbacks.py, test_train.py and test_deploy.py.
ONLY_LONG = {"test_command_chaos.py", "test_node_chaos.py", "test_training_chaos.py"}


@dataclasses.dataclass(frozen=True)
class Amount:
    """How much chaos there is.

    Attributes:
        seconds: how long processes are killed under training.
        saves: kills of a process that only saves and resumes a small folder.
        runs: kills of a real run.
    """

    seconds: float
    saves: int
    runs: int


@pytest.fixture(scope="session")
def amount(request):
    """The short form, or with ``--chaos-seconds 3600`` that of an hour."""
    seconds = request.config.getoption("chaos_seconds")
    share = seconds / HOUR
    return Amount(seconds, saves=max(30, round(300 * share)), runs=max(1, round(10 * share)))


def pytest_ignore_collect(collection_path, config):
    """Leave out what is only part of the long form, unless the file is named."""
    if collection_path.name in ONLY_LONG and config.getoption("chaos_seconds") < LONG_FORM_S:
        return True
    return None  # as pytest decides


def pytest_collection_modifyitems(config, items):
    """Give the long form the time that it takes."""
    seconds = PATIENCE_S + 2 * config.getoption("chaos_seconds")
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(seconds))
