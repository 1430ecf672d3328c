import gc
import logging
import os
import re
import signal
import time

import broken
import numpy as np
import pytest
import ray
import recount
from painted import PaintedEnv
from ray import tune
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.tune.utils import flatten_dict

from rllib_vlm_reward.connectors import sampling
from rllib_vlm_reward.connectors.callbacks import callbacks_of
from rllib_vlm_reward.connectors.preflight import preflight
from rllib_vlm_reward.errors import FrameError, GoalError, PoolError, RewardError
from rllib_vlm_reward.monitoring import metric_names as names
from rllib_vlm_reward.plugin import add_vlm_reward
from rllib_vlm_reward.serving import pool


def actors():
    return ray.util.list_named_actors(all_namespaces=True)


def train(algorithm, iterations):
    for _ in range(iterations):
        algorithm.train()


def assert_no_new_actor(before):
    """Wait a little: Ray's own list lags behind."""
    for _ in range(50):
        gc.collect()
        if actors() == before:
            return
        time.sleep(0.1)
    pytest.fail(f"left {actors()}, expected {before}")


@pytest.mark.parametrize(
    ("env", "error", "says"),
    [
        (broken.SilentEnv, FrameError, 'render_mode = "rgb_array"'),
        (broken.FloatEnv, FrameError, "float64"),
        (broken.GreyEnv, FrameError, "grey frames"),
        (broken.PictureEnv, RewardError, r"uint8 \[64, 64, 3\].*GoalConditionedModule"),
        (broken.UnevenEnv, FrameError, "mixed sizes"),
        (broken.StrangerEnv, GoalError, "unknown goal 'a yellow wall'"),
        (broken.TextSuccessEnv, RewardError, "info has 'False'"),
    ],
)
def test_a_broken_env_stops_the_build_before_the_pool_starts(
    env, error, says, vlm_config, ppo, cluster
):
    before = actors()
    with pytest.raises(error, match=says):
        add_vlm_reward(ppo(env), vlm_config()).build_algo()
    assert actors() == before


@pytest.mark.parametrize(
    ("model_config", "keys", "says"),
    [
        ({"fcnet_hiddens": [8]}, {}, r"uint8 \[64, 64, 3\].*module_class=GoalConditionedModule"),
        ({}, {"goal_embedding": False}, r"uint8 \[64, 64, 3\].*module_class=GoalConditionedModule"),
        ({}, {}, r"^None$"),  # the module of this package is used
    ],
)
def test_frames_for_a_module_of_rllib_are_an_error_that_names_ours(
    model_config, keys, says, vlm_config
):
    vlm = vlm_config(**keys)
    config = PPOConfig().environment(broken.PictureEnv).rl_module(model_config=model_config)
    runner = SingleAgentEnvRunner(config=add_vlm_reward(config, vlm))
    assert re.search(says, str(preflight(runner, vlm)))


def test_a_goal_that_the_single_one_hides_is_a_warning_when_it_is_built(
    vlm_config, ppo, shared_pool, caplog
):
    vlm = vlm_config(
        goals=["a white wall"], negatives=["a black wall"], serving={"pool_name": shared_pool}
    )
    with caplog.at_level(logging.WARNING, logger="rllib_vlm_reward"):
        add_vlm_reward(ppo(), vlm).build_algo().stop()
    (said,) = [record.getMessage() for record in caplog.records if "single" in record.getMessage()]
    assert re.search("asks for 'a (red|blue|green) wall'.* the single goal 'a white wall'", said)


def test_a_remote_env_runner_tells_the_driver(vlm_config, ppo, cluster):
    config = add_vlm_reward(ppo(broken.SilentEnv, num_env_runners=1), vlm_config())
    with pytest.raises(FrameError, match='render_mode = "rgb_array"'):
        config.build_algo()


def test_an_env_that_was_set_too_late_for_an_early_end_is_an_error(vlm_config, ppo, cluster):
    vlm = vlm_config(mode="synchronous", threshold=0.5, early_end=True)
    config = add_vlm_reward(ppo(), vlm).environment(PaintedEnv)
    with pytest.raises(RewardError, match=r"after config\.environment"):
        config.build_algo()


class FailsToStart(RLlibCallback):
    def on_algorithm_init(self, **kwargs):
        raise KeyError("a user's own")


def test_no_actor_is_left_when_the_build_fails_later(vlm_config, ppo, cluster):
    before = actors()
    config = ppo().callbacks(FailsToStart)
    with pytest.raises(KeyError, match="a user's own") as raised:
        add_vlm_reward(config, vlm_config()).build_algo()
    del raised  # its traceback holds the algorithm
    assert_no_new_actor(before)


def test_stop_closes_the_pool_it_started_and_no_other(vlm_config, ppo, shared_pool):
    before = actors()
    own = add_vlm_reward(ppo(), vlm_config()).build_algo()
    sharing = add_vlm_reward(ppo(), vlm_config(serving={"pool_name": shared_pool})).build_algo()
    assert len(actors()) == len(before) + 1
    own.stop()
    sharing.train()
    sharing.stop()
    assert_no_new_actor(before)


def test_evaluation_reports_too(vlm_config, ppo, shared_pool):
    vlm = vlm_config(threshold=0.5, serving={"pool_name": shared_pool})
    config = ppo().evaluation(
        evaluation_interval=1, evaluation_duration=6, evaluation_num_env_runners=0
    )
    algorithm = add_vlm_reward(config, vlm).build_algo()
    result = algorithm.train()
    algorithm.stop()
    assert set(result["env_runners"]["vlm_reward"]) > {
        "vlm_return_mean",
        "ground_truth_return_mean",
        "ground_truth_success",
        "return_gap",
        "fires_per_episode",
        "score_mean",
        "score_min",
        "score_max",
        "frames",
    }
    trained = result["env_runners"]["vlm_reward"]
    assert result["VLM_reward"].keys() == {*names.FIRST} & trained.keys()
    for name in ("vlm_return_mean", "false_positives_per_episode", "alarms"):
        assert result["VLM_reward"][name] == trained[name]
    assert min(flatten_dict(result)).startswith("VLM_reward/")
    evaluated = result["evaluation"]["env_runners"]
    success = evaluated["vlm_reward"]["ground_truth_success"]
    assert result["VLM_reward_evaluation"]["ground_truth_success"] == success
    assert evaluated["vlm_reward"]["vlm_return_mean"] == evaluated["episode_return_mean"]
    assert evaluated["vlm_reward"]["ground_truth_return_mean"] == pytest.approx(
        -100 * evaluated["episode_len_mean"]
    )


def test_a_failure_in_a_remote_env_runner_is_raised_on_the_driver(vlm_config, ppo, shared_pool):
    config = ppo(broken.LateStrangerEnv, num_env_runners=1)
    algorithm = add_vlm_reward(config, vlm_config(serving={"pool_name": shared_pool})).build_algo()
    begin = time.monotonic()
    with pytest.raises(RewardError, match=r"GoalError: .* unknown goal 'a yellow wall'"):
        train(algorithm, 3)
    assert time.monotonic() - begin < 30  # RLlib's own delay is 60 s
    algorithm.stop()
    # Nor does another run that shares the pool stumble over it.
    algorithm = add_vlm_reward(ppo(), vlm_config(serving={"pool_name": shared_pool})).build_algo()
    algorithm.train()
    algorithm.stop()


@pytest.mark.parametrize("num_env_runners", [0, 2])
def test_the_traceback_of_the_users_env_is_shown_in_seconds(
    num_env_runners, vlm_config, ppo, shared_pool
):
    config = ppo(broken.RaisingEnv, num_env_runners=num_env_runners)
    algorithm = add_vlm_reward(config, vlm_config(serving={"pool_name": shared_pool})).build_algo()
    begin = time.monotonic()
    with pytest.raises((KeyError, RewardError), match="the user's own mistake") as raised:
        algorithm.train()
    assert time.monotonic() - begin < 30  # RLlib's own delay is 60 s
    algorithm.stop()
    if num_env_runners:
        assert "broken.py" in str(raised.value)
        assert "raise KeyError" in str(raised.value)
    else:
        assert raised.traceback[-1].path.name == "broken.py"


def test_a_failure_ends_an_iteration_that_rllib_never_ends(vlm_config, shared_pool):
    config = (
        DQNConfig()
        .environment(broken.RaisingEnv)
        .env_runners(num_env_runners=1, rollout_fragment_length=16)
        .training(num_steps_sampled_before_learning_starts=10_000)
        .rl_module(model_config={"fcnet_hiddens": [8]})
    )
    algorithm = add_vlm_reward(config, vlm_config(serving={"pool_name": shared_pool})).build_algo()
    with pytest.raises(RewardError, match="the user's own mistake"):
        algorithm.train()
    algorithm.stop()


def test_a_restarted_env_runner_finds_the_pool(vlm_config, ppo, shared_pool):
    config = ppo(num_env_runners=1, sample_timeout_s=30)
    vlm = vlm_config(serving={"pool_name": shared_pool})
    algorithm = add_vlm_reward(config, vlm).build_algo()
    algorithm.train()
    (runner,) = algorithm.env_runner_group._worker_manager.actors().values()
    ray.kill(runner, no_restart=False)
    for _ in range(10):
        recount.Witness.chunks.clear()
        algorithm.train()
        if recount.Witness.chunks:
            break
        time.sleep(1)
    algorithm.stop()
    chunks = recount.Witness.chunks
    got, expected = [chunk.rewards for chunk in chunks], recount.expected_rewards(chunks, vlm)
    assert recount.mismatches(got, expected) == 0


def test_processes_that_stand_still_end_training(vlm_config, ppo, shared_pool, monkeypatch):
    for module, name in ((sampling, "_PATIENCE_S"), (pool, "_CONTROL_TIMEOUT_S")):
        monkeypatch.setattr(module, name, 1.0)
    vlm = vlm_config(stalled_seconds=2.0, serving={"pool_name": shared_pool})
    config = ppo(num_env_runners=1, batch=51, sample_timeout_s=5)
    algorithm = add_vlm_reward(config, vlm).build_algo()
    algorithm.train()
    pids = algorithm.env_runner_group.foreach_env_runner(
        lambda runner: os.getpid(), local_env_runner=False
    )
    pids += [actor["pid"] for actor in callbacks_of(algorithm)._pool.describe()]
    assert len(pids) == 2
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    begin = time.monotonic()
    try:
        with pytest.raises(RewardError, match="training stands still") as raised:
            train(algorithm, iterations=3)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    assert time.monotonic() - begin < 30
    algorithm.stop()
    assert "1 of 1 env runners are healthy, and 0 answer" in str(raised.value)
    assert "0 of 1 reward actors answer (not shared/0)" in str(raised.value)


def test_samples_that_are_all_dropped_are_told(vlm_config, ppo, shared_pool):
    config = ppo(broken.SlowEnv, num_env_runners=1, sample_timeout_s=0.5)
    algorithm = add_vlm_reward(config, vlm_config(serving={"pool_name": shared_pool})).build_algo()
    with pytest.raises(RewardError, match="sample_timeout_s"):
        algorithm.train()
    algorithm.stop()


def test_scores_that_never_change_are_told(vlm_config, ppo, cluster):
    vlm = vlm_config(
        goals=["x y z 17"], negatives=["red"], head={"kind": "softmax", "temperature": 1e-4}
    )
    algorithm = add_vlm_reward(ppo(batch=400), vlm).build_algo()
    with pytest.raises(RewardError, match=r"for each of .* frames, expected different"):
        algorithm.train()
    algorithm.stop()


def test_it_runs_in_a_tune_trial_and_leaves_no_actor(vlm_config, ppo, cluster, tmp_path):
    before = actors()
    config = add_vlm_reward(ppo(), vlm_config())
    (result,) = tune.Tuner(
        config.algo_class,
        param_space=config,
        run_config=tune.RunConfig(
            storage_path=str(tmp_path), stop={"training_iteration": 2}, verbose=0
        ),
    ).fit()
    assert result.error is None
    assert np.isfinite(result.metrics["env_runners"]["vlm_reward"]["vlm_return_mean"])
    assert_no_new_actor(before)


def test_another_model_does_not_judge_in_the_place_of_the_one_asked_for(
    vlm_config, ppo, shared_pool
):
    vlm = vlm_config(serving={"pool_name": shared_pool, "precision": "bf16"})
    with pytest.raises(PoolError, match=r"'fp32'.*'bf16'.*another pool_name"):
        add_vlm_reward(ppo(), vlm).build_algo()


def test_a_shared_pool_with_fewer_actors_says_so(vlm_config, ppo, shared_pool):
    with pytest.raises(PoolError, match="expected 2 actors"):
        add_vlm_reward(
            ppo(), vlm_config(serving={"pool_name": shared_pool, "num_actors": 2})
        ).build_algo()
