"""The built-in frame sources, and functions and classes of the user's own."""

import gymnasium as gym
import numpy as np
import painted
import pytest
from painted import BANK, PaintedEnv
from painted_agents import PaintedAgents
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.connectors.env_to_module import FlattenObservations
from ray.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner
from red_pool import red_score

from rllib_vlm_reward.connectors.frame_source import SteppedEnvs, collect_frames, frame_source
from rllib_vlm_reward.connectors.pipeline import attach_pieces
from rllib_vlm_reward.connectors.preflight import preflight
from rllib_vlm_reward.errors import ConfigError, FrameError
from rllib_vlm_reward.plugin import add_vlm_reward


def from_observations(env, observations, infos):
    """The frame that a painted observation names."""
    assert len(infos) == len(observations)
    assert all("goal" in info for info in infos)
    return [BANK[int(observation[-2])] for observation in observations]


class Asked:
    """Asks the stepped sub-envs for their frames, and counts how often."""

    def __init__(self):
        self.calls = 0

    def __call__(self, env, observations, infos):
        self.calls += 1
        rendered = env.render()
        assert np.array_equal(rendered, [BANK[frame] for frame in env.get_attr("frame")])
        return np.stack(rendered)


def too_few(env, observations, infos):
    return [BANK[0]] * (len(observations) - 1)


def nothing(env, observations, infos):
    return None


def grey(env, observations, infos):
    return [BANK[0][..., 0]] * len(observations)


def fails(env, observations, infos):
    raise KeyError("camera")


NOT_CALLED = 3


def path(name):
    return f"test_frame_source.{name}"


def vector_env(vectorise=gym.vector.SyncVectorEnv, **config):
    return vectorise([lambda: PaintedEnv(config)] * 3)


@pytest.mark.parametrize("vectorise", [gym.vector.SyncVectorEnv, gym.vector.AsyncVectorEnv])
def test_rendered_frames_are_those_of_the_observations_terminal_ones_too(vectorise):
    env = vector_env(vectorise)
    try:
        env.reset()
        ends = 0
        for _ in range(40):
            observations, _, terminated, truncated, _ = env.step(np.zeros(3, int))
            rows = [0, 2]
            frames = collect_frames("render", env, rows, [None] * 2, [{}] * 2)
            assert np.array_equal(frames, BANK[observations[rows, 3].astype(int)])
            ends += (terminated | truncated)[rows].sum()
        assert ends > 0
    finally:
        env.close()


@pytest.mark.parametrize("source", ["obs", "obs:rgb", "info:rgb"])
def test_frames_come_from_observations_or_infos(source):
    plain, keyed = list(BANK[:2]), [{"rgb": frame} for frame in BANK[:2]]
    observations = plain if source == "obs" else keyed
    frames = collect_frames(source, None, [0, 1], observations, keyed)
    assert np.array_equal(frames, BANK[:2])


@pytest.mark.parametrize(
    ("source", "observation", "info", "says"),
    [
        ("info:rgb", None, {"other": 1}, "the keys \\['other'\\]"),
        ("obs:rgb", np.zeros(3), {}, "ndarray"),
        ("obs", np.zeros((4, 4, 3), np.float32), {}, "float32 \\[1, 4, 4, 3\\]"),
        ("obs", np.zeros((4, 4), np.uint8), {}, "grey frames"),
    ],
)
def test_a_source_without_frames_says_what_it_gave(source, observation, info, says):
    with pytest.raises(FrameError, match=says):
        collect_frames(source, None, [0], [observation], [info])


def test_an_env_that_does_not_render_is_told_how_to():
    env = vector_env(render_mode=None)
    env.reset()
    with pytest.raises(FrameError, match=r"set frames\.source to obs.*env_config=\{\"render_mode"):
        collect_frames("render", env, [0], [None], [{}])


@pytest.mark.parametrize("mode", ["synchronous", "deferred"])
@pytest.mark.parametrize("name", ["from_observations", "Asked"])
def test_every_step_is_paid_for_the_frame_that_a_callable_gives(name, mode, vlm_config, env_runner):
    runner = env_runner(vlm_config(mode=mode, frames={"source": path(name)}))
    steps = 0
    for episode in (episode for _ in range(3) for episode in runner.sample()):
        rows = np.array(episode.get_observations())[1:].astype(int)
        assert np.allclose(episode.get_rewards(), red_score(BANK[rows[:, 3]], rows[:, 4]))
        steps += len(episode)
    assert steps > 100


def test_it_serves_several_agents_by_their_own_observations(vlm_config, red_pool):
    config = (
        PPOConfig()
        .environment(PaintedAgents)
        .env_runners(num_envs_per_env_runner=3, rollout_fragment_length=7)
        .multi_agent(policies={"p"}, policy_mapping_fn=lambda agent, episode, **kwargs: "p")
        .rl_module(model_config={"fcnet_hiddens": [8]})
    )
    vlm = vlm_config(frames={"source": path("from_observations")})
    runner = MultiAgentEnvRunner(config=add_vlm_reward(config, vlm))
    attach_pieces(runner, "red", "this run", precisions={})
    for episode in runner.sample(random_actions=True):
        for chunk in episode.agent_episodes.values():
            _, _, _, _, frames, goals = np.array(chunk.get_observations()).astype(int)[1:].T
            assert np.allclose(chunk.get_rewards(), red_score(BANK[frames], goals))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("too_few", r"got list of length 2 for 3 stepped envs, expected a list of 3 frames"),
        ("nothing", r"got NoneType for 3 stepped envs"),
        ("grey", r"uint8 \[1, 16, 16\], expected uint8 \[B, H, W, 3\]"),
        ("fails", r"the call failed \(KeyError: 'camera'\)"),
    ],
)
def test_frames_that_cannot_be_scored_are_an_error_before_training(
    name, says, vlm_config, env_runner
):
    vlm = vlm_config(frames={"source": path(name)})
    error = preflight(env_runner(vlm), vlm)
    assert isinstance(error, FrameError)
    assert error.args[0].startswith(f"frames.source '{path(name)}': ")
    with pytest.raises(FrameError, match=says):
        raise error


@pytest.mark.parametrize(
    ("name", "says"),
    [("missing", "has no attribute 'missing'"), ("NOT_CALLED", "of type int, expected a function")],
)
def test_a_path_to_no_callable_is_an_error(name, says):
    with pytest.raises(ConfigError, match=says):
        frame_source(path(name))


def test_a_class_is_made_once():
    assert frame_source(path("Asked")) is frame_source(path("Asked"))


def test_recorded_episodes_have_no_env():
    observations = [np.array([0, 0, 0, 7, 1])] * 2
    frames = frame_source(path("from_observations"))(None, observations, [{"goal": "x"}] * 2)
    assert np.array_equal(frames, BANK[[7, 7]])
    with pytest.raises(FrameError, match="no env to render"):
        frame_source("render")(None, [], [])


class Keyed(PaintedEnv):
    """Observes a mapping, and takes several actions at once."""

    observation_space = gym.spaces.Dict(
        rgb=gym.spaces.Box(0, 255, (16, 16, 3), np.uint8),
        goal=gym.spaces.Discrete(3),
    )
    action_space = gym.spaces.MultiDiscrete([2, 3])

    def _show(self):
        _, info = super()._show()
        return {"rgb": BANK[self.frame], "goal": self.goal}, info | {"shown": self.frame}


def test_observations_and_actions_may_be_of_several_parts(vlm_config, env_runner):
    def flat(env, spaces, device):
        return FlattenObservations()

    runner = env_runner(
        vlm_config(frames={"source": "obs:rgb"}), env=Keyed, env_to_module_connector=flat
    )
    for episode in runner.sample():
        infos = episode.get_infos()[1:]  # the piece replaced the observations
        goals = np.array([painted.GOALS.index(info["goal"]) for info in infos])
        expected = red_score(BANK[[info["shown"] for info in infos]], goals)
        assert np.allclose(episode.get_rewards(), expected)
        assert np.shape(episode.get_actions(0)) == (2,)


@pytest.mark.parametrize("vectorise", [gym.vector.SyncVectorEnv, gym.vector.AsyncVectorEnv])
def test_only_the_stepped_sub_envs_are_seen(vectorise):
    env = vectorise([lambda: PaintedEnv({})] * 3)
    try:
        observations, _ = env.reset()
        stepped = SteppedEnvs(env, [2, 0])
        shown = observations[[2, 0], 3].astype(int)
        assert stepped.get_attr("frame") == shown.tolist()
        assert np.array_equal(stepped.render(), painted.BANK[shown])
    finally:
        env.close()


def test_the_check_before_training_returns_the_goal_that_is_hidden(vlm_config, env_runner):
    vlm = vlm_config(goals=["a white wall"], negatives=["a black wall"])
    runner = env_runner(vlm)
    assert "the single goal 'a white wall'" in preflight(runner, vlm)
    assert preflight(runner, vlm, evaluates=True) is None
