"""Each algorithm trains our modules: with an LSTM, with stacked frames, with Box actions."""

import collections
import time

import numpy as np
import pytest
import recount
import torch
from filmed import Filmed, FilmedBox
from painted import BANK
from ray.rllib.algorithms.appo import APPOConfig
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.impala import IMPALAConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.sac import SACConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from small_worlds import Compared, Cue, Named, Reach, Tap, row_of

from rllib_vlm_reward import Agent
from rllib_vlm_reward.connectors.stacked_frames import StackedFrames
from rllib_vlm_reward.plugin import add_vlm_reward
from rllib_vlm_reward.policies import (
    GoalConditionedModule,
    GoalConditionedQModule,
    GoalConditionedSACModule,
)
from rllib_vlm_reward.reward_model.clip import CLIPEncoder

LSTM = {"memory": "lstm", "lstm_size": 16, "max_seq_len": 7}
STACKED = {"stacked_frames": 3}
CODES = {"groups": 4, "codes": 8}


def on_policy(config, env, model_config):
    local = isinstance(config, PPOConfig)
    config.environment(env).env_runners(
        num_env_runners=0, num_envs_per_env_runner=3, rollout_fragment_length=17
    ).rl_module(
        rl_module_spec=RLModuleSpec(module_class=Compared),
        model_config={"hidden": 16, **model_config},
    ).reporting(min_time_s_per_iteration=0 if local else 0.5)
    if local:
        return config.training(train_batch_size_per_learner=102, minibatch_size=102, num_epochs=2)
    config.training(train_batch_size_per_learner=102)
    return config.learners(num_learners=0, num_aggregator_actors_per_learner=0)


def replayed(config, module, env, model_config):
    return (
        config.environment(env)
        .env_runners(num_env_runners=0, num_envs_per_env_runner=3, rollout_fragment_length=17)
        .rl_module(
            rl_module_spec=RLModuleSpec(module_class=module),
            model_config={"hidden": 16, **model_config},
        )
        .training(
            replay_buffer_config={"type": "EpisodeReplayBuffer", "capacity": 1000},
            num_steps_sampled_before_learning_starts=50,
            train_batch_size_per_learner=16,
        )
        .reporting(min_time_s_per_iteration=0)
    )


def weights(algorithm):
    state = algorithm.learner_group.get_weights()["default_policy"]
    return {name: value.copy() for name, value in state.items() if "target" not in name}


def train(config, vlm, until=None):
    """Train until something holds; return the names of the weights that changed."""
    Compared.differences.clear()
    Compared.batches.clear()
    algorithm = add_vlm_reward(config, vlm).build_algo()
    try:
        before = weights(algorithm)

        def changed():
            after = weights(algorithm)
            return {
                name for name, value in after.items() if not np.array_equal(value, before[name])
            }

        until = until or changed
        deadline = time.monotonic() + 120  # an asynchronous algorithm's env runners start late
        while not until() and time.monotonic() < deadline:
            algorithm.train()
        return changed()
    finally:
        algorithm.stop()


@pytest.mark.parametrize("env", [Filmed, FilmedBox])
@pytest.mark.parametrize("model_config", [LSTM, STACKED, {}], ids=["lstm", "stacked", "plain"])
@pytest.mark.parametrize("algorithm", [PPOConfig, APPOConfig, IMPALAConfig])
def test_on_policy_algorithms(algorithm, model_config, env, vlm_config, shared_pool):
    vlm = vlm_config(
        mode="deferred",
        goal_embedding=True,
        serving={"pool_name": shared_pool},
        frames={"source": "obs"},
    )
    config = on_policy(algorithm(), env, model_config)
    changed = train(config, vlm, lambda: len(Compared.batches) >= 2)
    # The learner's first pass is that of the weights which the env runners had.
    assert Compared.differences[0] <= 1e-5
    assert {"encoder", "action"} <= {name.split(".")[0] for name in changed}
    assert not model_config.get("memory") or any("lstm" in name for name in changed)
    assert_paid(Compared.batches[0], recount.score_table(vlm))


def assert_paid(batch, table):
    """Each step of a learner's batch is paid the score of the next step's newest frame."""
    frames, paid, mask = batch["obs"]["observation"][..., -3:], batch["rewards"], batch["mask"]
    followed = mask[..., :-1] & ~batch["terminateds"][..., :-1] & ~batch["truncateds"][..., :-1]
    if paid.ndim == 1:  # rows of one episode after another, each with one more step at its end
        frames, paid = frames[None], paid[None]
        followed = followed[None]
    rows = row_of(frames[:, 1:][followed], BANK)
    due = table[:, rows]
    wrong = np.abs(due - paid[:, :-1][followed].numpy()).min(axis=0) > 1e-5
    assert len(rows) > 50
    assert not wrong.any()


@pytest.mark.parametrize(
    ("config", "module", "env"),
    [
        (DQNConfig, GoalConditionedQModule, Filmed),
        (SACConfig, GoalConditionedSACModule, Filmed),
        (SACConfig, GoalConditionedSACModule, FilmedBox),
    ],
)
def test_algorithms_that_replay(config, module, env, vlm_config, shared_pool):
    vlm = vlm_config(
        mode="deferred",
        goal_embedding=True,
        serving={"pool_name": shared_pool},
        frames={"source": "obs"},
    )
    assert train(replayed(config(), module, env, STACKED), vlm)


@pytest.mark.codes
@pytest.mark.parametrize("name", ["PPO", "DQN"])
def test_codes_of_goals_learn_are_reported_and_come_back(name, vlm_config, shared_pool, tmp_path):
    vlm = vlm_config(
        mode="deferred",
        goal_embedding=True,
        serving={"pool_name": shared_pool},
        frames={"source": "obs"},
    )

    def build(**model_config):
        config = (
            on_policy(PPOConfig(), Filmed, {**LSTM, **model_config})
            if name == "PPO"
            else replayed(DQNConfig(), GoalConditionedQModule, Filmed, model_config)
        )
        return add_vlm_reward(config, vlm).build_algo()

    algorithm = build(goal_code=CODES)
    try:
        before = weights(algorithm)
        result = algorithm.train()
        learnt, path = weights(algorithm), algorithm.save_to_path(tmp_path / "coded")
    finally:
        algorithm.stop()
    coded = {key: value for key, value in learnt.items() if ".goal_code." in key}
    changed = {key.rsplit(".")[-1] for key in coded if (coded[key] != before[key]).any()}
    assert changed == {"weight", "bias", "embed"}

    codes, usage = codes_by_hand(coded, vlm)
    assert result["env_runners"]["vlm_reward"]["goal_code"] == pytest.approx(usage)
    agent = Agent.load(path)
    assert {goal: agent.goal_code(goal) for goal in vlm.goal_set.texts} == codes

    plain = build()
    old = plain.save_to_path(tmp_path / "plain")
    plain.stop()
    restored = build(goal_code=CODES)
    try:
        # RLlib's learner ignores weights that a checkpoint lacks; its optimizer does not.
        with pytest.raises(ValueError, match="loaded state dict contains a parameter group"):
            restored.restore_from_path(old)
        restored.restore_from_path(path)
        again = weights(restored)
        assert all(np.array_equal(again[key], learnt[key]) for key in learnt)
    finally:
        restored.stop()


def codes_by_hand(weights, vlm):
    """Return the code of each goal, and the usage of the codebook, from a policy's weights."""
    at = {key.rsplit(".goal_code.")[1]: value for key, value in weights.items()}
    goals = vlm.goal_set.goals
    encoder = CLIPEncoder.load(vlm.encoder)
    with torch.no_grad():
        embeddings = encoder.encode_texts([goal.prompt for goal in goals]).numpy()
    projected = embeddings * 16**0.5 @ at["project.weight"].T + at["project.bias"]
    groups = projected.reshape(len(goals), 4, 1, 4)
    rows = np.square(groups - at["quantizer._codebook.embed"]).sum(-1).argmin(-1)
    shares = np.bincount(rows.ravel(), minlength=8) / rows.size
    used = shares[shares > 0]
    same = collections.Counter(map(tuple, rows))
    return {goal.text: "-".join(map(str, row)) for goal, row in zip(goals, rows, strict=True)}, {
        "perplexity": np.exp(-(used * np.log(used)).sum()),
        "dead_codes": 8 - len(used),
        "alike_goals": sum(count for count in same.values() if count > 1),
    }


def test_a_run_of_uint8_frames_needs_no_module(vlm_config, shared_pool, caplog):
    """The first try of most: one goal, pixels, and nothing about a policy."""
    vlm = vlm_config(
        goals=["a red wall"],
        negatives=["a blue wall"],
        mode="deferred",
        serving={"pool_name": shared_pool},
        frames={"source": "obs"},
    )
    config = PPOConfig().environment(Filmed).env_runners(num_env_runners=0)
    config.training(train_batch_size_per_learner=100, minibatch_size=100, num_epochs=1)
    changed = train(config, vlm)
    assert "GoalConditionedModule is used" in caplog.text
    assert {"encoder", "action"} <= {name.split(".")[0] for name in changed}


def learned(config, iterations, enough):
    """Train until the mean return is enough; return the best."""
    algorithm = config.build_algo()
    try:
        best = -np.inf
        for _ in range(iterations):
            best = max(best, algorithm.train()["env_runners"]["episode_return_mean"])
            if best >= enough:
                break
        return best
    finally:
        algorithm.stop()


def ppo(env, stacked_frames=1, **model_config):
    def stack(env, spaces, device):
        return [StackedFrames(stacked_frames)]

    return (
        PPOConfig()
        .environment(env)
        .env_runners(
            num_env_runners=0,
            num_envs_per_env_runner=16,
            rollout_fragment_length=32,
            env_to_module_connector=stack,
        )
        .rl_module(
            rl_module_spec=RLModuleSpec(module_class=GoalConditionedModule),
            model_config={"hidden": 32, "channels": 8, **model_config},
        )
        .training(
            train_batch_size_per_learner=512,
            minibatch_size=128,
            num_epochs=6,
            lr=0.003,
            gamma=0.9,
            use_kl_loss=False,
        )
        .debugging(seed=0)
    )


@pytest.mark.parametrize(
    "memory", [{"memory": "lstm", "lstm_size": 16}, {"stacked_frames": 4}], ids=["lstm", "stacked"]
)
def test_what_is_shown_once_is_remembered(memory, cluster):
    assert learned(ppo(Cue, **memory), 30, 0.9) >= 0.9


def test_without_a_memory_what_was_shown_is_forgotten(cluster):
    assert learned(ppo(Cue), 10, 0.9) < 0.75  # 100 episodes of chance: 0.5, deviation 0.05


@pytest.mark.codes
def test_goals_are_distinguished_by_codes_that_are_learned(cluster):
    assert learned(ppo(Named, goal_code={"groups": 4, "codes": 8}), 30, 0.95) >= 0.95


def test_box_actions_are_learned(cluster):
    # A constant action at the centre is 0.35 away.
    assert learned(ppo(Reach), 25, -0.15) >= -0.15


def test_taps_are_learned_at_all_places_at_once(cluster):
    """In 6 iterations; without spatial_actions it takes 10."""
    assert learned(ppo(Tap, patch_size=2, spatial_actions=[4, 4]), 6, 0.9) >= 0.9


def test_continuous_sac_learns(cluster):
    config = (
        replayed(SACConfig(), GoalConditionedSACModule, Reach, {"hidden": 32, "channels": 8})
        .env_runners(num_envs_per_env_runner=8, rollout_fragment_length=1)
        .training(
            actor_lr=0.003, critic_lr=0.003, alpha_lr=0.003, initial_alpha=0.1, training_intensity=8
        )
        .reporting(min_sample_timesteps_per_iteration=200)
        .debugging(seed=0)
    )
    assert learned(config, 30, -0.15) >= -0.15
