"""Hints in training, with real actors and two env runners, recounted in another way."""

import hint_recount
import numpy as np
import pytest
import recount
from hint_recount import HINTS, TEXTS, NumberedEnv
from painted import BANK
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.appo import APPOConfig

from rllib_vlm_reward.connectors.pipeline import reward_piece
from rllib_vlm_reward.plugin import add_vlm_reward
from rllib_vlm_reward.reward_model.clip import CLIPEncoder

# What each hint's statement is compared with, written by hand.
COMPARED = {
    "a dark wall": ["a floor"],
    "some blue paint": ["some green paint"],
    "much blue paint": ["much green paint"],
    "some green paint": ["some blue paint"],
    "much green paint": ["much blue paint"],
}
OF_GOAL = (["a dark wall"], ["some blue paint", "much blue paint"])
OF_GOAL = (*OF_GOAL, ["some green paint", "much green paint"])


def embeddings_of(vlm, texts):
    return CLIPEncoder.load(vlm.encoder, precision="fp32").encode_texts(texts).double().numpy()


def probabilities(vlm):
    """Return the probability of each goal's hints in each frame, float64 [G, F, 2]."""
    encoder = CLIPEncoder.load(vlm.encoder, precision="fp32")
    frames = encoder.encode_frames(BANK).double().numpy()
    found = np.full((3, len(BANK), 2), -1.0)
    for goal, statements in enumerate(OF_GOAL):
        for place, text in enumerate(statements):
            words = embeddings_of(vlm, [text, *COMPARED[text]])
            powers = np.exp(frames @ words.T / vlm.head.temperature)
            found[goal, :, place] = powers[:, 0] / powers.sum(axis=1)
    return found


def quiet_threshold(found):
    """Return a threshold that is far from all scores, and with which hints hold in some frames.

    That of "some green paint" holds in all.
    """
    scores = np.sort(found[(found > 0.484) & (found < 0.492)])
    gap = np.diff(scores).argmax()
    return float(scores[gap : gap + 2].mean())


def reward(vlm_config, pool, mode, **changes):
    vlm = vlm_config(mode=mode, serving={"pool_name": pool})
    found = probabilities(vlm)
    threshold = quiet_threshold(found)
    hints = {**HINTS, "threshold": threshold, **changes}
    return vlm.model_copy(update={"hints": hints}), found > threshold


def train(algorithm, iterations):
    """Train, and return the iteration of each chunk that the learner saw."""
    found = []
    for iteration in range(iterations):
        result = algorithm.train()
        found += [iteration] * (len(recount.Witness.chunks) - len(found))
    return found, result


def two_runners(ppo):
    config = ppo(NumberedEnv, num_env_runners=2, batch=400)
    # What an env runner reports later than this (10 s in RLlib 2.60) counts an iteration later.
    config.sync_filters_on_rollout_workers_timeout_s = 120.0
    return config.evaluation(evaluation_interval=1, evaluation_duration=4)


@pytest.mark.parametrize(("mode", "decay"), [("deferred", "count"), ("synchronous", "rnd")])
def test_every_hint_is_paid_once_and_less_each_time(mode, decay, vlm_config, ppo, shared_pool):
    vlm, holds = reward(vlm_config, shared_pool, mode, decay=decay)
    algorithm = add_vlm_reward(two_runners(ppo), vlm).build_algo()
    try:
        iterations, result = train(algorithm, 3)
        counts = reward_piece(algorithm.env_runner)._streams[None].hints.novelty.counts
    finally:
        algorithm.stop()
    chunks = list(recount.Witness.chunks)
    factor = hint_recount.by_count
    if decay == "rnd":
        factor = hint_recount.by_embedding(embeddings_of(vlm, list(TEXTS)))
    paid, times = hint_recount.expected(chunks, holds, factor, iterations=iterations)
    goals = recount.expected_rewards(chunks, vlm)
    got = [chunk.rewards for chunk in chunks]
    assert recount.mismatches(got, [a + b for a, b in zip(goals, paid, strict=True)]) == 0
    assert recount.wrong_lookbacks(chunks) == 0
    assert len({chunk.columns[0, 0] // hint_recount.ROWS for chunk in chunks}) == 2
    assert times[:3].min() > 1
    assert times[3] == 0  # it holds in all frames of resets
    assert times.sum() > 30
    np.testing.assert_array_equal(counts, times)  # of both env runners, on the driver
    # The recount would notice if env runners did not know of each other.
    apart, _ = hint_recount.expected(chunks, holds, factor)
    assert recount.mismatches(paid, apart) > 10
    evaluated = result["evaluation"]["env_runners"]
    assert evaluated["vlm_reward"]["hint_return_mean"] == 0
    paid_in_evaluation = evaluated["vlm_reward"]["vlm_return_mean"]
    assert paid_in_evaluation == pytest.approx(evaluated["episode_return_mean"], rel=1e-3)
    metrics = result["env_runners"]["vlm_reward"]
    total = metrics["vlm_return_mean"] + metrics["hint_return_mean"]
    assert total == pytest.approx(result["env_runners"]["episode_return_mean"], rel=1e-3)


def test_a_restored_run_pays_on_where_it_stopped(vlm_config, ppo, shared_pool, tmp_path):
    vlm, holds = reward(vlm_config, shared_pool, "deferred", decay="rnd")

    def account(algorithm):
        piece = reward_piece(algorithm.env_runner)
        hints, scorer = piece._streams[None].hints, piece._streams[None].rater
        frames, goals = np.ascontiguousarray(BANK[:64]), np.arange(64, dtype=np.int64) % 3
        answers = piece.pool.score(frames, goals, scorer).tobytes()
        return hints.get_state(), hints.novelty.counts.tolist(), answers

    algorithm = add_vlm_reward(ppo(NumberedEnv), vlm).build_algo()
    algorithm.train()
    before = account(algorithm)
    path = algorithm.save_to_path(tmp_path / "checkpoint")
    algorithm.train()
    assert account(algorithm) != before
    algorithm.restore_from_path(path)
    assert account(algorithm)[:2] == before[:2]  # what came after it is forgotten
    algorithm.stop()
    first = np.array(before[1])
    recount.Witness.chunks.clear()
    restored = Algorithm.from_checkpoint(str(path))
    try:
        assert account(restored) == before
        restored.train()
        after = account(restored)
    finally:
        restored.stop()
    chunks = list(recount.Witness.chunks)
    by_embedding = hint_recount.by_embedding(embeddings_of(vlm, list(TEXTS)))
    paid, times = hint_recount.expected(
        chunks, holds, lambda own, hint: by_embedding(first + own, hint)
    )
    goals = recount.expected_rewards(chunks, vlm)
    got = [chunk.rewards for chunk in chunks]
    assert recount.mismatches(got, [a + b for a, b in zip(goals, paid, strict=True)]) == 0
    assert after[1] == (first + times).tolist()
    assert len(after[0]) == 2  # the counts of the env runner that ended stay


def test_a_checkpoint_of_an_asynchronous_algorithm_has_the_counts(vlm_config, shared_pool):
    vlm, _ = reward(vlm_config, shared_pool, "deferred")
    config = (
        APPOConfig()
        .environment(NumberedEnv)
        .env_runners(num_env_runners=2, num_envs_per_env_runner=3, rollout_fragment_length=17)
        .training(train_batch_size_per_learner=100, broadcast_interval=1)
        .rl_module(model_config={"fcnet_hiddens": [8]})
        .reporting(min_time_s_per_iteration=0, min_sample_timesteps_per_iteration=200)
    )
    algorithm = add_vlm_reward(config, vlm).build_algo()
    try:
        counts = {}
        for _ in range(40):  # its states are merged whenever the learner has new weights
            if len(counts) < 2:
                algorithm.train()
                counts = reward_piece(algorithm.env_runner).get_state()["hints"]["None"]
    finally:
        algorithm.stop()
    assert len(counts) == 2  # those of both env runners
    assert min(total for total, _ in counts.values()) > 0


@pytest.mark.parametrize("unit", ["episodes", "timesteps"])
def test_an_evaluation_on_the_env_runner_of_the_training_changes_nothing(
    unit, vlm_config, ppo, shared_pool
):
    vlm, _ = reward(vlm_config, shared_pool, "deferred")
    vlm = vlm.model_copy(update={"normalize_rewards": True})
    config = ppo(NumberedEnv).evaluation(evaluation_duration=60, evaluation_duration_unit=unit)
    algorithm = add_vlm_reward(config, vlm).build_algo()
    try:
        algorithm.train()
        piece = reward_piece(algorithm.env_runner)
        before, counts = piece.get_state(), piece._streams[None].hints.novelty.counts.copy()
        metrics = algorithm.evaluate()["env_runners"]
        assert piece.get_state() == before
        algorithm.train()
        grown = piece._streams[None].hints.novelty.counts - counts
    finally:
        algorithm.stop()
    assert metrics["num_episodes"] > 0
    assert metrics["vlm_reward"]["hint_return_mean"] == 0
    paid = metrics["vlm_reward"]["vlm_return_mean"]
    assert paid == pytest.approx(metrics["episode_return_mean"], rel=1e-3)
    assert grown.sum() > 0
