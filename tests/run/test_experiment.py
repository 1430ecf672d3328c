from pathlib import Path

import pydantic
import pytest
import yaml

from rllib_vlm_reward.envs.babyai.level import COLORS, KINDS
from rllib_vlm_reward.errors import ConfigError
from rllib_vlm_reward.policies import GoalConditionedModule
from rllib_vlm_reward.run import Experiment

CONFIGS = sorted(Path(__file__).parents[2].glob("configs/*.yaml"))
QUICKSTART = next(path for path in CONFIGS if path.stem == "quickstart")


def changed(**settings):
    return Experiment.model_validate({**yaml.safe_load(QUICKSTART.read_text()), **settings})


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configs_are_valid(path):
    experiment = Experiment.from_file(path)
    config = experiment.to_algorithm_config()
    assert config.algo_class.__name__ == experiment.algorithm


def test_the_playroom_shows_in_training_nothing_that_is_held_out():
    """It is nobody's negative there, so a frame that shows it would fire for another goal."""
    experiment = Experiment.from_file(QUICKSTART.with_stem("playroom"))
    trained = " ".join(experiment.vlm_reward.training_goals.texts)
    things = {f"{color} {kind}" for color in COLORS for kind in KINDS}
    held_out = {thing for thing in things if thing not in trained}
    assert len(held_out) == 4
    assert set(experiment.environment["env_config"]["reserved"]) == held_out


def test_settings_reach_rllib():
    config = Experiment.from_file(QUICKSTART).to_algorithm_config()
    assert config.env == "rllib_vlm_reward/Lift-v0"
    assert config.gamma == 0.97
    assert config.num_envs_per_env_runner == 32
    assert config.seed == 0
    assert config.rl_module_spec.module_class is GoalConditionedModule


def test_a_policy_s_model_config_stands_beside_the_algorithm_s():
    experiment = Experiment.from_file(QUICKSTART.with_stem("dqn"))
    policy = experiment.policy.model_copy(update={"model_config_": {"hidden": 64}})
    config = experiment.model_copy(update={"policy": policy}).to_algorithm_config()
    settings = config.rl_module_spec.model_config
    assert settings["hidden"] == 64
    assert experiment.model_copy(update={"policy": policy}).model_copy().policy == policy
    assert settings["double_q"] is True
    assert settings["epsilon"] == experiment.training["epsilon"]


def test_the_env_reward_never_reaches_the_quickstart_learner():
    assert Experiment.from_file(QUICKSTART).vlm_reward.env_reward_weight == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"trainning": {}}, "Did you mean 'training'"),
        ({"stop": {"env_steps": 0}}, "greater than 0"),
        ({"stop": {"steps": 10}}, "Did you mean 'env_steps'"),
        ({"vlm_reward": {"encoder": "base", "goals": ["x"]}}, "no negatives"),
    ],
)
def test_bad_yaml_is_named(settings, message):
    with pytest.raises(pydantic.ValidationError, match=message):
        changed(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"training": {"learning_rate": 0.1}}, "training: got the unknown setting 'learning_rate'"),
        ({"env_runners": {"num_env_runner": 1}}, "Did you mean 'num_env_runners'"),
        ({"policy": {"module": "no.such.Class"}}, "cannot import 'no.such.Class'"),
        ({"algorithm": "PPOO"}, "PPOO"),
        ({"training": {"self": 1}}, "unknown setting 'self'"),
    ],
)
def test_bad_rllib_settings_are_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        changed(**settings).to_algorithm_config()


def test_a_key_that_stands_twice_is_refused():
    text = "environment: {env: CartPole-v1}\nstop: {env_steps: 1}\nenvironment: {}\n"
    with pytest.raises(ConfigError, match="'environment' in line 1 and again in line 3"):
        Experiment.from_yaml(text)


def test_text_that_is_no_mapping_is_refused():
    with pytest.raises(ConfigError, match="expected a mapping"):
        Experiment.from_yaml("- a\n- b\n")


@pytest.mark.parametrize(
    ("text", "number"), [("1e-3", 1e-3), ("2E+5", 2e5), ("-1.5e2", -150.0), ("0.01", 0.01)]
)
def test_numbers_are_read_as_people_write_them(text, number):
    yaml_text = QUICKSTART.read_text().replace("gamma: 0.97", f"gamma: {text}")
    assert Experiment.from_yaml(yaml_text).training["gamma"] == number


def test_words_with_an_e_stay_words():
    settings = Experiment.from_yaml(QUICKSTART.read_text() + "learners: {a: e3, b: '1e3'}\n")
    assert settings.learners == {"a": "e3", "b": "1e3"}
