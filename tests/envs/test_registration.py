"""The envs by their gymnasium names, single and vectorised."""

import importlib.util
import sys

import gymnasium as gym
import numpy as np
import pytest

import rllib_vlm_reward  # noqa: F401  (registers the envs)
from rllib_vlm_reward.errors import ConfigError
from rllib_vlm_reward.run.experiment import Experiment

NAMES = pytest.mark.parametrize("name", ["Find", "Lift", "Place", "Playroom"])


@NAMES
@pytest.mark.filterwarnings("error")
def test_make_passes_keywords_on(name):
    env = gym.make(f"rllib_vlm_reward/{name}-v0", room_size=7, num_objects=4, tile_size=4)
    observation, info = env.reset(seed=0)
    assert observation.shape == (28, 28, 3)
    assert info["goal"] == env.unwrapped.mission
    assert env.unwrapped.num_objects == 4
    assert env.unwrapped.grid.width == 7
    env.step(env.action_space.sample())
    env.close()


def test_babyais_own_levels_go_by_their_ids():
    env = gym.make("rllib_vlm_reward/BabyAI-v0", level="BabyAI-GoToLocalS5N2-v0")
    assert env.reset(seed=0)[1]["goal"].startswith("go to")
    assert env.unwrapped.spec.id == "rllib_vlm_reward/BabyAI-v0"


@NAMES
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_make_vec_is_the_single_envs_side_by_side(name, mode):
    many = gym.make_vec(f"rllib_vlm_reward/{name}-v0", num_envs=2, vectorization_mode=mode)
    try:
        frames, infos = many.reset(seed=[7, 8])
        assert frames.shape == (2, 56, 56, 3)
        assert frames.dtype == np.uint8
        many.action_space.seed(0)
        actions = [many.action_space.sample() for _ in range(8)]
        stepped = [many.step(action) for action in actions]
    finally:
        many.close()
    for index, seed in enumerate((7, 8)):
        one = gym.make(f"rllib_vlm_reward/{name}-v0")
        frame, info = one.reset(seed=seed)
        np.testing.assert_array_equal(frames[index], frame)
        assert infos["goal"][index] == info["goal"]
        for action, (batch, rewards, terminated, truncated, told) in zip(
            actions, stepped, strict=True
        ):
            frame, reward, *ends, info = one.step(action[index])
            np.testing.assert_array_equal(batch[index], frame)
            assert (rewards[index], terminated[index], truncated[index]) == (reward, *ends)
            assert told["success"][index] == info["success"]
            if any(ends):
                break


@pytest.mark.parametrize("missing", ["android_env", "immutabledict"])
def test_without_the_extra_a_config_says_what_to_install(missing, monkeypatch):
    for name in [it for it in sys.modules if it.startswith("rllib_vlm_reward.envs.android")]:
        monkeypatch.delitem(sys.modules, name)
    find_spec = importlib.util.find_spec
    specs = {"android_env": object(), "immutabledict": object(), missing: None}
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *args: specs[name] if name in specs else find_spec(name, *args),
    )
    experiment = Experiment(
        environment={"env": "rllib_vlm_reward/Android-v0"},
        vlm_reward={"encoder": "small", "goals": ["open the {clock|maps} app"], "threshold": 0.5},
        stop={"env_steps": 1},
    )
    install = rf'package {missing} is not installed. Run: pip install "rllib-vlm-reward\[android\]"'
    for use in (experiment.to_algorithm_config, lambda: gym.make("rllib_vlm_reward/Android-v0")):
        with pytest.raises(ConfigError, match=install):
            use()
