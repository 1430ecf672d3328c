"""The env's reward and success, where they have no meaning."""

import broken
import pytest
from painted_agents import PaintedAgents
from test_agents import runner_of

from rllib_vlm_reward.connectors.preflight import preflight
from rllib_vlm_reward.errors import RewardError


def test_a_nan_that_the_learner_would_see_is_found_before_training(vlm_config, env_runner):
    vlm = vlm_config(env_reward_weight=0.5)
    error = preflight(env_runner(vlm, env=broken.NaNEnv), vlm)
    assert isinstance(error, RewardError)
    assert "env_reward_weight 0.5: the env returned the reward nan" in str(error)


class NaNAgents(PaintedAgents):
    """The first reward of the agent ``a2`` is not finite."""

    def step(self, actions):
        observations, rewards, *rest = super().step(actions)
        return observations, {**rewards, "a2": float("inf")}, *rest


@pytest.mark.parametrize("weights", [{"a2": 0.5}, {"a1": 0.5}])
def test_one_of_several_agents_is_checked_if_its_learner_would_see_it(
    weights, vlm_config, red_pool
):
    agents = {agent: {"env_reward_weight": weight} for agent, weight in weights.items()}
    vlm = vlm_config(frames={"source": "info:rgb"}, agents=agents)
    found = preflight(runner_of(vlm, red_pool, env=NaNAgents, goals={}), vlm)
    if "a2" in weights:
        assert isinstance(found, RewardError)
        assert "env_reward_weight 0.5: the env returned the reward inf" in str(found)
    else:
        assert found is None


@pytest.mark.parametrize("mode", ["synchronous", "deferred"])
def test_a_later_nan_is_an_error_at_that_step(mode, vlm_config, env_runner):
    vlm = vlm_config(env_reward_weight=1.0, mode=mode)
    runner = env_runner(vlm, env=broken.LateNaNEnv)
    assert preflight(runner, vlm) is None
    with pytest.raises(RewardError, match="the env returned the reward nan, expected a finite"):
        runner.sample()


def test_a_nan_that_no_learner_sees_is_none_of_the_rewards(vlm_config, env_runner):
    vlm = vlm_config()
    runner = env_runner(vlm, env=broken.NaNEnv)
    assert preflight(runner, vlm) is None
    assert all(reward == reward for episode in runner.sample() for reward in episode.get_rewards())


def test_a_success_that_is_a_text_is_an_error_in_training(vlm_config, env_runner):
    vlm = vlm_config()
    runner = env_runner(vlm, env=broken.TextSuccessEnv)
    assert "info has 'False' (str)" in str(preflight(runner, vlm))
    with pytest.raises(RewardError, match="success_key 'success'"):
        runner.sample()
