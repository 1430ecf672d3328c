import dataclasses
import json
from types import SimpleNamespace

import pytest

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.connectors import sampling
from rllib_vlm_reward.connectors.failure import Failure
from rllib_vlm_reward.errors import PoolError, RewardError

CONFIG = VLMRewardConfig(encoder="small", goals=["a ball"], head="cosine", stalled_seconds=100)


class Training:
    """An algorithm, its pool and the time, moved by the test."""

    def __init__(self, monkeypatch):
        self.now, self.steps, self.texts, self.restored = 0.0, 0, [], 0
        self.healthy = self.answering = 1
        self.config = SimpleNamespace(restart_failed_env_runners=True, sample_timeout_s=60)
        self.metrics = SimpleNamespace(peek=lambda key, default: self.steps or default)
        self.env_runner_group = SimpleNamespace(
            num_remote_env_runners=lambda: 2,
            num_healthy_remote_env_runners=lambda: self.healthy,
            foreach_env_runner=lambda *_, **options: [True] * self.answering,
        )
        self.nodes = [
            {"Alive": number > 1, "NodeID": f"{number}", "NodeManagerAddress": f"10.0.0.{number}"}
            for number in (1, 2, 3)
        ]
        monkeypatch.setattr(sampling.ray, "nodes", lambda: self.nodes)
        self.sampling = sampling.Sampling(CONFIG, "run", lambda: self.now)
        self.sampling.look_before_each_step(self, self)

    def restore_env_runners(self, group):
        self.restored += 1
        return [7]

    def failures(self):
        return self.texts

    def stats(self):
        return [{"actor": "pool/0", "up": True}, {"actor": "pool/1", "up": False}]

    def fail(self, text="Traceback of the env", fatal=False):
        failure = Failure("run", text, fatal)
        self.texts = [*self.texts, json.dumps(dataclasses.asdict(failure))]

    def step(self, seconds, sampled=0):
        assert self.restore_env_runners(self.env_runner_group) == [7]
        self.now += seconds
        self.steps += sampled

    def iterate(self, seconds, sampled=0, dropped=0):
        self.step(seconds, sampled)
        result = {"fault_tolerance": {"num_env_runners_dropped_lifetime": dropped}}
        self.sampling.end_iteration(self, self, result)


@pytest.fixture
def training(monkeypatch):
    return Training(monkeypatch)


def test_a_stall_after_a_good_iteration_says_what_is_missing(training):
    training.iterate(5, sampled=64)
    training.iterate(60, dropped=1)
    training.answering, training.nodes[1]["Alive"] = 0, False
    with pytest.raises(RewardError) as raised:
        training.iterate(60, dropped=2)
    for part in (
        "nothing was sampled for 120 s",
        "after 64 env steps",
        "1 of 2 env runners are healthy, and 0 answer",
        "1 of 2 reward actors answer (not pool/1)",
        "lost a node (10.0.0.2)",  # the first had gone before the training
        "stalled_seconds=100",
        "What was collected since is lost.",
        "continue from the last checkpoint",
    ):
        assert part in str(raised.value)


def test_new_steps_and_time_between_iterations_do_not_count(training):
    for _ in range(5):
        training.iterate(90)
        training.iterate(1, sampled=8)
        training.now += 10_000  # the user does something else
    assert training.restored == 10


def test_a_stall_within_an_iteration_is_seen(training):
    training.step(5, sampled=8)
    training.step(60)
    training.step(60)
    with pytest.raises(RewardError, match="stands still"):
        training.step(0)


def test_a_pool_without_actors_is_part_of_the_message(training):
    def none_left():
        raise PoolError("all reward actors have ended")

    training.stats = none_left
    with pytest.raises(RewardError, match="no reward actor answers"):
        training.iterate(101)


def test_samples_that_are_all_dropped_in_the_first_iteration_are_an_error(training):
    with pytest.raises(RewardError, match=r"sample_timeout_s \(60 s\)"):
        training.iterate(60, dropped=2)


def test_a_failed_env_is_an_error_if_no_env_runner_goes_on(training, caplog):
    training.iterate(1, sampled=8)
    training.fail()
    training.iterate(1)
    training.iterate(1, sampled=8)  # by the other env runner
    assert caplog.text.count("Traceback of the env") == 1
    training.fail()
    training.iterate(1)
    training.healthy = 0
    with pytest.raises(RewardError, match="Traceback of the env"):
        training.iterate(1)


def test_a_stall_shows_the_failures_since_the_last_step(training):
    training.iterate(1, sampled=8)
    training.fail()
    training.iterate(1)
    with pytest.raises(RewardError, match=r"stands still(.|\n)*Traceback of the env"):
        training.iterate(100)


def test_all_env_runners_that_fail_are_seen_within_an_iteration(training):
    training.step(2.0, sampled=8)
    training.step(0.1)  # sees the new steps
    training.fail()
    training.healthy = 0
    with pytest.raises(RewardError, match="Traceback of the env"):
        training.step(0.1)


def test_a_failed_env_is_an_error_if_env_runners_do_not_restart(training):
    training.config.restart_failed_env_runners = False
    training.fail()
    with pytest.raises(RewardError, match="Traceback of the env"):
        training.iterate(1, sampled=8)


def test_an_error_of_ours_always_ends_training(training):
    training.fail("GoalError: unknown", fatal=True)
    with pytest.raises(RewardError, match="GoalError: unknown"):
        training.iterate(1, sampled=8)


def test_the_pool_is_asked_once_a_second_at_most(training):
    asked = []
    training.failures = lambda: asked.append(training.now) or []
    for _ in range(100):
        training.step(0.1, sampled=1)
    assert 5 <= len(asked) <= 11
