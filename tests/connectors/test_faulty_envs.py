"""The envs of tests/cases, in which something goes wrong once training has begun."""

import pytest
from cases import envs

from rllib_vlm_reward.connectors.pipeline import attach_pieces
from rllib_vlm_reward.connectors.preflight import preflight
from rllib_vlm_reward.errors import FrameError, RewardError

GOALS = {"goals": ["a square at the right edge"], "negatives": ["a square at the left edge"]}


@pytest.fixture
def sample(vlm_config, env_runner):
    """Returns a function: an iteration of 60 steps, played by two sub-envs."""

    def begin(env, *, sub_envs=2, **keys):
        vlm = vlm_config(**GOALS, **keys)
        env.made = envs.Painted.made = 0
        runner = env_runner(
            vlm, env=env, num_envs_per_env_runner=sub_envs, rollout_fragment_length=60 // sub_envs
        )
        runner.worker_index = 2
        attach_pieces(runner, "red", "this run", precisions={})
        return lambda: runner.sample(random_actions=True)

    return begin


@pytest.mark.parametrize("mode", ["deferred", "synchronous"])
def test_a_frame_that_is_missing_names_step_and_sub_env(sample, mode):
    with pytest.raises(FrameError) as raised:
        sample(envs.RenderGivesNone, mode=mode)()
    assert str(raised.value).startswith(
        "env.render(), step 3 of an episode of sub-env 0 of env runner 2: got NoneType, expected "
        "uint8 [H, W, 3]."
    )


@pytest.mark.parametrize("mode", ["deferred", "synchronous"])
def test_a_frame_of_another_size_names_step_and_sub_env(sample, mode):
    with pytest.raises(FrameError) as raised:
        sample(envs.SizeChanges, mode=mode)()
    assert str(raised.value) == (
        "env.render(), step 5 of an episode of sub-env 0 of env runner 2: got a frame of the shape "
        "[40, 64, 3], expected [64, 64, 3] as in the steps before. Resize the frames in the env."
    )


def test_another_episode_may_have_frames_of_another_size(sample):
    class Grows(envs.Painted):
        def render(self):
            return self.frame()[: 40 + self.episode]

    episodes = sample(Grows, sub_envs=1)
    assert len({episode.id_ for _ in range(3) for episode in episodes()}) > 4


def test_a_list_of_frames_names_rgb_array_list_and_the_last_one(vlm_config, env_runner):
    vlm = vlm_config(**GOALS)
    error = preflight(env_runner(vlm, env=envs.RenderGivesList), vlm)
    assert isinstance(error, FrameError)
    assert "got list, expected uint8 [H, W, 3]" in str(error)
    assert "with rgb_array_list" in str(error)
    assert "frames[-1]" in str(error)


def test_a_nan_of_the_env_is_an_error_at_its_step(sample):
    with pytest.raises(RewardError, match="env_reward_weight 1: the env returned the reward nan"):
        sample(envs.NaNReward, env_reward_weight=1.0)()


def test_a_success_that_is_a_text_is_found_before_training(vlm_config, env_runner):
    vlm = vlm_config(**GOALS)
    error = preflight(env_runner(vlm, env=envs.SuccessIsText), vlm)
    assert "info has 'False' (str), expected a bool, a NumPy bool, 0 or 1" in str(error)


def test_an_error_of_the_env_is_raised_as_it_is(sample):
    with pytest.raises(KeyError, match="the user's own mistake") as raised:
        sample(envs.RaisesAtStepSeven)()
    assert raised.traceback[-1].path.name == "envs.py"


def test_frames_that_are_right_are_paid(sample):
    episodes = sample(envs.Painted)()
    assert sum(map(len, episodes)) == 60
    assert all(0 < reward < 1 for episode in episodes for reward in episode.get_rewards())
