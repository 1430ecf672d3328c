"""A user's own connector pieces: CLIP sees raw frames; what a policy is shown of its rewards."""

import gymnasium as gym
import numpy as np
import painted
import pytest
import recount
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.connectors.env_to_module import (
    FlattenObservations,
    MeanStdFilter,
    PrevActionsPrevRewards,
)
from ray.rllib.connectors.env_to_module.frame_stacking import FrameStackingEnvToModule
from ray.rllib.connectors.env_to_module.observation_preprocessor import (
    SingleAgentObservationPreprocessor,
)
from ray.rllib.connectors.learner.frame_stacking import FrameStackingLearner
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from red_pool import red_score

from rllib_vlm_reward.connectors.pipeline import attach_pieces, reward_piece
from rllib_vlm_reward.monitoring import Recorder
from rllib_vlm_reward.plugin import add_vlm_reward


class Seen(painted.PaintedEnv):
    """Observes its own frame, 10 x 10, for which RLlib has a default network."""

    observation_space = gym.spaces.Box(0, 255, (10, 10, 3), np.uint8)
    frames = []  # noqa: RUF012  # of the steps of all envs, in order

    def step(self, action):
        observation, *rest = super().step(action)
        self.frames.append(observation)
        return observation, *rest

    def _show(self):
        _, info = super()._show()
        return painted.BANK[self.frame][:10, :10], info


class Grey(SingleAgentObservationPreprocessor):
    """RLlib 2.60 stacks frames of one channel only, and filters floats only."""

    def recompute_output_observation_space(self, input_observation_space, input_action_space):
        return gym.spaces.Box(-1.0, 1.0, (10, 10, 1), np.float32)

    def preprocess(self, observation, episode):
        return observation.mean(axis=-1, keepdims=True, dtype=np.float32) / 127.5 - 1.0


class Paid(ConnectorV2):
    """A learner connector that keeps what each step paid, by the time the learner sees it."""

    rewards = {}  # noqa: RUF012

    def __call__(self, *, rl_module, batch, episodes, **kwargs):
        for episode in episodes:
            id_ = episode.id_.rsplit("_", 1)[0]
            paid = list(episode.get_rewards())[:-1]  # PPO's first learner piece adds one
            steps = range(episode.t_started + 1, episode.t_started + len(paid) + 1)
            self.rewards |= {(id_, t): reward for t, reward in zip(steps, paid, strict=True)}
        return batch


def stacked(env, spaces, device):
    return [Grey(), FrameStackingEnvToModule(num_frames=4)]


def stacked_learner(observation_space, action_space):
    return [
        Paid(observation_space, action_space),
        FrameStackingLearner(observation_space, action_space, num_frames=4),
    ]


def filtered(env, spaces, device):
    return [Grey(), MeanStdFilter()]


@pytest.mark.parametrize("mode", ["synchronous", "deferred"])
@pytest.mark.parametrize("source", ["obs", "render"])
@pytest.mark.parametrize(("pieces", "learner"), [(stacked, stacked_learner), (filtered, Paid)])
def test_clip_sees_the_raw_frames(pieces, learner, source, mode, vlm_config, shared_pool):
    config = (
        PPOConfig()
        .environment(Seen)
        .env_runners(
            num_env_runners=0,
            num_envs_per_env_runner=3,
            rollout_fragment_length=17,
            env_to_module_connector=pieces,
        )
        .training(train_batch_size_per_learner=150, minibatch_size=150, num_epochs=1)
        .learners(learner_connector=learner)
    )
    vlm = vlm_config(mode=mode, frames={"source": source}, serving={"pool_name": shared_pool})
    algorithm = add_vlm_reward(config, vlm).build_algo()
    try:
        recorder = Recorder()
        reward_piece(algorithm.env_runner).record(recorder)
        Paid.rewards.clear()
        Seen.frames.clear()
        algorithm.train()
    finally:
        algorithm.stop()
    frames = np.stack([it.frame for it in recorder.frames])
    assert len(frames) >= 150
    assert np.array_equal(frames[:, :10, :10], np.stack(Seen.frames))
    assert {it[:2]: it.score for it in recorder.frames} == pytest.approx(Paid.rewards)
    goals = np.array([painted.GOALS.index(it.goal) for it in recorder.frames])
    table = recount.score_table(vlm)
    ids = [int(np.flatnonzero((painted.BANK[:, 0, 0] == f[0, 0]).all(axis=-1))[0]) for f in frames]
    if source == "render":
        assert [it.score for it in recorder.frames] == pytest.approx(table[goals, ids], abs=1e-5)


@pytest.fixture
def shown(vlm_config, red_pool):
    """Returns a function: a fragment's rewards and what the policy was shown of them.

    ``shown[t, k]`` is what the policy saw, before action t, as its reward of k + 1 steps before.
    """

    def run(num_rewards=1, fragments=1, **changes):
        def pieces(env, spaces, device):
            return [PrevActionsPrevRewards(n_prev_rewards=num_rewards), FlattenObservations()]

        config = (
            PPOConfig()
            .environment(painted.PaintedEnv)
            .env_runners(
                num_env_runners=0,
                num_envs_per_env_runner=2,
                rollout_fragment_length=40,
                episode_lookback_horizon=num_rewards,
                env_to_module_connector=pieces,
            )
            .rl_module(model_config={"fcnet_hiddens": [8]})
        )
        runner = SingleAgentEnvRunner(config=add_vlm_reward(config, vlm_config(**changes)))
        attach_pieces(runner, "red", "this run", precisions={})
        episodes = [episode for _ in range(fragments) for episode in runner.sample()]
        columns = [np.array(episode.get_observations())[:, -num_rewards:] for episode in episodes]
        for episode in episodes:
            # Flattened, an observation is (env, episode, t, frame, goal), actions, rewards.
            _, _, _, frames, goals = np.array(episode.get_observations())[1:, :5].T.astype(int)
            weight = changes.get("env_reward_weight", 0.0)
            due = red_score(painted.BANK[frames], goals) + weight * painted.ENV_REWARD
            assert episode.get_rewards() == pytest.approx(due, abs=1e-4)
        return episodes, columns

    return run


def test_synchronous_mode_shows_the_policy_the_reward_of_the_step_before(shown):
    episodes, columns = shown(fragments=3, mode="synchronous")
    for episode, column in zip(episodes, columns, strict=True):
        assert column[1:, 0] == pytest.approx(episode.get_rewards())
        assert episode.t_started or column[0, 0] == 0.0


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_deferred_mode_shows_the_policy_what_is_known_by_then(shown, weight):
    episodes, columns = shown(fragments=3, mode="deferred", env_reward_weight=weight)
    for episode, column in zip(episodes, columns, strict=True):
        assert (column[1:, 0] == weight * painted.ENV_REWARD).all()
        assert column[0, 0] == (weight * painted.ENV_REWARD if episode.t_started else 0.0)


def test_deferred_mode_shows_the_rewards_of_earlier_fragments(shown):
    episodes, columns = shown(num_rewards=3, fragments=4, mode="deferred")
    whole = {}
    for episode, column in zip(episodes, columns, strict=True):
        before = whole.get(episode.id_, [])
        if len(before) >= 2:
            # Before its second action: two of the fragment before, and its own first, unknown yet.
            assert column[1] == pytest.approx([*before[-2:], 0.0])
        whole[episode.id_] = [*before, *episode.get_rewards()]
    assert any(episode.t_started > 1 for episode in episodes)
