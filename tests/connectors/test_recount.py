"""Every reward that reaches the learner, recounted there from the frames themselves."""

import numpy as np
import pytest
import ray
import recount
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.connectors.env_to_module import FlattenObservations

from rllib_vlm_reward.plugin import add_vlm_reward
from rllib_vlm_reward.reward_model.clip import CLIPEncoder
from rllib_vlm_reward.reward_model.model import RewardModel

ROWS = 1_700  # in each of the six ways, so over 10,000 in all


def train(config, vlm, rows):
    algorithm = add_vlm_reward(config, vlm).build_algo()
    try:
        while sum(len(chunk.rewards) for chunk in recount.Witness.chunks) < rows:
            result = algorithm.train()
    finally:
        algorithm.stop()
    return list(recount.Witness.chunks), result


def assert_all_equal(chunks, vlm):
    got = [chunk.rewards for chunk in chunks]
    expected = recount.expected_rewards(chunks, vlm)
    assert recount.mismatches(got, expected) == 0
    assert recount.wrong_starts(chunks) == 0
    assert recount.jumps(chunks) == 0
    assert recount.wrong_lookbacks(chunks) == 0
    # The recount would notice: rewards one step late, or another chunk's, do not pass.
    late = [np.roll(rewards, 1) for rewards in got]
    assert recount.mismatches(late, expected) > 30


@pytest.mark.parametrize("vectorisation", ["sync", "async"])
@pytest.mark.parametrize(
    "settings",
    [
        {"mode": "deferred"},
        {"mode": "synchronous"},
        {"mode": "synchronous", "head": "cosine", "threshold": 0.0, "early_end": True},
    ],
    ids=["deferred", "synchronous", "early_end"],
)
def test_every_reward_is_the_frames_own(settings, vectorisation, vlm_config, ppo, shared_pool):
    vlm = vlm_config(serving={"pool_name": shared_pool}, **settings)
    if vlm.early_end:
        vlm = vlm.model_copy(update={"threshold": recount.quiet_threshold(vlm)})
    config = ppo(
        num_env_runners=2,
        batch=600,
        gym_env_vectorize_mode=vectorisation,
        episode_lookback_horizon=3,
    )
    chunks, result = train(config, vlm, ROWS)

    assert_all_equal(chunks, vlm)
    assert sum(chunk.t_started > 0 for chunk in chunks) > 10  # fragments cut episodes
    assert any(chunk.terminated for chunk in chunks)
    if vlm.early_end:
        fired = [chunk for chunk in chunks if chunk.rewards.max() > 0]
        assert len({len(chunk.rewards) for chunk in fired}) > 5
        assert all(chunk.terminated and chunk.rewards[:-1].max(initial=0) == 0 for chunk in fired)
    means = result["env_runners"]
    assert means["vlm_reward"]["vlm_return_mean"] == pytest.approx(means["episode_return_mean"])


def test_the_learner_sees_the_goals_embedding(vlm_config, ppo, shared_pool):
    vlm = vlm_config(goal_embedding=True, serving={"pool_name": shared_pool})
    config = ppo(env_to_module_connector=lambda env, spaces, device: FlattenObservations())

    chunks, _ = train(config, vlm, 400)

    assert_all_equal(chunks, vlm)
    prompts = [goal.prompt for goal in vlm.goal_set.goals]
    table = RewardModel(CLIPEncoder.load(vlm.encoder, precision=vlm.serving.precision)).embed_texts(
        prompts
    )
    for chunk in chunks:
        assert np.allclose(chunk.extra, table[chunk.columns[4]], atol=1e-6)


class KillsOnce(ConnectorV2):
    """Kills the reward actor in the middle of the first fragment."""

    calls = 0

    def __call__(self, *, batch, **kwargs):
        type(self).calls += 1
        if self.calls == 8:
            (actor,) = (
                actor
                for actor in ray.util.list_named_actors(all_namespaces=True)
                if actor["name"] == "to-be-killed/0"
            )
            ray.kill(ray.get_actor(**actor), no_restart=False)
        return batch


def test_no_reward_is_lost_when_the_actor_is_killed(vlm_config, ppo, cluster):
    vlm = vlm_config(mode="deferred", serving={"pool_name": "to-be-killed"})
    config = ppo(env_to_module_connector=lambda env, spaces, device: KillsOnce())

    chunks, _ = train(config, vlm, 400)

    assert KillsOnce.calls > 8
    assert_all_equal(chunks, vlm)
