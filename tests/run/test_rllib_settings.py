"""RLlib's settings of a wrong type are refused when the run is read."""

import pytest
from ray.rllib.algorithms.appo import APPOConfig
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.impala import IMPALAConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.sac import SACConfig

from rllib_vlm_reward.errors import ConfigError
from rllib_vlm_reward.run.experiment import SECTIONS, Experiment
from rllib_vlm_reward.run.rllib_settings import arguments, check_setting

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
    runners = {"rollout_fragment_length": "auto", "sample_timeout_s": 30, "explore": True}
    config = Experiment(**RUN, training=settings, env_runners=runners).to_algorithm_config()
    assert all(getattr(config, name) == value for name, value in settings.items())


@pytest.mark.parametrize("config", [PPOConfig, APPOConfig, IMPALAConfig, DQNConfig, SACConfig])
def test_rllibs_own_defaults_pass(config):
    """An annotation of RLlib that its own default breaks would refuse a good run."""
    defaults = vars(config())
    for section in SECTIONS:
        for name, annotation in arguments(config, section).items():
            if section != "callbacks" and name in defaults:
                check_setting(section, name, defaults[name], annotation)
