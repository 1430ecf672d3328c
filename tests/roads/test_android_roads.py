"""Rewards on the phone, recounted on the learner's side from the frames, in three ways."""

import numpy as np
import pytest
import recount
from algorithms import ppo

from rllib_vlm_reward.plugin import add_vlm_reward
from rllib_vlm_reward.reward_model.clip import CLIPEncoder
from rllib_vlm_reward.reward_model.model import RewardModel

pytestmark = pytest.mark.android
WAYS = {
    "sync": {"mode": "synchronous"},
    "async": {"gym_env_vectorize_mode": "async"},
    "remote": {"num_env_runners": 2},
}


@pytest.mark.parametrize("way", WAYS)
def test_every_reward_on_the_phone_is_the_frames_own(way, vlm_config, shared_pool):
    from android_world import GOALS, AndroidWorld  # needs the extra

    given = {"num_env_runners": 0, "num_envs_per_env_runner": 4, **WAYS[way]}
    vlm = vlm_config(
        goals=GOALS,
        mode=given.pop("mode", "deferred"),
        frames={"source": "info:rgb"},
        serving={"pool_name": shared_pool},
    )
    recount.Witness.chunks.clear()
    config = (
        ppo("one")
        .environment(AndroidWorld)
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
    expected = [expected_rewards(chunk, model, vlm.scorer) for chunk in chunks]
    assert recount.mismatches([chunk.rewards for chunk in chunks], expected) == 0
    assert recount.jumps(chunks) == recount.wrong_starts(chunks) == 0
    late = np.roll(np.concatenate([chunk.rewards for chunk in chunks]), 1)
    assert recount.mismatches([late], expected) > 5  # most taps change nothing


def expected_rewards(chunk, model, scorer):
    """Return what each step should pay: the score of the frame after it, float32 ``[T]``."""
    frames = chunk.extra[1:].astype(np.uint8).reshape(-1, 160, 90, 3)
    return model.score(frames, chunk.columns[4, 1:], scorer)
