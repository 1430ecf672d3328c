"""A PettingZoo env in RLlib's wrappers: each agent is paid for the frame that the env renders."""

import gymnasium as gym
import numpy as np
import pytest
from painted import BANK, BANK_SIZE, GOALS
from pettingzoo import ParallelEnv
from pettingzoo.classic import rps_v2
from pettingzoo.utils.conversions import parallel_to_aec
from ray import tune
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner
from ray.rllib.env.vector.sync_vector_multi_agent_env import SyncVectorMultiAgentEnv
from ray.rllib.env.wrappers.pettingzoo_env import ParallelPettingZooEnv, PettingZooEnv
from red_pool import red_score

from rllib_vlm_reward.connectors.frame_source import collect_frames
from rllib_vlm_reward.connectors.pipeline import attach_pieces
from rllib_vlm_reward.connectors.preflight import preflight
from rllib_vlm_reward.errors import FrameError
from rllib_vlm_reward.plugin import add_vlm_reward

LENGTH = 9
SPACE = gym.spaces.Box(0.0, np.inf, (2,), np.float32)


class Lights(ParallelEnv):
    """Two agents in one scene, which changes at each step; they observe its number and t."""

    metadata = {"name": "lights", "render_modes": ["rgb_array"], "is_parallelizable": True}  # noqa: RUF012
    possible_agents = ["left", "right"]  # noqa: RUF012

    def __init__(self, render_mode=None):
        self.render_mode, self.rng = render_mode, np.random.default_rng()

    def observation_space(self, agent):
        return SPACE

    def action_space(self, agent):
        return gym.spaces.Discrete(2)

    def reset(self, seed=None, options=None):
        self.agents, self.t = [*self.possible_agents], 0
        return self._show()

    def step(self, actions):
        self.t += 1
        agents, over = self.agents, self.t == LENGTH
        observations, infos = self._show()
        self.agents = [] if over else agents
        ends = dict.fromkeys(agents, over), dict.fromkeys(agents, False)
        return observations, dict.fromkeys(agents, -100.0), *ends, infos

    def render(self):
        return BANK[self.scene]

    def _show(self):
        self.scene = int(self.rng.integers(BANK_SIZE))
        shown = np.array([self.scene, self.t], np.float32)
        return dict.fromkeys(self.agents, shown), {agent: {} for agent in self.agents}


WRAPPED = {
    "parallel": lambda **given: ParallelPettingZooEnv(Lights(**given)),
    "aec": lambda **given: PettingZooEnv(parallel_to_aec(Lights(**given))),
}
KINDS = pytest.mark.parametrize("kind", WRAPPED)


def runner_of(vlm, kind, **given):
    tune.register_env("lights", lambda config: WRAPPED[kind](**given))
    config = (
        PPOConfig()
        .environment("lights")
        .env_runners(num_env_runners=0, num_envs_per_env_runner=3, rollout_fragment_length=7)
        .multi_agent(policies={"p"}, policy_mapping_fn=lambda agent, episode, **kwargs: "p")
        .rl_module(model_config={"fcnet_hiddens": [4]})
    )
    runner = MultiAgentEnvRunner(config=add_vlm_reward(config, vlm))
    attach_pieces(runner, "red", "this run", precisions={})
    return runner


@pytest.fixture
def one_goal(vlm_config):
    changes = {"goals": GOALS[:1], "negatives": ["a room"], "frames": {"source": "render"}}
    return lambda **more: vlm_config(**changes, **more)


@KINDS
@pytest.mark.parametrize("mode", ["synchronous", "deferred"])
def test_each_agents_step_pays_the_frame_that_is_rendered_after_it(one_goal, red_pool, kind, mode):
    runner = runner_of(one_goal(mode=mode), kind, render_mode="rgb_array")
    assert preflight(runner, one_goal(mode=mode)) is None
    steps = dict.fromkeys(Lights.possible_agents, 0)
    for _ in range(8):
        for episode in runner.sample(random_actions=True):
            for agent, chunk in episode.agent_episodes.items():
                scenes = np.array(chunk.get_observations(), int)[1:, 0]
                assert np.allclose(chunk.get_rewards(), red_score(BANK[scenes], 0))
                steps[agent] += len(chunk)
    assert min(steps.values()) > 2 * LENGTH


@KINDS
def test_without_a_render_mode_the_error_says_where_it_belongs(one_goal, red_pool, kind):
    error = preflight(runner_of(one_goal(), kind), one_goal())
    assert isinstance(error, FrameError)
    assert "got render_mode None, expected 'rgb_array'" in str(error)
    assert 'make the PettingZoo env with render_mode="rgb_array", before RLlib\'s' in str(error)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ParallelPettingZooEnv(rps_v2.parallel_env(render_mode="rgb_array")),
        lambda: PettingZooEnv(rps_v2.env(render_mode="rgb_array")),
    ],
)
def test_an_env_of_pettingzoo_is_rendered(make):
    env = SyncVectorMultiAgentEnv([make, make])
    env.reset()
    frames = collect_frames("render", env, [1, 0, 1], [None] * 3, [{}] * 3)
    assert np.array_equal(frames[0], env.envs[1].get_sub_environments.render())
    assert len(frames) == 3
    env.close()


def test_a_wrapper_with_a_render_of_its_own_keeps_it():
    class Own(ParallelPettingZooEnv):
        render_mode = "rgb_array"

        def render(self):
            return np.full((4, 4, 3), 7, np.uint8)

    env = SyncVectorMultiAgentEnv([lambda: Own(Lights())] * 2)
    env.reset()
    assert (np.stack(collect_frames("render", env, [0, 1], [None] * 2, [{}] * 2)) == 7).all()
