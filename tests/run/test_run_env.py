"""The env of a run: as RLlib would make it, one of it."""

import gymnasium as gym
import numpy as np
import painted
import pytest
from ray.rllib.env.env_context import EnvContext

from rllib_vlm_reward.connectors.drawn_goal import DrawnGoal
from rllib_vlm_reward.errors import ConfigError, FrameError
from rllib_vlm_reward.run.experiment import Experiment
from rllib_vlm_reward.run.run_env import make_env


class Made(gym.Env):
    observation_space = gym.spaces.Box(0, 1, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, config):
        self.config = config


def experiment(env, env_config, **settings):
    return Experiment(
        environment={"env": env, "env_config": env_config},
        vlm_reward={
            "encoder": "small",
            "goals": ["go to the red ball", "go to the red key"],
            "threshold": 0.5,
        },
        stop={"env_steps": 1},
        **settings,
    )


def test_an_id_is_made_with_its_keywords_and_asked_to_render():
    made = make_env(experiment("CartPole-v1", {"sutton_barto_reward": True}))
    assert made.envs[0].unwrapped._sutton_barto_reward
    made.reset(seed=0)
    assert made.render()[0].shape == (400, 600, 3)


def test_an_id_may_name_its_module():
    env_id = "gymnasium.envs.classic_control:CartPole-v1"
    assert make_env(experiment(env_id, {})).envs[0].spec.id == "CartPole-v1"


def test_a_class_is_made_with_rllibs_context():
    config = make_env(experiment(Made, {"size": 3})).envs[0].config
    assert isinstance(config, EnvContext)
    assert dict(config) == {"size": 3}


def test_a_curriculum_reaches_the_env():
    find = experiment("rllib_vlm_reward/Find-v0", {}, curriculum={"kind": "uniform"})
    env = make_env(find).envs[0]
    assert isinstance(env, DrawnGoal)
    goals = {env.reset(seed=seed)[1]["goal"] for seed in range(20)}
    assert goals == {"go to the red ball", "go to the red key"}


@pytest.mark.parametrize("policy", [None, {"module": "not.there.Module"}])
def test_no_policy_is_asked_for(policy):
    """`collect`, `evaluate` and `landscape` play at random, or with the env's expert."""
    run = experiment("rllib_vlm_reward/Find-v0", {}, policy=policy)
    reward = run.vlm_reward.model_copy(update={"goal_embedding": True})
    env = make_env(run.model_copy(update={"vlm_reward": reward})).envs[0]
    assert env.reset(seed=0)[0].dtype == np.uint8


def test_an_env_that_cannot_be_made_is_an_error():
    with pytest.raises(FrameError, match="cannot make it"):
        make_env(experiment("CartPole-v9", {}))


@pytest.mark.parametrize("path", ["painted.PaintedEnv", "painted_run.make_painted"])
def test_an_import_path_names_a_class_or_a_function(path):
    env = make_env(experiment(path, {"size": 3})).envs[0]
    assert isinstance(env, painted.PaintedEnv)
    assert env.config == {"size": 3} | ({"made": True} if "make" in path else {})
    assert env.reset(seed=0)[1]["goal"] in painted.GOALS


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("painted.Absent", "environment.env: cannot import 'painted.Absent'"),
        ("painted_run.NOT_AN_ENV", "expected an env class or a function"),
    ],
)
def test_a_path_that_leads_to_no_env_is_an_error(path, message):
    with pytest.raises(ConfigError, match=message):
        make_env(experiment(path, {}))
