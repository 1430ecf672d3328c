"""Processes are killed or stopped under training: no wrong reward, and no training that stands.

``--chaos-seconds 3600`` kills for an hour. Each test prints its counts: ``pytest -rP``.
"""

import contextlib
import os
import signal
import time

import killer
import numpy as np
import pytest
import recount

from rllib_vlm_reward.connectors.callbacks import callbacks_of
from rllib_vlm_reward.errors import RewardError
from rllib_vlm_reward.plugin import add_vlm_reward

ALONE = {"num_cpus_per_actor": 1, "precision": "fp32"}
KILL_EVERY_S = 2.0
LEAST_KILLS, LEAST_REWARDS = 2, 1_000
PATIENCE_S = 600.0  # for kills and rewards; a restart takes a minute on a slow machine
SAMPLE_S = 60.0  # for a fragment, after which RLlib throws it away
# For stops: the driver waits so long for a fragment, then for answers of processes.
STALLED_S, STOPPED_SAMPLE_S, SLACK_S = 15.0, 15.0, 60.0


@pytest.fixture
def trained():
    """Returns a context: an algorithm of PPO on the painted world, whose learner has a witness."""
    recount.Witness.chunks.clear()

    @contextlib.contextmanager
    def train(vlm, batch=600, **env_runners):
        config = recount.ppo(batch=batch, **env_runners)
        algorithm = add_vlm_reward(config, vlm).build_algo()
        try:
            yield algorithm
        finally:
            algorithm.stop()

    return train


class Recount:
    """Recounts the rewards of each iteration, and forgets them."""

    def __init__(self, vlm):
        self._vlm, self._scores = vlm, recount.score_table(vlm)
        self.rewards = self.wrong = self.late_ones = 0

    def iteration(self, algorithm):
        """Train for an iteration, and add what its rewards should have been."""
        algorithm.train()
        chunks = list(recount.Witness.chunks)
        recount.Witness.chunks.clear()
        if not chunks:
            return
        got = [chunk.rewards for chunk in chunks]
        expected = recount.expected_rewards(chunks, self._vlm, self._scores)
        self.rewards += sum(map(len, got))
        self.wrong += recount.mismatches(got, expected)
        self.wrong += recount.wrong_starts(chunks) + recount.jumps(chunks)
        # What a recount that sees nothing would miss.
        self.late_ones += recount.mismatches([np.roll(each, 1) for each in got], expected)

    def iterations(self, algorithm):
        """Train for ever."""
        while True:
            self.iteration(algorithm)

    def under(self, strikes, algorithm, seconds):
        """Train for some seconds while processes are killed, at least until two were."""
        self.iteration(algorithm)
        begin, before = time.monotonic(), self.rewards
        with strikes:
            while (
                time.monotonic() - begin < seconds
                or len(strikes.killed) < LEAST_KILLS
                or self.rewards - before < LEAST_REWARDS
            ):
                self.iteration(algorithm)
                counts = f"{len(strikes.killed)} kills, {self.rewards - before} rewards"
                assert strikes.is_alive(), counts
                assert time.monotonic() - begin < seconds + PATIENCE_S, counts
        self.iteration(algorithm)
        kills, took = len(strikes.killed), time.monotonic() - begin
        print(f"{kills} kills in {took:.0f} s: {self.rewards} rewards, {self.wrong} wrong")
        assert self.wrong == 0
        assert self.late_ones > self.rewards / 2


@pytest.mark.parametrize("mode", ["deferred", "synchronous"])
def test_actors_killed_every_two_seconds(mode, amount, trained, vlm_config, cluster):
    vlm = vlm_config(mode=mode, serving={"pool_name": "killed", "num_actors": 2, **ALONE})
    strikes = killer.Killer(lambda: killer.pids_of_actors("killed"), 2, KILL_EVERY_S)
    with trained(vlm, num_env_runners=1, sample_timeout_s=SAMPLE_S) as algorithm:
        Recount(vlm).under(strikes, algorithm, amount.seconds / 2)


def test_env_runners_killed(amount, trained, vlm_config, shared_pool):
    vlm = vlm_config(mode="deferred", serving={"pool_name": shared_pool})
    with trained(vlm, num_env_runners=2, sample_timeout_s=SAMPLE_S) as algorithm:
        group = algorithm.env_runner_group
        strikes = killer.Killer(lambda: killer.pids_of_env_runners(group), 2, KILL_EVERY_S)
        Recount(vlm).under(strikes, algorithm, amount.seconds)


@contextlib.contextmanager
def stopped(pids):
    """Within it, these processes stand still."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def assert_stands_still(seen, algorithm):
    """Train until the error comes, in time; return its text."""
    begin = time.monotonic()
    with pytest.raises(RewardError, match="training stands still") as raised:
        seen.iterations(algorithm)
    seconds = time.monotonic() - begin
    print(f"error after {seconds:.1f} s of {STALLED_S:g}: {raised.value}")
    assert STALLED_S - 1 <= seconds <= STALLED_S + STOPPED_SAMPLE_S + SLACK_S
    assert seen.wrong == 0
    return str(raised.value)


def test_an_env_runner_stopped(trained, vlm_config, shared_pool):
    vlm = vlm_config(stalled_seconds=STALLED_S, serving={"pool_name": shared_pool})
    seen, given = Recount(vlm), {"num_env_runners": 1, "sample_timeout_s": STOPPED_SAMPLE_S}
    with trained(vlm, batch=51, **given) as algorithm:
        seen.iteration(algorithm)
        (pid,) = killer.pids_of_env_runners(algorithm.env_runner_group)
        with stopped([pid]):
            error = assert_stands_still(seen, algorithm)
    assert "1 of 1 env runners are healthy, and 0 answer" in error


def test_actors_stopped(trained, vlm_config, cluster):
    """Of two, one is enough; without any, training ends in time with an error that names them."""
    serving = {"pool_name": "stopped", "num_actors": 2, "timeout_s": 1.0, **ALONE}
    vlm = vlm_config(mode="deferred", stalled_seconds=STALLED_S, serving=serving)
    seen, given = Recount(vlm), {"num_env_runners": 1, "sample_timeout_s": STOPPED_SAMPLE_S}
    with trained(vlm, batch=51, **given) as algorithm:
        seen.iteration(algorithm)
        pids = [row["pid"] for row in callbacks_of(algorithm)._pool.describe()]
        assert len(pids) == 2
        with stopped(pids[:1]):
            before = seen.rewards
            while seen.rewards < before + 100:
                seen.iteration(algorithm)
        with stopped(pids):
            error = assert_stands_still(seen, algorithm)
    assert "0 of 2 reward actors answer (not stopped/0, stopped/1)" in error
