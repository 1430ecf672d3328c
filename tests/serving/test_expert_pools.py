"""Several experts: asked at the same time, and left out while they are late or dead."""

import dataclasses
import time

import numpy as np
import pytest
import ray

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.errors import CheckpointError, PoolError, RewardError
from rllib_vlm_reward.reward_model.clip import CLIPEncoder
from rllib_vlm_reward.reward_model.combiner import Rule
from rllib_vlm_reward.reward_model.heads import Head
from rllib_vlm_reward.reward_model.model import RewardModel
from rllib_vlm_reward.reward_model.panel import Expert, Panel
from rllib_vlm_reward.reward_model.scorer import Scorer
from rllib_vlm_reward.serving.experts import ExpertPools, Member, pool_of
from rllib_vlm_reward.serving.router import NAMESPACE
from rllib_vlm_reward.serving.service import (
    bundles_of,
    connect_service,
    is_service_running,
    start_service,
)

GOALS = ["a {red|blue} {ball|key}"]
SERVING = {"num_gpus_per_actor": 0, "precision": "fp32", "timeout_s": 20}


@pytest.fixture(scope="module")
def config(tiny_clip):
    experts = {
        "soft": {"head": {"kind": "softmax", "temperature": 0.3}},
        "flat": {"head": {"kind": "softmax", "temperature": 1.0}},
        "dense": {"head": {"kind": "dense", "temperature": 0.3}},
    }
    return VLMRewardConfig(encoder=tiny_clip, goals=GOALS, experts=experts, serving=SERVING)


def expected(config, frames, goals):
    """Return each expert's scores from a model of this process, float32 [B, E]."""
    model = RewardModel(CLIPEncoder.load(config.encoder, precision="fp32"))
    rewards = config.by_expert.values()
    return np.stack([model.score(frames, goals, each.scorer) for each in rewards], axis=1)


@pytest.fixture
def request_of():
    rng = np.random.default_rng(0)

    def draw(size=5):
        frames = rng.integers(0, 256, (size, 56, 56, 3), dtype=np.uint8)
        return frames, rng.integers(0, 4, size)

    return draw


def ask_for_long(service, *request):
    for _ in range(100):  # an actor may still answer a last request
        service.ask(*request).result()
        time.sleep(0.1)


def test_the_score_is_the_combination_and_each_expert_is_a_column(cluster, config, request_of):
    service = start_service(config, name="three")
    try:
        assert is_service_running("three", config)
        frames, goals = request_of()
        answer = service.ask([frames], goals, config.rater).result()
        scores = expected(config, frames, goals)
        np.testing.assert_allclose(answer[:, 2:], scores, atol=1e-6)
        np.testing.assert_allclose(answer[:, 0], scores.mean(axis=1), atol=1e-6)
        np.testing.assert_allclose(answer[:, 1], scores.std(axis=1), atol=1e-6)
        rows = service.describe()
        assert [row["expert"] for row in rows] == ["soft", "flat", "dense"]
        assert [row["actor"] for row in service.stats()] == [
            "three/soft/0",
            "three/flat/0",
            "three/dense/0",
        ]
        client = connect_service("three", config, "run")
        service.report_failure("broken")
        client.report_failure("broken")
        assert client.failures() == ["broken"]

        # One ends for good: the others are combined, and nothing else changes.
        ray.kill(ray.get_actor("three/flat/0", namespace=NAMESPACE))
        for _ in range(3):
            frames, goals = request_of()
            answer = client.ask([frames], goals, config.rater).result()
            scores = expected(config, frames, goals)
            assert np.isnan(answer[:, 3]).all()
            np.testing.assert_allclose(answer[:, 0], scores[:, [0, 2]].mean(axis=1), atol=1e-6)
        assert client.failures() == ["broken"]
        assert {row["expert"] for row in client.describe()} == {"soft", "dense"}
        # So does a client that comes later.
        late = connect_service("three", config)
        answer = late.ask([frames], goals, config.rater).result()
        np.testing.assert_allclose(answer[:, 0], scores[:, [0, 2]].mean(axis=1), atol=1e-6)

        # Without any expert, it is an error.
        for name in ("soft", "dense"):
            ray.kill(ray.get_actor(f"three/{name}/0", namespace=NAMESPACE))
        with pytest.raises(PoolError, match=r"no expert answered\. soft: .* dense: "):
            ask_for_long(client, [frames], goals, config.rater)
    finally:
        service.close()


def test_three_take_as_long_as_the_slowest(cluster, config, request_of):
    @dataclasses.dataclass(frozen=True)  # local, so that it is pickled with its code
    class Slow(Head):
        range = (-1.0, 1.0)

        seconds: float

        def __call__(self, images, bank, goals):
            time.sleep(self.seconds)
            return images[:, 0]

    goals = config.goal_set
    seconds = {"soft": 0.1, "flat": 0.2, "dense": 0.15}
    experts = [Expert(name, Scorer(goals, Slow(each)), 0) for name, each in seconds.items()]
    frames, indices = request_of()
    service = start_service(config, name="timed")
    try:
        panel = Panel(tuple(experts), Rule("mean"))
        for _ in range(2):  # the first sends the scorers
            begin = time.monotonic()
            for _ in range(5):
                service.ask([frames], indices, panel).result()
            took = time.monotonic() - begin
        assert 1.0 <= took < 1.5  # one after the other they would take 2.25 s
    finally:
        service.close()


def test_an_expert_that_cannot_load_is_one_error_and_the_others_end(cluster, config, tmp_path):
    broken = {**config.experts, "broken": {"encoder": f"ViT-B-32/{tmp_path}/none.safetensors"}}
    with pytest.raises((CheckpointError, PoolError), match="expert 'broken': "):
        start_service(config.model_copy(update={"experts": broken}), name="broken")
    assert not is_service_running("broken", config)


def test_experts_that_do_not_fit_together_are_refused_before_any_starts(cluster, config):
    greedy = config.model_copy(update={"serving": {"num_cpus_per_actor": 2}})
    with pytest.raises(PoolError, match=r"experts: asked for 6 CPUs \(soft 2, flat 2, dense 2\)"):
        ExpertPools.start(greedy, name="greedy")
    assert not is_service_running("greedy", greedy)
    assert len(bundles_of(greedy)) == 3


def test_a_pool_refuses_a_reward_with_experts(cluster, config):
    from rllib_vlm_reward.serving import RewardPool

    with pytest.raises(RewardError, match="expected a reward with one encoder"):
        RewardPool.start(config, name="one")


def test_pools_are_named_after_the_experts():
    assert pool_of("run", "large") == "run/large"
    assert pool_of("run", "") == "run"


class Pending:
    """An answer that comes when its pool says so."""

    def __init__(self, pool, size):
        self.pool, self.size, self.answered, self.given_up = pool, size, pool.answers, False

    def poll(self):
        return self.answered or self.given_up

    def result(self):
        if self.given_up or not self.answered:
            self.pool.waits += not self.given_up
            raise PoolError("late")
        return np.full(self.size, self.pool.score, np.float32)


@dataclasses.dataclass
class Pool:
    """A pool that answers at once, or not at all."""

    score: float = 0.5
    answers: bool = True
    waits: int = 0
    sent: list = dataclasses.field(default_factory=list)

    def submit(self, frames, goals, scorer, *, checked):
        self.sent.append(Pending(self, len(goals)))
        return self.sent[-1]

    def abandon(self):
        for pending in self.sent:
            pending.given_up = pending.given_up or not pending.answered


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def crew():
    """Returns a panel of two, their pools, members and clock, and a function that asks them."""
    experts = {"a": {"encoder": "small"}, "b": {"encoder": "base"}}
    panel = VLMRewardConfig(goals=GOALS, experts=experts).rater
    pools, clock = {"a": Pool(0.2), "b": Pool(0.6)}, Clock()
    members = [Member(name, None, 10.0, pool, clock) for name, pool in pools.items()]
    service = ExpertPools("crew", members)
    goals = np.zeros(2, np.int64)

    def ask():
        return service.ask([np.zeros((2, 8, 8, 3), np.uint8)], goals, panel)

    return ask, pools, clock


def scores_of(answer):
    return answer.result()[0, [0, 2, 3]].tolist()


def test_one_that_is_late_is_waited_for_once(crew):
    ask, pools, _ = crew
    pools["b"].answers = False
    pending = [ask() for _ in range(5)]
    for answer in pending:
        combined, a, b = scores_of(answer)
        assert combined == a == pytest.approx(0.2)
        assert np.isnan(b)
    assert pools["b"].waits == 1
    assert scores_of(ask())[0] == pytest.approx(0.2)
    assert len(pools["b"].sent) == 5  # nothing is sent to it for now


def test_it_comes_back_when_it_has_answered_one_request(crew):
    ask, pools, clock = crew
    pools["b"].answers = False
    scores_of(ask())
    clock.now += 11  # a request is sent to it again, and nobody waits for that
    assert scores_of(ask())[0] == pytest.approx(0.2)
    assert scores_of(ask())[0] == pytest.approx(0.2)
    assert len(pools["b"].sent) == 2
    pools["b"].answers = True
    pools["b"].sent[-1].answered = True
    assert scores_of(ask()) == pytest.approx([0.4, 0.2, 0.6])
    assert pools["b"].waits == 1


def test_it_is_asked_again_if_it_never_answers_the_request_that_tries_it(crew):
    ask, pools, clock = crew
    pools["b"].answers = False
    scores_of(ask())
    for tried in (2, 3):
        clock.now += 11
        for _ in range(2):
            assert scores_of(ask())[0] == pytest.approx(0.2)
        assert len(pools["b"].sent) == tried
    pools["b"].answers = pools["b"].sent[-1].answered = True
    assert scores_of(ask()) == pytest.approx([0.4, 0.2, 0.6])


def test_those_who_were_late_are_waited_for_if_nobody_else_is_there(crew):
    ask, pools, _ = crew
    pools["a"].answers = pools["b"].answers = False
    with pytest.raises(PoolError):
        ask().result()
    pools["b"].answers = True
    combined, a, b = scores_of(ask())
    assert np.isnan(a)
    assert combined == b == pytest.approx(0.6)


def test_without_any_answer_it_is_an_error_that_names_all(crew):
    ask, pools, _ = crew
    pools["a"].answers = pools["b"].answers = False
    with pytest.raises(PoolError, match=r"no expert answered\. a: late; b: late"):
        ask().result()


def test_an_error_of_the_model_names_the_expert(crew):
    ask, pools, _ = crew

    def fail(*_, **__):
        raise RewardError("scores: got nan")

    pools["b"].submit = fail
    with pytest.raises(RewardError, match="expert 'b': scores: got nan"):
        ask().result()
