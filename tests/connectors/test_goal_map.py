"""The map that the policy sees, against what the pool says of the frame on show."""

import re

import gymnasium as gym
import numpy as np
import pytest
import torch
from filmed import Filmed
from painted import BANK
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.connectors.env_to_module import FlattenObservations
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.core.rl_module.torch import TorchRLModule
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from red_pool import blue_number, green_map, red_score

from rllib_vlm_reward.connectors.goal_embedding import GoalEmbedding
from rllib_vlm_reward.connectors.pipeline import reward_piece
from rllib_vlm_reward.connectors.preflight import preflight
from rllib_vlm_reward.plugin import add_vlm_reward
from rllib_vlm_reward.policies import GoalConditionedModule, GoalConditionedQModule

SIZE = (7, 7)  # of the tiny CLIP: 56 pixels a side, 8 a patch
GIVEN = {
    "mode": "synchronous",
    "goal_embedding": True,
    "goal_map": True,
    "templates": [{"noun": "{}"}],
}
WEIGHT = 3.0
BONUS = {"bonus": {"kind": "focal", "weight": WEIGHT}}
POTENTIAL = {"bonus": {**BONUS["bonus"], "potential": True}}


@pytest.fixture
def runner(vlm_config, env_runner):
    """Returns a function: an env runner whose policy sees the map, flattened behind our pieces."""

    def make(**changes):
        flat = {"env_to_module_connector": lambda env, spaces, device: [FlattenObservations()]}
        return env_runner(vlm_config(**{**GIVEN, **changes}), **flat)

    return make


def play(runner, fragments=4):
    chunks = [chunk for _ in range(fragments) for chunk in runner.sample()]
    assert sum(chunk.is_done for chunk in chunks) > 0
    assert sum(chunk.t_started > 0 for chunk in chunks) > 0  # a fragment cut an episode
    return chunks


def seen_in(chunk):
    """Return the maps of a chunk's observations, and the frames and goals that they name."""
    observations = np.array(chunk.get_observations())
    assert observations.shape[1] == 16 + 49 + 5  # goal, map, and the env's own
    named = observations[:, 65:].astype(int)
    return observations[:, 16:65].reshape(-1, *SIZE, 1), BANK[named[:, 3]], named[:, 4]


@pytest.mark.parametrize("bonus", [{}, BONUS, POTENTIAL], ids=["alone", "bonus", "potential"])
def test_each_observation_has_the_map_of_its_frame_and_goal(bonus, runner):
    for chunk in play(runner(**bonus)):
        maps, frames, goals = seen_in(chunk)
        assert len(maps) == len(chunk) + 1  # also of the reset and of the last frame
        np.testing.assert_array_equal(maps, green_map(frames, goals, SIZE))


def test_rewards_are_those_without_a_map(runner):
    for chunk in play(runner(**BONUS)):
        _, frames, goals = seen_in(chunk)
        expected = red_score(frames, goals) + WEIGHT * blue_number(frames)
        np.testing.assert_allclose(chunk.get_rewards(), expected[1:], atol=1e-5)


def test_the_map_comes_with_the_answer_that_pays(runner, red_pool):
    """Each frame is sent once, and that of each reset, for which nothing is paid."""
    chunks = play(runner())
    begun = sum(not chunk.t_started for chunk in chunks)
    # An episode that was reset at the end of the last fragment has no step yet.
    surplus = sum(red_pool.batches) - sum(map(len, chunks)) - begun
    assert 0 <= surplus <= 3
    assert max(red_pool.batches) == 3
    assert red_pool.read == len(red_pool.batches)


def test_a_policy_that_is_shown_a_wrong_goal_sees_the_map_of_that_goal(runner):
    runner = runner(**POTENTIAL)
    reward_piece(runner).show_wrong_goals(True)
    reward_piece(runner)._streams[None].bonus.gamma = 1.0
    shown = {}
    for chunk in play(runner, 8):
        maps, frames, goals = seen_in(chunk)
        wrong = chunk.custom_data["shown_goal"]
        shown.setdefault(chunk.id_, set()).add(wrong)
        assert wrong not in goals
        np.testing.assert_array_equal(maps, green_map(frames, np.full(len(goals), wrong), SIZE))
        # The rewards are those of the env's goal.
        blue = WEIGHT * blue_number(frames).astype(float)
        blue[-1] *= not chunk.is_terminated
        expected = red_score(frames, goals)[1:] + blue[1:] - blue[:-1]
        np.testing.assert_allclose(chunk.get_rewards(), expected, atol=1e-4)
    assert {len(goals) for goals in shown.values()} == {1}
    assert set.union(*shown.values()) == {0, 1, 2}


def test_an_early_end_has_a_map_too(runner):
    chunks = play(runner(threshold=0.97, early_end=True), 8)
    for chunk in chunks:
        maps, frames, goals = seen_in(chunk)
        np.testing.assert_array_equal(maps, green_map(frames, goals, SIZE))
    assert any(chunk.is_terminated and chunk.get_rewards()[-1] for chunk in chunks)


def test_the_space_gains_the_map(vlm_config):
    piece = GoalEmbedding(vlm_config(**GIVEN), embed_dim=16)
    piece.input_observation_space = Filmed.observation_space
    assert piece.observation_space == gym.spaces.Dict(
        observation=Filmed.observation_space,
        goal=gym.spaces.Box(-1, 1, (16,), np.float32),
        map=gym.spaces.Box(0, 1, (7, 7, 1), np.float32),
    )


class Blind(TorchRLModule):
    """A user's module that reads frame and goal, but no map."""

    def setup(self):
        self.head = torch.nn.Linear(16, 2)

    def _forward(self, batch, **kwargs):
        frame, goal = batch["obs"]["observation"], batch["obs"]["goal"]
        assert len(frame) == len(goal)
        return {Columns.ACTION_DIST_INPUTS: self.head(goal)}


class Sighted(Blind):
    def _forward(self, batch, **kwargs):
        seen = torch.cat([part.flatten(1) for part in dict(batch["obs"]).values()], dim=1)
        return {Columns.ACTION_DIST_INPUTS: seen[:, :2]}


class Failing(Blind):
    """What fails here fails in training too, where RLlib says more."""

    def _forward(self, batch, **kwargs):
        raise ValueError


@pytest.mark.parametrize(
    ("algorithm", "module", "model_config", "error"),
    [
        (
            PPOConfig,
            Blind,
            {},
            r"module Blind reads \['goal', 'observation'\] of .* not 'map'",
        ),
        (PPOConfig, Sighted, {}, None),
        (PPOConfig, Failing, {}, None),
        (PPOConfig, GoalConditionedModule, {"hidden": 8}, None),
        (PPOConfig, GoalConditionedModule, {"hidden": 8, "memory": "lstm"}, None),
        (DQNConfig, GoalConditionedQModule, {"hidden": 8, "stacked_frames": 2}, None),
    ],
)
def test_a_module_that_does_not_read_the_map_is_refused(
    algorithm, module, model_config, error, vlm_config, red_pool
):
    spec = RLModuleSpec(module_class=module, model_config=model_config)
    vlm = vlm_config(**GIVEN, frames={"source": "obs"})
    config = algorithm().environment(Filmed).rl_module(rl_module_spec=spec)
    found = preflight(SingleAgentEnvRunner(config=add_vlm_reward(config, vlm)), vlm)
    assert (found is None) == (error is None)
    assert error is None or re.search(error, str(found)), found
