"""Every run in configs/ runs: the same algorithm, policy and reward, with few steps.

Not here: quickstart.yaml, which test_train.py runs, and wrong_prompts.yaml, which is it but for the
prompts. A CLIP other than `base` is replaced by a tiny one.
"""

from pathlib import Path

import gymnasium as gym
import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from rllib_vlm_reward.reward_model.encoder import check_encoder
from rllib_vlm_reward.run import Experiment, train
from rllib_vlm_reward.serving.pool import RewardPool

ELSEWHERE = ("quickstart", "wrong_prompts")
EXTRAS = ("android", "house")  # the configs that need an extra, and the markers of their tests
RUNS = [
    pytest.param(
        path, marks=getattr(pytest.mark, path.stem) if path.stem in EXTRAS else (), id=path.stem
    )
    for path in sorted(Path(__file__).parents[2].glob("configs/*.yaml"))
    if path.stem not in ELSEWHERE and "stop" in yaml.safe_load(path.read_text())
]
ASYNCHRONOUS = ("APPO", "IMPALA")
MAX_STEPS = 15  # of an episode: evaluation, video and pictures play some 20 to their ends
# RLlib's settings of size; only those that a config sets are made small.
SMALL = {
    "env_runners": {"num_envs_per_env_runner": 8, "rollout_fragment_length": 16},
    "training": {
        "train_batch_size_per_learner": 128,
        "minibatch_size": 64,
        "num_epochs": 1,
        "training_intensity": 1,
        "num_steps_sampled_before_learning_starts": 128,
    },
}


@pytest.fixture(scope="module")
def pool_of_base(cluster, painted_config):
    """A pool of the CLIP that the configs of BabyAI's envs name; its name."""
    pool = RewardPool.start(painted_config(encoder="base"), name="pool-of-base")
    yield pool.name
    pool.close()


def cut(path, pools):
    """The run of a config, of some hundred steps, by a pool that runs already.

    Args:
        path: of the config.
        pools: the name of a pool by its encoder; the last stands in for all other encoders.
    """
    settings = yaml.safe_load(path.read_text())
    ours = settings["environment"]["env"].startswith("rllib_vlm_reward/")
    limit = "max_steps" if ours else "max_episode_steps"
    settings["environment"].setdefault("env_config", {})[limit] = MAX_STEPS
    # Without the start of a process; quickstart.yaml, APPO and IMPALA train with a remote one.
    if settings["algorithm"] == "PPO":
        settings["env_runners"]["num_env_runners"] = 0
    for section, small in SMALL.items():
        here = settings[section]
        here |= {name: value for name, value in small.items() if name in here}
    reward = settings["vlm_reward"]
    check_encoder(reward["encoder"])
    if reward["encoder"] not in pools:
        reward["encoder"] = list(pools)[-1]
    reward["serving"] |= {"pool_name": pools[reward["encoder"]], "precision": "fp32"}
    # One iteration; of an asynchronous algorithm, those of a second, by when it has learnt.
    waits = settings["algorithm"] in ASYNCHRONOUS
    settings["reporting"] = {
        "min_time_s_per_iteration": 1 if waits else 0,
        "min_sample_timesteps_per_iteration": 0 if waits else 300,
    }
    return Experiment.model_validate(
        {**settings, "stop": {"env_steps": 300}, "evaluation_episodes": 2}
    )


@pytest.mark.parametrize("path", RUNS)
def test_a_config_trains_saves_and_evaluates(
    path, pool_of_base, shared_pool, tiny_clip, tmp_path, monkeypatch
):
    monkeypatch.setenv("SDL_AUDIODRIVER", "dummy")
    summary = train(cut(path, {"base": pool_of_base, tiny_clip: shared_pool}), tmp_path)
    assert summary["env_steps"] >= 300
    tells = yaml.safe_load(path.read_text())["environment"]["env"].startswith("rllib_vlm_reward/")
    assert (summary["ground_truth_success"] is not None) == tells
    assert 0 <= (summary["ground_truth_success"] or 0) <= 1
    assert summary["evaluation_episodes"] == 2
    assert (tmp_path / "returns.png").exists()
    tags = EventAccumulator(str(tmp_path)).Reload().Tags()["scalars"]
    assert "env_runners/vlm_reward/score_max" in tags
    assert any(tag.startswith("learners/default_policy/") for tag in tags)  # it did learn


def test_mountaincar_pays_each_step_at_the_flag():
    """By itself, gymnasium's env ends with the first frame at the flag."""
    environment = Experiment.from_file("mountaincar").environment
    env = gym.make(environment["env"], **environment["env_config"])
    (position, velocity), _ = env.reset(seed=0)
    positions, ended = [], False
    while not ended:
        (position, velocity), _, terminated, truncated, _ = env.step(2 if velocity >= 0 else 0)
        positions.append(position)
        ended = terminated or truncated
    at_the_flag = [position >= env.unwrapped.goal_position for position in positions]
    assert len(positions) == 200
    assert sum(at_the_flag) > 60
    assert all(at_the_flag[at_the_flag.index(True) :])  # the hill's far side holds the car there
