"""Rewards in the house and on the phone, recounted on the learner's side, in three ways."""

import numpy as np
import pytest
import recount
from algorithms import ppo
from worlds import HouseWorld, PhoneWorld

from rllib_vlm_reward.plugin import add_vlm_reward
from rllib_vlm_reward.reward_model.clip import CLIPEncoder
from rllib_vlm_reward.reward_model.model import RewardModel

WAYS = {
    "sync": {"mode": "synchronous"},
    "async": {"gym_env_vectorize_mode": "async"},
    "remote": {"num_env_runners": 2},
}


# Each world, and how many of 136 rewards at least would differ if they came a step late.
WORLDS = [
    pytest.param(HouseWorld, 68, marks=pytest.mark.house, id="house"),
    pytest.param(PhoneWorld, 34, marks=pytest.mark.android, id="phone"),  # many a tap does nothing
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("world", "least"), WORLDS)
def test_every_reward_is_the_frames_own(world, least, way, vlm_config, shared_pool):
    given = {"num_env_runners": 0, "num_envs_per_env_runner": 4, **WAYS[way]}
    vlm = vlm_config(
        goals=world.GOALS,
        mode=given.pop("mode", "deferred"),
        frames={"source": "info:rgb"},
        serving={"pool_name": shared_pool},
    )
    recount.Witness.chunks.clear()
    config = (
        ppo("one")
        .environment(world)
        .env_runners(rollout_fragment_length=17, **given)
        .rl_module(model_config={"fcnet_hiddens": [8]})
    )
    algorithm = add_vlm_reward(config, vlm).build_algo()
    try:
        while sum(len(chunk.rewards) for chunk in recount.Witness.chunks) < 136:
            algorithm.train()
    finally:
        algorithm.stop()
    chunks = list(recount.Witness.chunks)
    model = RewardModel(CLIPEncoder.load(vlm.encoder, precision=vlm.serving.precision))
    expected = [expected_rewards(chunk, model, vlm.scorer, world.SHAPE) for chunk in chunks]
    assert recount.mismatches([chunk.rewards for chunk in chunks], expected) == 0
    assert recount.jumps(chunks) == recount.wrong_starts(chunks) == 0
    late = np.roll(np.concatenate([chunk.rewards for chunk in chunks]), 1)
    assert recount.mismatches([late], expected) > least


def expected_rewards(chunk, model, scorer, shape):
    """Return what each step should pay: the score of the frame after it, float32 ``[T]``."""
    frames = chunk.extra[1:].astype(np.uint8).reshape(-1, *shape)
    return model.score(frames, chunk.columns[4, 1:], scorer)
