"""A bonus in training, with real actors, recounted from the frames by another computation."""

import numpy as np
import pytest
import recount
from painted import BANK, GOALS
from ray.rllib.algorithms.algorithm import Algorithm

from rllib_vlm_reward.connectors.pipeline import reward_piece
from rllib_vlm_reward.plugin import add_vlm_reward
from rllib_vlm_reward.reward_model.clip import CLIPEncoder

WEIGHT, GAMMA = 7.0, 0.9
NOTHING = ("a floor", "nothing")
BONUS = {"kind": "focal", "weight": WEIGHT, "centre": [0.3, 0.9], "nothing": NOTHING}


def focal_table(vlm):
    """Return what the bonus reads from every bank frame for every goal, float64 [G, F]."""
    encoder = CLIPEncoder.load(vlm.encoder, precision="fp32")
    patches = encoder.tower.with_patches(BANK)[1].double().numpy()
    words = encoder.encode_texts([*GOALS, *NOTHING]).double().numpy()
    powers = np.exp(encoder.logit_scale * patches @ words.T)
    probability = powers / powers.sum(axis=-1, keepdims=True)  # [F, 7, 7, words]
    x, y = np.meshgrid((np.arange(7) + 0.5) / 7, (np.arange(7) + 0.5) / 7)
    kernel = np.exp(-4.5 * ((x - 0.3) ** 2 + (y - 0.9) ** 2))
    return (probability[..., :3] * kernel[:, :, None] / kernel.max()).mean(axis=(1, 2)).T


def expected_rewards(chunks, vlm):
    goals, focal, expected = recount.expected_rewards(chunks, vlm), WEIGHT * focal_table(vlm), []
    for chunk, goal in zip(chunks, goals, strict=True):
        numbers = focal[chunk.columns[4], chunk.columns[3]]
        if not vlm.bonus.potential:
            expected.append(goal + numbers[1:])
            continue
        if chunk.terminated:
            numbers[-1] = 0.0
        expected.append(goal + GAMMA * numbers[1:] - numbers[:-1])
    return expected


def reward(vlm_config, pool, mode, potential):
    return vlm_config(
        mode=mode,
        templates=[{"noun": "{}"}],
        bonus={**BONUS, "potential": potential},
        serving={"pool_name": pool},
    )


@pytest.mark.parametrize(
    ("mode", "potential"), [("deferred", False), ("deferred", True), ("synchronous", True)]
)
def test_every_reward_is_the_goals_and_the_bonus(mode, potential, vlm_config, ppo, shared_pool):
    vlm = reward(vlm_config, shared_pool, mode, potential)
    config = ppo(num_env_runners=2, batch=600, episode_lookback_horizon=3).training(gamma=GAMMA)
    algorithm = add_vlm_reward(config, vlm).build_algo()
    try:
        while sum(len(chunk.rewards) for chunk in recount.Witness.chunks) < 1_500:
            result = algorithm.train()
    finally:
        algorithm.stop()
    chunks = list(recount.Witness.chunks)
    got = [chunk.rewards for chunk in chunks]
    assert recount.mismatches(got, expected_rewards(chunks, vlm)) == 0
    assert recount.wrong_lookbacks(chunks) == 0
    assert sum(chunk.t_started > 0 for chunk in chunks) > 10
    assert sum(chunk.terminated for chunk in chunks) > 5
    # The recount would notice if nothing were paid, or the other of the two ways.
    other = vlm.model_copy(update={"bonus": {"potential": not potential}})
    assert recount.mismatches(got, recount.expected_rewards(chunks, vlm)) > 1_000
    assert recount.mismatches(got, expected_rewards(chunks, other)) > 1_000
    env_runners = result["env_runners"]
    paid = env_runners["vlm_reward"]["vlm_return_mean"]
    paid += env_runners["vlm_reward"]["bonus_return_mean"]
    assert paid == pytest.approx(env_runners["episode_return_mean"], rel=1e-3)


def answers_of(algorithm):
    """Return what a few frames are answered, to the last bit."""
    piece = reward_piece(algorithm.env_runner)
    goals = np.arange(64, dtype=np.int64) % 3
    frames = np.ascontiguousarray(BANK[:64])
    return piece.pool.score(frames, goals, piece._streams[None].rater).tobytes()


def test_a_restored_bonus_pays_the_same_to_the_bit(vlm_config, ppo, shared_pool, tmp_path):
    vlm = reward(vlm_config, shared_pool, "synchronous", potential=True)
    algorithm = add_vlm_reward(ppo().training(gamma=GAMMA), vlm).build_algo()
    algorithm.train()
    answers = answers_of(algorithm)
    path = algorithm.save_to_path(tmp_path / "checkpoint")
    algorithm.stop()
    recount.Witness.chunks.clear()
    restored = Algorithm.from_checkpoint(str(path))
    try:
        assert answers_of(restored) == answers
        for _ in range(2):
            restored.train()
    finally:
        restored.stop()
    chunks = list(recount.Witness.chunks)
    assert any(not chunk.t_started for chunk in chunks)
    got = [chunk.rewards for chunk in chunks]
    assert recount.mismatches(got, expected_rewards(chunks, vlm)) == 0
