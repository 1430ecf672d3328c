"""Several experts in training: every reward recounted from the frames by another computation."""

import itertools

import numpy as np
import pydantic
import pytest
import ray
import recount
from painted_experts import EXPERTS, NAMES, calibration, combined, tables
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.connectors.connector_v2 import ConnectorV2

from rllib_vlm_reward.connectors.pipeline import reward_piece
from rllib_vlm_reward.errors import CheckpointError, LabelError, PoolError, RewardError
from rllib_vlm_reward.plugin import add_vlm_reward
from rllib_vlm_reward.serving.pool import RewardPool
from rllib_vlm_reward.serving.router import NAMESPACE
from rllib_vlm_reward.serving.service import start_service

POOL = "panel"
SERVING = {"num_gpus_per_actor": 0, "num_cpus_per_actor": 0, "precision": "fp32"}


@pytest.fixture(scope="module")
def plain(vlm_config):
    return vlm_config(experts=EXPERTS, serving={**SERVING, "pool_name": POOL})


@pytest.fixture(scope="module")
def service(cluster, plain):
    service = start_service(plain, name=POOL)
    yield service
    service.close()


@pytest.fixture(scope="module")
def said(plain):
    """What each expert says of every bank frame for every goal, float32 [E, G, F]."""
    return tables(plain)


class Listener(ConnectorV2):
    """A learner connector that keeps the chunks, and what the experts said of their steps."""

    heard = []  # noqa: RUF012

    def __call__(self, *, rl_module, batch, episodes, **kwargs):
        every = self.single_agent_episode_iterator(episodes, agents_that_stepped_only=False)
        for episode in every:
            infos = episode.get_infos()[:-1]  # PPO lengthened it by one step
            self.heard.append((recount.Chunk.of(episode), [i.get("expert_scores") for i in infos]))
        return batch


def listen(observation_space, action_space):
    return Listener(observation_space, action_space)


def train(ppo, vlm, steps=900, num_env_runners=2, meanwhile=None, **kwargs):
    """Train until a few steps have reached the learner; return what it heard, and the result."""
    Listener.heard.clear()
    config = ppo(num_env_runners=num_env_runners, batch=300, episode_lookback_horizon=3, **kwargs)
    algorithm = add_vlm_reward(config.learners(learner_connector=listen), vlm).build_algo()
    results = []
    try:
        while sum(len(chunk.rewards) for chunk, _ in Listener.heard) < steps:
            results.append(algorithm.train())
            if meanwhile is not None:
                meanwhile(algorithm, len(results))
    finally:
        algorithm.stop()
    return list(Listener.heard), results


def mean_of(row, _):
    return np.mean([*row.values()])


def check(heard, said, pay):
    """Recount each step from the frame that its observation names; return who answered when."""
    answered = []
    for chunk, infos in heard:
        for t, reward in enumerate(chunk.rewards, 1):
            goal, frame = chunk.columns[4, t], chunk.columns[3, t]
            for name, score in infos[t].items():
                assert score == pytest.approx(said[NAMES.index(name), goal, frame], abs=1e-5)
            row = {name: said[NAMES.index(name), goal, frame] for name in infos[t]}
            assert reward == pytest.approx(pay(row, goal), abs=1e-5)
            answered.append(tuple(infos[t]))
        assert infos[0] is None or chunk.t_started
    return answered


@pytest.mark.parametrize("mode", ["deferred", "synchronous"])
def test_every_reward_is_the_mean_of_the_experts(mode, plain, service, said, ppo):
    heard, results = train(ppo, plain.model_copy(update={"mode": mode}))
    assert set(check(heard, said, mean_of)) == {NAMES}
    assert recount.wrong_lookbacks([chunk for chunk, _ in heard]) == 0
    group = results[-1]["env_runners"]["vlm_reward"]
    # The recount would notice if only one of them were paid, or the same frame shown to all.
    rewards = np.concatenate([chunk.rewards for chunk, _ in heard])
    for expert in range(3):
        alone = [said[expert, c.columns[4, 1:], c.columns[3, 1:]] for c, _ in heard]
        assert (np.abs(rewards - np.concatenate(alone)) > 1e-3).mean() > 0.9
    assert set(group["experts"]) == {*NAMES}
    assert {each["answered"] for each in group["experts"].values()} == {1.0}
    rows = [said[:, c.columns[4, 1:], c.columns[3, 1:]] for c, _ in heard]
    rows = np.concatenate(rows, axis=1)
    assert group["disagreement"] == pytest.approx(rows.std(axis=0).mean(), rel=0.1)
    for expert, name in enumerate(NAMES):
        mean = group["experts"][name]["score_mean"]
        assert mean == pytest.approx(rows[expert].mean(), rel=0.1)
    assert group["alarm"]["expert"] == 0


def test_a_calibration_pays_by_goal_and_threshold(plain, service, said, ppo):
    vlm = plain.model_copy(update={"calibration": calibration(plain)})
    assert vlm.threshold_in_force == 0.5

    def pay(row, goal):
        probability = combined(row, goal)
        assert abs(probability - 0.5) > 1e-6
        return float(probability > 0.5)

    heard, _ = train(ppo, vlm)
    assert set(check(heard, said, pay)) == {NAMES}
    fired = np.concatenate([chunk.rewards for chunk, _ in heard])
    assert 0.05 < fired.mean() < 0.95
    by_mean = [
        mean_of(dict(zip(NAMES, row, strict=True)), 0) > 0.5
        for row in np.concatenate(
            [said[:, c.columns[4, 1:], c.columns[3, 1:]] for c, _ in heard], 1
        ).T
    ]
    assert (np.array(by_mean) != fired).any()


def test_no_reward_is_lost_if_an_expert_dies(plain, cluster, said, ppo, caplog):
    vlm = plain.model_copy(update={"serving": {"pool_name": None}})
    vlm = vlm.model_copy(update={"calibration": calibration(vlm)})

    def kill(algorithm, iteration):
        if iteration == 2:
            name = reward_piece(algorithm.env_runner).pool.name
            ray.kill(ray.get_actor(f"{name}/flat/0", namespace=NAMESPACE))

    heard, results = train(
        ppo, vlm, steps=1800, num_env_runners=1, meanwhile=kill, create_local_env_runner=True
    )
    answered = check(heard, said, lambda row, goal: float(combined(row, goal) > 0.5))
    assert set(answered) == {NAMES, ("soft", "negative")}
    assert set(answered[-200:]) == {("soft", "negative")}  # chunks of a fragment overlap
    assert all(result["env_runners"]["num_env_steps_sampled"] > 0 for result in results)
    group = results[-1]["env_runners"]["vlm_reward"]
    assert group["alarm"]["expert"] == 1
    assert any("expert" in each and "'flat'" in each for each in caplog.messages)
    # The frames of the painted env have one colour, and so have their negatives.
    (blank,) = (each for each in caplog.messages if "reward alarm, blank" in each)
    assert "negative_frames of sub-env" in blank


def test_a_restored_run_pays_the_same(plain, service, said, ppo, tmp_path):
    vlm = plain.model_copy(update={"calibration": calibration(plain)})
    Listener.heard.clear()
    config = ppo().learners(learner_connector=listen)
    algorithm = add_vlm_reward(config, vlm).build_algo()
    algorithm.train()
    path = algorithm.save_to_path(tmp_path / "checkpoint")
    algorithm.stop()
    Listener.heard.clear()
    restored = Algorithm.from_checkpoint(str(path))
    try:
        restored.train()
    finally:
        restored.stop()
    check(Listener.heard, said, lambda row, goal: float(combined(row, goal) > 0.5))
    other = add_vlm_reward(ppo(), plain).build_algo()
    try:
        with pytest.raises(RewardError, match="checkpoint: got one that was written with another"):
            other.restore_from_path(str(path))
    finally:
        other.stop()


def test_each_set_of_experts_is_combined_by_its_own_weights_and_threshold(plain):
    combiner = plain.model_copy(update={"calibration": calibration(plain)}).combiner
    rng = np.random.default_rng(0)
    for size in (1, 2, 3):
        for names in itertools.combinations(NAMES, size):
            scores = np.where(np.isin(NAMES, names), rng.random((30, 3)), np.nan)
            goals = np.arange(30) % 3
            rows = [{name: row[NAMES.index(name)] for name in names} for row in scores]
            expected = [combined(row, goal) for row, goal in zip(rows, goals, strict=True)]
            np.testing.assert_allclose(combiner(scores, goals), expected, atol=1e-9)


def test_a_calibration_of_other_experts_is_refused(plain):
    given = calibration(plain)
    fewer = {name: EXPERTS[name] for name in NAMES[:2]}
    with pytest.raises(
        pydantic.ValidationError, match=r"made with the experts .*'soft'.*has \['flat', 'soft'\]"
    ):
        plain.model_copy(update={"experts": fewer, "calibration": given})
    changed = {**EXPERTS, "flat": {"head": "dense"}}
    with pytest.raises(pydantic.ValidationError, match="expert 'flat': it was made with head"):
        plain.model_copy(update={"experts": changed, "calibration": given})
    seen = {**EXPERTS, "negative": {"frames": {"source": "info:rgb"}}}
    with pytest.raises(
        pydantic.ValidationError, match=r"expert 'negative': it was made with frames\.source"
    ):
        plain.model_copy(update={"experts": seen, "calibration": given})


def test_a_calibration_of_other_weights_stops_the_build(plain, service, ppo):
    given = calibration(plain)
    experts = {name: each.model_dump() for name, each in given.experts.items()}
    experts["flat"]["weights"] = "0" * 64
    vlm = plain.model_copy(update={"calibration": given.model_copy(update={"experts": experts})})
    with pytest.raises(LabelError, match="expert 'flat': it was made with the encoder"):
        add_vlm_reward(ppo(), vlm).build_algo()


def test_an_expert_whose_actors_do_not_answer_is_not_trained_with(plain, service, ppo, monkeypatch):
    describe = RewardPool.describe

    def is_late(pool):
        if pool.name == "panel/flat":
            raise PoolError("late")
        return describe(pool)

    monkeypatch.setattr(RewardPool, "describe", is_late)
    with pytest.raises(PoolError, match=r"no reward actor of the experts \['flat'\] answers"):
        add_vlm_reward(ppo(), plain).build_algo()


def test_an_expert_that_cannot_load_is_one_error_at_build(plain, cluster, ppo, tmp_path):
    broken = {**EXPERTS, "broken": {"encoder": f"ViT-B-32/{tmp_path}/none.safetensors"}}
    with pytest.raises((CheckpointError, PoolError), match=r"none\.safetensors"):
        add_vlm_reward(ppo(), plain.model_copy(update={"experts": broken})).build_algo()
