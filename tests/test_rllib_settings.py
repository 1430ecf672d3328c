"""RLlib's settings of a wrong type are refused when the run is read, or the reward is added."""

import pytest
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.registry import ALGORITHMS
from ray.tune.registry import get_trainable_cls

from rllib_vlm_reward import VLMRewardConfig, add_vlm_reward, rllib_settings
from rllib_vlm_reward.errors import ConfigError
from rllib_vlm_reward.rllib_settings import arguments, check_setting, check_settings
from rllib_vlm_reward.run.experiment import SECTIONS, Experiment

RUN = {
    "environment": {"env": "CartPole-v1"},
    "vlm_reward": {"encoder": "small", "goals": ["a ball", "a key"]},
    "stop": {"env_steps": 1000},
}


@pytest.mark.parametrize(
    ("section", "settings", "says"),
    [
        ("training", {"train_batch_size_per_learner": "4,000"}, "got '4,000', a text, expected a "),
        ("training", {"train_batch_size_per_learner": 1.5}, "got 1.5, a number, expected a whole"),
        ("training", {"train_batch_size_per_learner": -1}, "got -1, expected 1 or more"),
        ("training", {"minibatch_size": True}, "got True, true or false, expected a whole number"),
        ("training", {"num_epochs": 0}, "got 0, expected 1 or more"),
        ("training", {"gamma": "0.9"}, "training.gamma: got '0.9', a text, expected a number"),
        ("training", {"lr": "fast"}, "training.lr: got 'fast', a text, expected a number"),
        ("training", {"lr": True}, "training.lr: got True"),
        ("training", {"lr": float("nan")}, "training.lr: got nan, expected a number"),
        ("training", {"use_gae": "no"}, "training.use_gae: got 'no', a text, expected true or fal"),
        ("env_runners", {"num_env_runners": -1}, "env_runners.num_env_runners: got -1, expected 0"),
        ("env_runners", {"num_envs_per_env_runner": 2.0}, "got 2.0, a number, expected a whole"),
        ("env_runners", {"rollout_fragment_length": 0}, "got 0, expected 1 or more"),
        ("env_runners", {"sample_timeout_s": -1}, "got -1, expected 0 or more"),
        ("env_runners", {"episode_lookback_horizon": 1.5}, "got 1.5, a number, expected a whole"),
        ("env_runners", {"max_requests_in_flight_per_env_runner": 0}, "got 0, expected 1 or more"),
        ("env_runners", {"num_gpus_per_env_runner": -0.5}, "got -0.5, expected 0 or more"),
        ("training", {"gamma": -0.9}, "got -0.9, expected 0 or more"),
        ("training", {"lr": -0.001}, "got -0.001, expected 0 or more"),
        ("learners", {"num_learners": 1.5}, "got 1.5, a number, expected a whole number"),
        ("learners", {"num_learners": -1}, "got -1, expected 0 or more"),
        ("learners", {"num_cpus_per_learner": -1}, "got -1, expected 0 or more"),
        ("evaluation", {"evaluation_interval": 1.5}, "got 1.5, a number, expected a whole number"),
        ("evaluation", {"evaluation_num_env_runners": -1}, "got -1, expected 0 or more"),
        ("evaluation", {"evaluation_duration": 0}, "got 0, expected 1 or more"),
        ("evaluation", {"evaluation_sample_timeout_s": -0.5}, "got -0.5, expected 0 or more"),
        ("fault_tolerance", {"delay_between_env_runner_restarts_s": -1}, "expected 0 or more"),
        ("fault_tolerance", {"max_num_env_runner_restarts": -2}, "expected -1 or more"),
        ("reporting", {"min_time_s_per_iteration": -1}, "got -1, expected 0 or more"),
        ("reporting", {"min_sample_timesteps_per_iteration": 0.5}, "expected a whole number"),
        ("reporting", {"metrics_num_episodes_for_smoothing": 0}, "got 0, expected 1 or more"),
        ("fault_tolerance", {"restart_failed_env_runners": "yes"}, "expected true or false"),
    ],
)
def test_a_setting_of_a_wrong_type_is_refused(section, settings, says):
    experiment = Experiment(**RUN, **{section: settings})
    with pytest.raises(ConfigError) as caught:
        experiment.to_algorithm_config()
    assert says in str(caught.value)
    assert str(caught.value).startswith(f"{section}.{next(iter(settings))}: ")


@pytest.mark.parametrize(
    "settings",
    [
        {"lr": 1e-3, "gamma": 1, "grad_clip": None},
        {"lr": [[0, 1e-3], [1000, 1e-4]], "entropy_coeff": [[0, 0.1], [1000, 0.0]]},
        {"train_batch_size_per_learner": 128, "minibatch_size": 64, "lambda_": 0.95},
    ],
)
def test_good_settings_pass(settings):
    others = {
        "env_runners": {
            "rollout_fragment_length": "auto",
            "sample_timeout_s": 30,
            "explore": True,
            "num_cpus_per_env_runner": 0.5,  # which RLlib annotates as an int
        },
        "evaluation": {"evaluation_interval": 2, "evaluation_duration": 3},
        "fault_tolerance": {"max_num_env_runner_restarts": -1},
        "reporting": {"min_time_s_per_iteration": 0},
    }
    config = Experiment(**RUN, training=settings, **others).to_algorithm_config()
    given = {name: value for section in others.values() for name, value in section.items()}
    assert all(getattr(config, name) == value for name, value in {**given, **settings}.items())


def default_configs():
    return [get_trainable_cls(name).get_default_config() for name in sorted(ALGORITHMS)]


@pytest.mark.parametrize("config", default_configs(), ids=sorted(ALGORITHMS))
def test_rllibs_own_defaults_pass(config):
    """An annotation of RLlib that its own default breaks would refuse a good run."""
    defaults = vars(config)
    for section in SECTIONS:
        for name, annotation in arguments(type(config), section).items():
            if section != "callbacks" and name in defaults:
                check_setting(section, name, defaults[name], annotation)
    check_settings(config)


def test_every_exception_is_a_setting_of_rllib():
    """Those of the last release; env_runner_state_server_max_concurrency came with Ray 2.60."""
    known = {
        name
        for config in default_configs()
        for section in SECTIONS
        for name in arguments(type(config), section)
    }
    named = {*rllib_settings._LEAST, *rllib_settings._ANY_NUMBER}
    assert named - known <= {"env_runner_state_server_max_concurrency"}


@pytest.mark.parametrize(
    ("section", "settings", "says"),
    [
        ("learners", {"num_learners": 1.5}, "learners.num_learners: got 1.5, a number, expected"),
        ("env_runners", {"sample_timeout_s": -1}, "env_runners.sample_timeout_s: got -1, expected"),
        ("training", {"train_batch_size_per_learner": "4,000"}, "got '4,000', a text, expected a"),
        ("evaluation", {"evaluation_interval": 1.5}, "evaluation.evaluation_interval: got 1.5, a"),
    ],
)
def test_a_setting_of_a_wrong_type_in_python_is_refused(section, settings, says):
    config = PPOConfig().environment("CartPole-v1")
    getattr(config, section)(**settings)
    with pytest.raises(ConfigError) as caught:
        add_vlm_reward(config, VLMRewardConfig(**RUN["vlm_reward"]))
    assert says in str(caught.value)
