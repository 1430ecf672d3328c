"""A curriculum's way through RLlib: what it is told, what envs draw, what a checkpoint holds."""

import json
import time

import gymnasium as gym
import in_turn
import numpy as np
import painted
import pytest
import ray
import recount
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.impala import IMPALAConfig

from rllib_vlm_reward.connectors.curriculum_progress import curriculum_progress
from rllib_vlm_reward.connectors.goal_weights import GoalWeights
from rllib_vlm_reward.connectors.pipeline import driver_pieces
from rllib_vlm_reward.curriculum import CurriculumConfig, Outcome
from rllib_vlm_reward.errors import ConfigError, GoalError, RewardError
from rllib_vlm_reward.plugin import add_vlm_reward

IN_TURN = CurriculumConfig(kind="in_turn.InTurn", signal="vlm_return", window=10_000)


class MutePaintedEnv(painted.PaintedEnv):
    """Tells no success."""

    def step(self, action):
        *others, info = super().step(action)
        info.pop("success")
        return *others, info


class WilfulEnv(painted.PaintedEnv):
    """Chooses its own missions."""

    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed)


@pytest.fixture
def build(vlm_config, ppo, shared_pool):
    """Returns a function: a PPO that draws its goals by a curriculum, stopped after the test."""
    built = []

    def make(curriculum=IN_TURN, config=None, env=painted.PaintedEnv, vlm=None, **env_runners):
        config = ppo(env, **env_runners) if config is None else config
        vlm = vlm or vlm_config(serving={"pool_name": shared_pool})
        built.append(add_vlm_reward(config, vlm, curriculum).build_algo())
        return built[-1]

    yield make
    for algorithm in built:
        algorithm.stop()


def own(algorithm):
    return next(driver_pieces(algorithm, GoalWeights))


def told(group):
    """Return the weights that each env runner's sub-envs draw with."""

    def look(runner):
        weights = runner.env.unwrapped.get_attr("goal_weights")
        return [list(each) for each in weights]

    remote = group.num_remote_env_runners() > 0
    return group.foreach_env_runner(look, local_env_runner=not remote)


def train(algorithm, iterations):
    """Train; return what each iteration says of episodes that ended, and the goals then drawn."""
    rows = []
    for _ in range(iterations):
        result = algorithm.train()
        ended = result["env_runners"].get("num_episodes", 0)
        rows.append((int(ended), own(algorithm).weights.index(1.0)))
    return rows


@pytest.mark.parametrize("num_env_runners", [0, 2])
@pytest.mark.parametrize("mode", ["synchronous", "deferred"])
def test_every_outcome_is_observed_once_and_every_env_draws_as_told(
    build, vlm_config, shared_pool, num_env_runners, mode
):
    vlm = vlm_config(mode=mode, serving={"pool_name": shared_pool})
    algorithm = build(vlm=vlm, num_env_runners=num_env_runners)
    begun, before, goal, total = [], 0, 0, 0
    for _ in range(30):
        if total > 3 * in_turn.EACH and len({weighted for _, weighted, _ in begun}) == 3:
            break  # six iterations as a rule; one may skip a turn
        recount.Witness.chunks.clear()
        ((ended, later),) = train(algorithm, 1)
        total += ended
        firsts = [chunk.columns[4, 0] for chunk in recount.Witness.chunks if chunk.t_started == 0]
        begun += [(drawn, goal, before) for drawn in firsts]
        before, goal = goal, later
        weights = [float(index == goal) for index in range(3)]
        assert all(w == weights for runner in told(algorithm.env_runner_group) for w in runner)
    curriculum = own(algorithm).curriculum
    assert sum(curriculum.episodes) == total > 3 * in_turn.EACH
    # A sub-env that was reset in the last step of a fragment had drawn already.
    assert all(drawn in (weighted, before) for drawn, weighted, before in begun)
    assert np.mean([drawn == weighted for drawn, weighted, _ in begun]) > 0.8
    assert len({weighted for _, weighted, _ in begun}) == 3


def test_an_outcome_says_what_the_episode_brought(build, vlm_config, shared_pool):
    vlm = vlm_config(mode="deferred", threshold=0.34, serving={"pool_name": shared_pool})
    for signal in ("vlm_return", "ground_truth_return", "vlm_success", "ground_truth_success"):
        recount.Witness.chunks.clear()
        uniform = CurriculumConfig(signal=signal, window=10_000)
        algorithm = build(uniform, vlm=vlm, batch_mode="complete_episodes")
        for _ in range(3):
            algorithm.train()
        whole = recount.Witness.chunks
        assert all(chunk.t_started == 0 for chunk in whole)
        expected = {
            "vlm_return": lambda chunk: float(chunk.rewards.sum()),
            "vlm_success": lambda chunk: float((chunk.rewards > 0).any()),
            "ground_truth_return": lambda chunk: painted.ENV_REWARD * len(chunk.rewards),
            "ground_truth_success": lambda chunk: float(chunk.terminated),
        }[signal]
        for goal, values in enumerate(own(algorithm).curriculum.values):
            recounted = [expected(chunk) for chunk in whole if chunk.columns[4, 0] == goal]
            assert sorted(values) == pytest.approx(sorted(recounted), abs=1e-4)
            assert values  # some 13 are to be expected, whichever goals are drawn


def test_the_result_tells_each_familys_share_and_no_outcomes(build):
    algorithm = build(CurriculumConfig(kind="success_window", signal="ground_truth_success"))
    result = algorithm.train()
    assert "outcomes" not in result["env_runners"]["vlm_reward"]
    (family,) = result["curriculum"]["families"].values()
    curriculum = own(algorithm).curriculum
    assert family["weight"] == pytest.approx(1.0)
    assert family["episodes"] == sum(curriculum.episodes) > 0
    means = [curriculum.mean(goal) for goal in range(3)]
    assert family["mean"] == pytest.approx(np.mean([mean for mean in means if mean is not None]))
    progress = json.loads(json.dumps(curriculum_progress(algorithm)))
    assert [progress["goals"][text]["weight"] for text in painted.GOALS] == own(algorithm).weights


def test_a_checkpoint_brings_the_curriculum_back_to_every_env_runner(build, tmp_path):
    first = build(num_env_runners=2)
    train(first, 4)
    path = first.save_to_path(str(tmp_path / "checkpoint"))
    second = build(num_env_runners=2)
    train(second, 1)  # of which nothing may be left
    second.restore_from_path(path)
    assert own(second).curriculum.get_state() == own(first).curriculum.get_state()
    assert own(second).weights == own(first).weights
    assert all(w == own(first).weights for each in told(second.env_runner_group) for w in each)
    before = sum(own(second).curriculum.episodes)
    ((ended, _),) = train(second, 1)
    assert sum(own(second).curriculum.episodes) == before + ended


def test_a_killed_env_runner_loses_no_outcome_that_arrived_and_draws_on_as_told(build, ppo):
    config = ppo(num_env_runners=2).fault_tolerance(delay_between_env_runner_restarts_s=0)
    algorithm = build(config=config)
    rows = train(algorithm, 2)
    group = algorithm.env_runner_group
    ray.kill(group._worker_manager.actors()[1], no_restart=False)
    for _ in range(20):
        rows += train(algorithm, 1)
        if len(told(group)) == 2:
            break
        time.sleep(1)
    rows += train(algorithm, 2)
    assert sum(own(algorithm).curriculum.episodes) == sum(ended for ended, _ in rows)
    assert len(told(group)) == 2
    assert all(w == own(algorithm).weights for runner in told(group) for w in runner)


def test_evaluation_draws_the_held_out_goals_and_teaches_nothing(build, vlm_config, ppo):
    vlm = vlm_config(goals=painted.GOALS[:2], evaluation_goals=painted.GOALS[2:])
    config = ppo().evaluation(
        evaluation_interval=1,
        evaluation_num_env_runners=1,
        evaluation_duration=8,
        evaluation_config={"explore": False},
    )
    algorithm = build(CurriculumConfig(signal="vlm_return"), config=config, vlm=vlm)
    rows = [algorithm.train() for _ in range(2)]
    assert told(algorithm.eval_env_runner_group) == [[[0.0, 0.0, 1.0]] * 3]
    assert told(algorithm.env_runner_group) == [[[0.5, 0.5, 0.0]] * 3]
    trained = sum(row["env_runners"]["num_episodes"] for row in rows)
    assert sum(own(algorithm).curriculum.episodes) == trained
    assert all(row["evaluation"]["env_runners"]["num_episodes"] >= 8 for row in rows)


@pytest.mark.parametrize("kind", [DQNConfig, IMPALAConfig])
def test_other_algorithms_are_told_too(build, kind):
    config = (
        kind()
        .environment(painted.PaintedEnv)
        .env_runners(num_env_runners=1, num_envs_per_env_runner=3, rollout_fragment_length=17)
        .rl_module(model_config={"fcnet_hiddens": [8]})
        .reporting(min_time_s_per_iteration=0, min_sample_timesteps_per_iteration=200)
    )
    if kind is IMPALAConfig:
        config.training(train_batch_size_per_learner=51)
    algorithm = build(config=config)
    total, owned, drawn = 0, [own(algorithm).weights], []
    for _ in range(8):
        ((ended, _),) = train(algorithm, 1)
        total += ended
        owned.append(own(algorithm).weights)
        ((weights, *others),) = told(algorithm.env_runner_group)
        assert others == [weights, weights]
        drawn.append(weights)
        assert weights in owned[-4:]  # IMPALA's env runners sample ahead
    assert sum(own(algorithm).curriculum.episodes) == total > in_turn.EACH
    assert len(set(map(tuple, drawn))) > 1


def test_sub_envs_in_processes_of_their_own_are_told_too(build):
    algorithm = build(gym_env_vectorize_mode=gym.VectorizeMode.ASYNC)
    train(algorithm, 2)
    assert told(algorithm.env_runner_group) == [[own(algorithm).weights] * 3]


def test_an_env_that_chooses_its_own_mission_is_refused_before_training(vlm_config, ppo, cluster):
    config = add_vlm_reward(ppo(WilfulEnv), vlm_config(), CurriculumConfig(signal="vlm_return"))
    with pytest.raises(GoalError, match=r"chose another goal.*reset\(options="):
        config.build_algo()


def test_goals_that_only_evaluation_poses_are_tried_before_training(vlm_config, ppo, cluster):
    vlm = vlm_config(evaluation_goals=["a pink wall"], templates=[{"prompt": "{}"}])
    config = add_vlm_reward(ppo(), vlm, CurriculumConfig(signal="vlm_return"))
    with pytest.raises(GoalError, match=r"'a pink wall': the env cannot be reset with this goal"):
        config.build_algo()


def test_a_signal_that_the_env_does_not_give_stops_the_first_iteration(build):
    algorithm = build(CurriculumConfig(signal="ground_truth_success"), env=MutePaintedEnv)
    with pytest.raises(ConfigError, match="success_key"):
        algorithm.train()


@pytest.mark.parametrize(
    ("changes", "curriculum", "says"),
    [
        ({"goals": ["a wall"], "negatives": ["nothing"]}, {"signal": "vlm_return"}, "one goal"),
        ({}, {"signal": "vlm_success"}, "threshold"),
    ],
)
def test_a_curriculum_that_cannot_work_is_refused(vlm_config, ppo, changes, curriculum, says):
    with pytest.raises(GoalError, match=says):
        add_vlm_reward(ppo(), vlm_config(**changes), CurriculumConfig(**curriculum))


def test_an_env_that_vectorises_itself_is_refused(vlm_config, ppo):
    config = ppo(gym_env_vectorize_mode=gym.VectorizeMode.VECTOR_ENTRY_POINT)
    with pytest.raises(RewardError, match="curriculum: got an env that vectorises itself"):
        add_vlm_reward(config, vlm_config(), CurriculumConfig(signal="vlm_return"))


def test_a_remote_piece_tells_only_its_weights(vlm_config):
    piece = GoalWeights(vlm_config(), IN_TURN)
    piece.observe([Outcome(0, 1.0, None, 0.0, None)] * in_turn.EACH)
    remote = GoalWeights(vlm_config(), IN_TURN)
    remote.attach(evaluates=False, is_remote=True)
    remote.set_state(piece.merge_states([remote.get_state()]))
    assert remote.get_state() == {"weights": [0.0, 1.0, 0.0], "added": []}
    assert sum(remote.curriculum.episodes) == 0


def test_seeded_complete_episodes_are_refused_since_every_sample_would_draw_the_same(
    vlm_config, ppo
):
    config = ppo(batch_mode="complete_episodes").debugging(seed=1)
    with pytest.raises(GoalError, match="truncate_episodes"):
        add_vlm_reward(config, vlm_config(), CurriculumConfig(signal="vlm_return"))


def test_an_env_that_was_set_too_late_for_a_curriculum_is_an_error(vlm_config, ppo, cluster):
    config = add_vlm_reward(ppo(), vlm_config(), CurriculumConfig(signal="vlm_return"))
    with pytest.raises(GoalError, match=r"after config\.environment"):
        config.environment(painted.PaintedEnv).build_algo()
