"""The precision that is chosen on real frames goes with the scorer, so that all actors agree."""

import dataclasses
import logging
import os
import re
import signal
import time

import numpy as np
import pytest
from weighted import Weighted

from rllib_vlm_reward.errors import RewardError
from rllib_vlm_reward.reward_model.clip import CLIPEncoder
from rllib_vlm_reward.reward_model.heads import Cosine, Softmax
from rllib_vlm_reward.reward_model.model import RewardModel
from rllib_vlm_reward.reward_model.precision import TOLERANCE
from rllib_vlm_reward.reward_model.scorer import Scorer
from rllib_vlm_reward.serving import RewardPool
from rllib_vlm_reward.serving import pool as pools

FRAMES = np.random.default_rng(3).integers(0, 256, (24, 64, 64, 3), np.uint8)
INDICES = np.zeros(4, np.int64)


@pytest.fixture(scope="module")
def uneven(cluster, config):
    """A pool of one actor on a device with bf16, and one on a device without."""
    serving = config.serving.model_copy(update={"precision": "auto", "num_cpus_per_actor": 0})
    changes = {"encoder": "lowered.Uneven", "serving": serving}
    pool = RewardPool.start(config.model_copy(update=changes), name="uneven")
    yield pool
    pool.close()


@pytest.fixture(scope="module")
def models():
    """The models in process, by their precision."""
    load = CLIPEncoder.load
    return {name: RewardModel(load("small", precision=name)) for name in ("fp32", "bf16")}


def scores_of_both(pool, scorer):
    """Score the same frames by each actor, which the balancer chooses between."""
    found, counted = [], [row["frames"] for row in pool.stats()]
    for start in range(0, 24, 4):  # unknown frames, so that nothing comes from the cache
        found.append(pool.score(FRAMES[start : start + 4], INDICES, scorer))
    assert all(new["frames"] > old for new, old in zip(pool.stats(), counted, strict=True))
    return np.concatenate(found)


def scores_of(model, scorer):
    parts = [FRAMES[start : start + 4] for start in range(0, 24, 4)]
    return np.concatenate([model.score(part, INDICES, scorer) for part in parts])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_actors_of_other_devices_agree_on_the_scorers_precision(uneven, models, scorer, precision):
    carried = Scorer(scorer.goals, Softmax(0.5), precision)
    exact, other = (models[name] for name in (precision, {"fp32": "bf16"}.get(precision, "fp32")))
    found, plain = scores_of_both(uneven, carried), dataclasses.replace(carried, precision=None)
    np.testing.assert_allclose(found, scores_of(exact, plain), rtol=0, atol=1e-6)
    assert np.abs(found - scores_of(other, plain)).max() > 1e-5


def test_a_restarted_actor_uses_the_scorers_precision(uneven, models, scorer):
    carried = Scorer(scorer.goals, Cosine(), "fp32")
    plain = dataclasses.replace(carried, precision=None)
    before = uneven.describe()[0]
    os.kill(before["pid"], signal.SIGKILL)
    deadline = time.monotonic() + 120
    while before["pid"] in (pids := [each["pid"] for each in uneven.describe()]) or len(pids) < 2:
        assert time.monotonic() < deadline
    assert {each["precision"] for each in uneven.describe()} == {"bf16", "fp32"}
    found = scores_of_both(uneven, carried)
    np.testing.assert_allclose(found, scores_of(models["fp32"], plain), rtol=0, atol=1e-6)


def test_a_pool_of_uneven_devices_takes_fp32(uneven, scorer, caplog):
    assert uneven.choose_precision(scorer, lambda: pytest.fail("no need to play")) == "fp32"
    assert "the actors' devices differ (bf16, fp32)" in caplog.text


def test_a_pool_without_a_lower_precision_has_nothing_to_measure(pool, cluster, config, scorer):
    assert pool.choose_precision(scorer, lambda: pytest.fail("its precision is named")) is None
    auto = config.serving.model_copy(update={"precision": "auto"})
    client = RewardPool.connect("pool", config.model_copy(update={"serving": auto}))
    assert client.choose_precision(scorer, lambda: pytest.fail("nothing to measure")) == "fp32"


@pytest.mark.parametrize("drift", [0.019, 0.03])
def test_a_named_precision_is_checked_on_the_envs_frames(pool, config, scorer, monkeypatch, drift):
    measured = []
    monkeypatch.setattr(pools, "await_drift", lambda *given: measured.append(given) or drift)
    named = config.serving.model_copy(update={"precision": "bf16"})
    client = RewardPool.connect("pool", config.model_copy(update={"serving": named}))
    if drift > TOLERANCE:
        says = r"bf16 changes scores of Softmax.* by 0\.030 .*mean over 24 frames of the env"
        with pytest.raises(RewardError, match=says):
            client.choose_precision(scorer, lambda: FRAMES)
    else:
        assert client.choose_precision(scorer, lambda: FRAMES) is None
    ((_, frames, _),) = measured
    assert frames is FRAMES
    assert client.choose_precision(scorer, lambda: None) is None


def test_what_is_measured_decides(cluster, config, models, scorer, caplog):
    """The cosine, which bf16 hardly moves, and a thousand times the cosine."""
    alone = {"precision": "auto", "num_actors": 1, "num_cpus_per_actor": 0}
    one = config.serving.model_copy(update=alone)
    changes = {"encoder": "lowered.Lowered", "serving": one}
    pool = RewardPool.start(config.model_copy(update=changes), name="lowered")
    prompts = models["fp32"].embed_texts([goal.prompt for goal in scorer.goals.goals])
    exact, low = (models[name].embed_frames(FRAMES, scorer) @ prompts.T for name in models)
    try:
        for factor, expected in ((1, "bf16"), (1000, "fp32")):
            head = Weighted(np.full(64, factor, np.float32))
            caplog.clear()
            with caplog.at_level(logging.INFO, logger="rllib_vlm_reward"):
                chosen = pool.choose_precision(Scorer(scorer.goals, head), lambda: FRAMES)
            assert chosen == expected
            drift = factor * np.abs(exact - low).max(axis=1).mean()
            assert (drift <= TOLERANCE) == (expected == "bf16")
            found = re.search(r"auto: (\w+) for .*scores by (\S+) compared", caplog.text, re.DOTALL)
            assert found[1] == expected
            assert float(found[2]) == pytest.approx(drift, rel=0.01, abs=1e-4)
            assert "mean over 24 frames of the env" in caplog.text
        assert pool.choose_precision(scorer, lambda: None) is None
    finally:
        pool.close()
