"""The envs of tests/cases under real training: PPO, a pool of real actors, and no policy given."""

import logging
import re
import time

import pytest
from cases import envs
from ray.rllib.algorithms.ppo import PPOConfig

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.connectors.callbacks import callbacks_of
from rllib_vlm_reward.errors import AlarmError, FrameError, RewardError
from rllib_vlm_reward.plugin import add_vlm_reward

STEPS = 60  # of an iteration


class ShortMute(envs.Mute):
    """Its episodes have at most two steps, so that 500 of them are soon over."""

    def step(self, action):
        observation, reward, terminated, _, info = super().step(action)
        return observation, reward, terminated, self.t >= 2, info


@pytest.fixture
def built(vlm_config, shared_pool):
    """Returns a function that builds an algorithm for an env with two sub-envs."""
    algorithms = []

    def build(env, *, num_env_runners=0, steps=STEPS, **keys):
        given = {
            "goals": ["a square at the right edge"],
            "negatives": ["a square at the left edge"],
            "serving": {"pool_name": shared_pool},
            "mode": "deferred",
        }
        env.made = envs.Painted.made = 0
        config = PPOConfig().environment(env)
        config.env_runners(
            num_env_runners=num_env_runners,
            num_envs_per_env_runner=2,
            rollout_fragment_length=steps // 2,
        )
        config.training(train_batch_size_per_learner=steps, minibatch_size=steps, num_epochs=1)
        config.reporting(min_time_s_per_iteration=0)
        algorithms.append(add_vlm_reward(config, vlm_config(**given | keys)).build_algo())
        return algorithms[-1]

    yield build
    for algorithm in algorithms:
        algorithm.stop()


def train(algorithm, iterations):
    for _ in range(iterations):
        algorithm.train()


def in_force(algorithm):
    return callbacks_of(algorithm).monitor.in_force


def test_an_env_that_works_trains(built):
    algorithm = built(envs.Painted)
    train(algorithm, 6)
    assert not {"blank", "frozen"} & {*in_force(algorithm)}
    assert all(env.unwrapped.episode > 2 for env in algorithm.env_runner.env.unwrapped.envs)


def test_frames_that_turn_black_are_an_alarm_within_three_iterations(built, caplog):
    algorithm = built(envs.BlackLater)
    players = [env.unwrapped for env in algorithm.env_runner.env.unwrapped.envs]
    while min(player.episode for player in players) < 9:
        assert "blank" not in in_force(algorithm) or max(each.episode for each in players) >= 9
        algorithm.train()
    train(algorithm, 3)
    assert "blank" in in_force(algorithm)
    assert "frames have one colour in all of the picture (sub-env " in caplog.text


def test_a_sub_env_that_renders_black_ends_training(built):
    algorithm = built(envs.EverySecondBlack, alarms="error")
    with pytest.raises(AlarmError, match=r"one colour .*\(sub-env 1 of env runner 0\)"):
        train(algorithm, 3)


def test_frames_that_never_change_are_an_alarm_within_three_iterations(built, caplog):
    algorithm = built(envs.Frozen)
    train(algorithm, 3)
    assert "frozen" in in_force(algorithm)
    assert re.search(r"have not changed for \d+ steps.*\(sub-env [01] of env runner 0", caplog.text)


def test_a_reward_that_never_fires_is_an_alarm_without_ground_truth(built, caplog):
    algorithm = built(ShortMute, steps=240, threshold=0.9999)
    train(algorithm, 6)
    assert "silent" in in_force(algorithm)
    assert re.search(r"the reward fired nowhere in the last \d{3} episodes", caplog.text)


def test_words_that_the_clip_was_never_taught_are_a_warning_when_it_is_built(caplog):
    vlm = VLMRewardConfig(
        encoder="base", goals=["move the square to the edge"], negatives=["the square stays"]
    )
    with caplog.at_level(logging.WARNING, logger="rllib_vlm_reward"):
        add_vlm_reward(PPOConfig().environment(envs.Mute), vlm)
    assert "never taught the words ['edge', 'move', 'square', 'stays'" in caplog.text
    for way_out in ("the words of its model card", "an open_clip model", "a CLIP of your own"):
        assert way_out in caplog.text


@pytest.mark.parametrize(
    ("env", "keys", "says"),
    [
        (envs.RaisesAtStepSeven, {}, 'KeyError: "the user\'s own mistake"'),
        (envs.RenderGivesNone, {}, r"step 3 of an episode of sub-env \d of env runner 1: got None"),
        (envs.SizeChanges, {}, r"step 5 of .*sub-env \d of env runner 1: got .*\[40, 64, 3\]"),
        (envs.NaNReward, {"env_reward_weight": 1.0}, "the env returned the reward nan"),
    ],
)
def test_an_error_in_a_remote_env_runner_ends_training_in_seconds(built, env, keys, says):
    algorithm = built(env, num_env_runners=1, **keys)
    begin = time.monotonic()
    with pytest.raises(RewardError, match=says):
        train(algorithm, 3)
    assert time.monotonic() - begin < 60  # and not RLlib's minute, then a time-out


@pytest.mark.parametrize(
    ("env", "error", "says"),
    [
        (envs.RenderGivesList, FrameError, r"rgb_array_list.*frames\[-1\]"),
        (envs.SuccessIsText, RewardError, "info has 'False'"),
    ],
)
def test_what_is_wrong_from_the_start_is_an_error_when_it_is_built(built, env, error, says):
    with pytest.raises(error, match=says):
        built(env)
