"""The policy's map in training, with real actors, recounted from the frames in another way."""

import numpy as np
import pytest
import recount
from painted import BANK, GOALS
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.connectors.env_to_module import FlattenObservations

from rllib_vlm_reward.plugin import add_vlm_reward
from rllib_vlm_reward.reward_model.clip import CLIPEncoder
from rllib_vlm_reward.serving.pool import RewardPool

BONUS = {"kind": "focal", "weight": 7.0, "nothing": ["a floor", "nothing"]}


def map_table(vlm):
    """Return the map of every bank frame for every goal, float64 [G, F, 49]."""
    encoder = CLIPEncoder.load(vlm.encoder, precision="fp32")
    patches = encoder.tower.with_patches(BANK)[1].double().numpy()
    nothing = ("nothing",) if vlm.bonus is None else vlm.bonus.nothing
    words = encoder.encode_texts([*GOALS, *nothing]).double().numpy()
    powers = np.exp(encoder.logit_scale * patches @ words.T)
    probability = powers / powers.sum(axis=-1, keepdims=True)  # [F, 7, 7, words]
    return probability[..., :3].reshape(len(BANK), 49, 3).transpose(2, 0, 1)


def reward(vlm_config, pool, bonus):
    return vlm_config(
        mode="synchronous",
        goal_embedding=True,
        goal_map=True,
        templates=[{"noun": "{}"}],
        bonus=bonus,
        serving={"pool_name": pool},
    )


def flat(env, spaces, device):
    return [FlattenObservations()]


def furthest(chunks, vlm):
    """Return by how much a map in an observation differs at most from the recount."""
    table, worst = map_table(vlm), 0.0
    for chunk in chunks:
        seen = chunk.extra[:, 16:]  # behind the goal's embedding
        assert seen.shape[1] == 49
        expected = table[chunk.columns[4], chunk.columns[3]]
        worst = max(worst, float(np.abs(seen - expected).max()))
    assert float(table.std(axis=(0, 1)).max()) > 1e-3, "or any map would do"
    return worst


def frames_seen(pool, vlm):
    """Return how many frames the actors have been sent, whether encoded or in their cache."""
    stats = RewardPool.connect(pool, vlm).stats()
    return sum(each["frames_encoded"] + each["cache_hits"] for each in stats)


@pytest.mark.parametrize(
    "bonus", [None, BONUS, {**BONUS, "potential": True}], ids=["alone", "bonus", "potential"]
)
def test_every_map_is_that_of_the_frame_and_sent_with_its_reward(
    bonus, vlm_config, ppo, shared_pool
):
    vlm = reward(vlm_config, shared_pool, bonus)
    config = ppo(num_env_runners=2, batch=600, env_to_module_connector=flat)
    algorithm = add_vlm_reward(config, vlm).build_algo()
    before = frames_seen(shared_pool, vlm)
    try:
        while sum(len(chunk.rewards) for chunk in recount.Witness.chunks) < 1_200:
            algorithm.train()
        after = frames_seen(shared_pool, vlm)
    finally:
        algorithm.stop()
    chunks = list(recount.Witness.chunks)
    assert furthest(chunks, vlm) < 1e-5
    assert sum(chunk.t_started > 0 for chunk in chunks) > 10  # fragments cut episodes
    assert len({chunk.columns[0, 0] for chunk in chunks}) == 6  # of two env runners
    # A frame is sent once for reward, bonus and map; so is that of a reset. Six episodes may have
    # been reset and not stepped yet.
    steps = sum(len(chunk.rewards) for chunk in chunks)
    resets = sum(chunk.t_started == 0 for chunk in chunks)
    assert 0 <= after - before - steps - resets <= 6
    # The map of another goal would be noticed.
    for chunk in chunks:
        chunk.columns[4] = (chunk.columns[4] + 1) % 3
    assert furthest(chunks, vlm) > 1e-3


def test_a_restored_policy_sees_the_same_maps(vlm_config, ppo, shared_pool, tmp_path):
    vlm = reward(vlm_config, shared_pool, None)
    algorithm = add_vlm_reward(ppo(env_to_module_connector=flat), vlm).build_algo()
    algorithm.train()
    path = algorithm.save_to_path(tmp_path / "checkpoint")
    algorithm.stop()
    recount.Witness.chunks.clear()
    restored = Algorithm.from_checkpoint(str(path))
    try:
        restored.train()
    finally:
        restored.stop()
    assert furthest(list(recount.Witness.chunks), vlm) < 1e-5
