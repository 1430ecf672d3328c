import pytest

from rllib_vlm_reward.connectors.failure import Failure, ReportingSample
from rllib_vlm_reward.errors import FrameError, PoolError


class Pool:
    """Keeps reports, as a pool's actors do."""

    def __init__(self):
        self.reports, self.is_cancelled = [], False

    def report_failure(self, text):
        self.reports.append(text)

    def failures(self):
        return self.reports

    def cancel(self):
        self.is_cancelled = bool(self.reports)  # after the report


def raising(error):
    def sample():
        raise error

    return sample


def reported(error):
    pool = Pool()
    with pytest.raises(type(error)):
        ReportingSample(raising(error), lambda: pool, "this run")()
    assert Failure.of_run(pool, "another run") == []
    (failure,) = Failure.of_run(pool, "this run")
    assert pool.is_cancelled
    return failure


def test_an_error_of_ours_is_fatal_and_needs_no_traceback():
    failure = reported(FrameError("mixed sizes"))
    assert failure.fatal
    assert failure.text == "FrameError: mixed sizes"


def test_another_error_has_its_traceback():
    failure = reported(KeyError("the user's own"))
    assert not failure.fatal
    assert failure.text.startswith("Traceback")
    assert "raise error" in failure.text
    assert failure.text.endswith('KeyError: "the user\'s own"')


def test_equal_errors_are_two_failures():
    assert reported(KeyError("it")) != reported(KeyError("it"))


def test_an_unreachable_pool_does_not_hide_the_error():
    def lost():
        raise PoolError("no pool")

    with pytest.raises(KeyError, match="mine"):
        ReportingSample(raising(KeyError("mine")), lost, "run")()


def test_rllibs_empty_error_is_replaced_by_the_users():
    def sample():
        try:
            {}["key"]
        except KeyError as error:
            raise RuntimeError from error

    with pytest.raises(KeyError, match="key") as raised:
        ReportingSample(sample, None, "run")()
    assert raised.value.__context__ is None
    with pytest.raises(RuntimeError, match="mine"):
        ReportingSample(raising(RuntimeError("mine")), None, "run")()


def test_a_second_wrapping_replaces_the_first():
    pool = Pool()
    once = ReportingSample(raising(KeyError("x")), lambda: pool, "old run")
    with pytest.raises(KeyError):
        ReportingSample(once, lambda: pool, "new run")()
    assert [failure.run for failure in Failure.of_run(pool, "new run")] == ["new run"]
    assert Failure.of_run(pool, "old run") == []
    assert ReportingSample(lambda n: n + 1, lambda: pool, "run")(n=1) == 2
