import gymnasium as gym
import numpy as np
import pytest
from filmed import Filmed
from painted import BANK, PaintedEnv
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from red_pool import red_score

from rllib_vlm_reward.connectors.pipeline import attach_pieces
from rllib_vlm_reward.connectors.stacked_frames import StackedFrames
from rllib_vlm_reward.errors import ConfigError, RewardError
from rllib_vlm_reward.plugin import add_vlm_reward
from rllib_vlm_reward.policies import GoalConditionedModule

GOAL_CONDITIONED = RLModuleSpec(module_class=GoalConditionedModule)


def play(vlm, frames, fragments=6, **env_runners):
    """Return the fragments of two envs whose policy sees k frames."""
    config = (
        PPOConfig()
        .environment(Filmed)
        .env_runners(
            num_env_runners=0,
            num_envs_per_env_runner=2,
            rollout_fragment_length=11,
            **env_runners,
        )
        .rl_module(rl_module_spec=GOAL_CONDITIONED, model_config={"stacked_frames": frames})
    )
    runner = SingleAgentEnvRunner(config=add_vlm_reward(config, vlm))
    attach_pieces(runner, "red", "this run", precisions={})
    return runner, [episode for _ in range(fragments) for episode in runner.sample()]


@pytest.mark.parametrize("mode", ["synchronous", "deferred"])
def test_the_policy_sees_the_last_frames_and_clip_the_newest(mode, vlm_config, red_pool):
    vlm = vlm_config(mode=mode, goal_embedding=True, frames={"source": "obs"})
    runner, chunks = play(vlm, 3)
    frames, cuts = {}, 0
    for chunk in chunks:
        cuts += chunk.t_started > 0
        stacks = chunk.get_observations()["observation"]
        goal = chunk.custom_data["goal_index"]
        for t, (stack, info) in enumerate(zip(stacks, chunk.get_infos(), strict=True)):
            before = frames.setdefault(chunk.id_, [])
            if t or not chunk.t_started:  # a chunk begins with the observation that ended the last
                before.append(BANK[info["place"]])
            first_is_repeated = [before[0]] * 2 + before
            assert np.array_equal(stack, np.concatenate(first_is_repeated[-3:], axis=-1))
        newest = stacks[1:, ..., -3:]
        goals = np.full(len(newest), goal)
        assert chunk.get_rewards() == pytest.approx(red_score(newest, goals), abs=1e-6)
    assert cuts > 4
    assert len(frames) > 2
    assert runner.module.encoder.patches.in_channels == 9


def test_one_frame_is_no_stack(vlm_config, red_pool):
    runner, _ = play(vlm_config(goal_embedding=True, frames={"source": "obs"}), 1, fragments=1)
    assert not [p for p in runner._env_to_module.connectors if isinstance(p, StackedFrames)]
    assert runner.module.encoder.patches.in_channels == 3


def test_an_observation_that_is_the_frame_is_stacked_as_well():
    piece = StackedFrames(2)
    piece.input_observation_space = Filmed.observation_space
    episode = SingleAgentEpisode(observations=[BANK[5]], observation_space=piece.observation_space)
    assert np.array_equal(piece.preprocess(BANK[5], episode), np.concatenate([BANK[5]] * 2, -1))


def test_a_users_stateful_piece_behind_it_keeps_its_state():
    piece = StackedFrames(2)
    assert piece.merge_states([piece.get_state(), piece.get_state()]) == piece.get_state()
    assert piece.get_state()  # else RLlib 2.60 merges a later piece's state into this one


class Halved(ConnectorV2):
    """Rewrites what the policy sees, and so what the next step finds."""

    def recompute_output_observation_space(self, input_observation_space, input_action_space):
        parts = dict(input_observation_space)
        return gym.spaces.Dict({**parts, "observation": Filmed.observation_space})

    def __call__(self, *, batch, episodes, **kwargs):
        for episode in episodes:
            seen = episode.get_observations(-1)
            episode.observations[-1] = {**seen, "observation": seen["observation"][..., :3]}
        return batch


def test_a_piece_that_rewrites_the_stack_is_an_error(vlm_config, red_pool):
    vlm = vlm_config(goal_embedding=True, frames={"source": "obs"})
    with pytest.raises(ConfigError, match="Remove the env-to-module connectors that rewrite"):
        play(vlm, 2, env_to_module_connector=lambda env, spaces, device: [Halved()])


def test_a_number_beside_the_modules_own_settings_counts(vlm_config):
    spec = RLModuleSpec(module_class=GoalConditionedModule, model_config={"patch_size": 8})
    given = {"rl_module_spec": spec, "model_config": {"stacked_frames": 0}}
    config = PPOConfig().environment(Filmed).rl_module(**given)
    with pytest.raises(ConfigError, match="got stacked_frames 0"):
        add_vlm_reward(config, vlm_config(goal_embedding=True, frames={"source": "obs"}))


@pytest.mark.parametrize("frames", [0, "four", 2.0])
def test_a_wrong_number_of_frames_is_an_error_before_anything_starts(frames, vlm_config):
    config = PPOConfig().environment(Filmed).rl_module(model_config={"stacked_frames": frames})
    with pytest.raises(ConfigError, match=f"got stacked_frames {frames!r}"):
        add_vlm_reward(config, vlm_config(frames={"source": "obs"}))


def test_frames_of_several_agents_are_not_stacked(vlm_config):
    config = PPOConfig().environment(Filmed).rl_module(model_config={"stacked_frames": 2})
    config.multi_agent(policies={"p"}, policy_mapping_fn=lambda agent, episode, **kwargs: "p")
    with pytest.raises(RewardError, match="Stack the frames in the env"):
        add_vlm_reward(config, vlm_config(frames={"source": "obs"}))


def test_what_is_no_frame_cannot_be_stacked():
    piece = StackedFrames(2)
    with pytest.raises(ConfigError, match="expected a frame"):
        piece.input_observation_space = PaintedEnv.observation_space
