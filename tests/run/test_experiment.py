from pathlib import Path

import painted_agents
import painted_run
import pydantic
import pytest
import yaml

from rllib_vlm_reward.connectors.callbacks import VLMRewardCallbacks
from rllib_vlm_reward.envs.babyai.level import COLORS, KINDS
from rllib_vlm_reward.errors import ConfigError
from rllib_vlm_reward.plugin import reward_of
from rllib_vlm_reward.policies import GoalConditionedModule
from rllib_vlm_reward.run import Experiment

CONFIGS = sorted(Path(__file__).parents[2].glob("configs/*.yaml"))
EXTRAS = ("android", "house")  # the configs that need an extra, and the markers of their tests
QUICKSTART = next(path for path in CONFIGS if path.stem == "quickstart")


def changed(**settings):
    return Experiment.model_validate({**yaml.safe_load(QUICKSTART.read_text()), **settings})


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(
            path,
            marks=getattr(pytest.mark, path.stem) if path.stem in EXTRAS else (),
            id=path.stem,
        )
        for path in CONFIGS
    ],
)
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
        ({"num_env_runners": 1}, "'num_env_runners'. It belongs in env_runners. Move it there"),
        ({"clip_param": 1}, "'clip_param'. It belongs in training. Move it there"),
        ({"policy": {"hidden": 9}}, "'hidden'. It belongs in policy.model_config. Move it there"),
        ({"vlm_reward": {"encoder": "base", "goals": ["x"]}}, "no negatives"),
    ],
)
def test_bad_yaml_is_named(settings, message):
    with pytest.raises(pydantic.ValidationError, match=message):
        changed(**settings)


AGENTS = {"policies": ["a", "b"], "policy_mapping_fn": "painted_run.policy_of"}
AUTO = {
    "evaluation_duration": "auto",
    "evaluation_parallel_to_training": True,
    "evaluation_num_env_runners": 1,
}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"training": {"learning_rate": 0.1}}, "training: got the unknown setting 'learning_rate'"),
        ({"env_runners": {"num_env_runner": 1}}, "Did you mean 'num_env_runners'"),
        ({"environment": {"lr": 0.1}}, r"PPOConfig.environment\(\). It belongs in training. Move"),
        ({"training": {"threshold": 0.5}}, "It belongs in vlm_reward. Move it there"),
        ({"evaluation": {"evaluation_episodes": 9}}, "It belongs in the top level of a run"),
        ({"policy": {"module": "no.such.Class"}}, "cannot import 'no.such.Class'"),
        ({"algorithm": "PPOO"}, "PPOO"),
        ({"training": {"self": 1}}, "unknown setting 'self'"),
        ({"callbacks": {"on_episode_and": "x.y"}}, "Did you mean 'on_episode_end'"),
        ({"callbacks": {"on_episode_end": "x.y"}}, "callbacks.on_episode_end: cannot import 'x.y'"),
        ({"evaluation": {"evaluation_duration": "ten"}}, "must be an int and >0"),
        ({"multi_agent": {"policies": ["a", "b"]}}, "without policy_mapping_fn"),
        (
            {"multi_agent": {**AGENTS, "policies_to_train": "a"}},
            "multi_agent.policies_to_train: cannot import 'a'",
        ),
        ({"multi_agent": AGENTS, "evaluation": AUTO}, "evaluation_duration 'auto' with several"),
        ({"environment": {"env": "no.such.Env"}}, "environment.env: cannot import 'no.such.Env'"),
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


def several(**settings):
    """The configuration of a run of two policies."""
    reward = {"encoder": "small", "goals": ["a wall", "a ball"], "frames": {"source": "info:rgb"}}
    run = {
        "environment": {"env": "painted_agents.PaintedAgents"},
        "multi_agent": AGENTS,
        "vlm_reward": reward,
        "stop": {"env_steps": 1},
        "evaluation_episodes": 7,
    }
    return Experiment.model_validate({**run, **settings}).to_algorithm_config()


def test_import_paths_reach_rllib_as_what_they_name():
    config = several(
        callbacks={
            "callbacks_class": ["painted_run.Counting"],
            "on_episode_end": ["painted_run.note_episode"],
            "on_train_result": "painted_run.note_episode",
        },
        evaluation={"custom_evaluation_function": "painted_run.note_episode"},
    )
    assert config.env is painted_agents.PaintedAgents
    assert config.policy_mapping_fn is painted_run.policy_of
    ours, theirs = config.callbacks_class
    assert (ours.func, theirs) == (VLMRewardCallbacks, painted_run.Counting)
    assert config.callbacks_on_episode_end == [painted_run.note_episode]
    assert config.callbacks_on_train_result is painted_run.note_episode
    assert config.custom_evaluation_function is painted_run.note_episode


def test_policies_to_train_may_be_a_list_or_a_function():
    config = several(multi_agent={**AGENTS, "policies_to_train": ["b"]})
    assert config.policies_to_train == ["b"]
    path = {**AGENTS, "policies_to_train": "painted_run.note_episode"}
    assert several(multi_agent=path).policies_to_train is painted_run.note_episode


def test_several_agents_are_evaluated_without_exploration_in_one_sub_env():
    evaluation = several(seed=5).get_evaluation_config_object()
    assert (evaluation.evaluation_duration, evaluation.evaluation_duration_unit) == (7, "episodes")
    assert (evaluation.explore, evaluation.num_envs_per_env_runner) == (False, 1)
    assert evaluation.seed != 5
    assert several().evaluation_interval > 10**6  # or RLlib makes no evaluation env runner
    changed = several(
        evaluation={
            "evaluation_interval": None,
            "evaluation_duration": 3,
            "evaluation_config": {"num_envs_per_env_runner": 2},
        }
    )
    assert changed.evaluation_interval > 10**6
    assert changed.evaluation_duration == 3
    evaluation = changed.get_evaluation_config_object()
    assert (evaluation.explore, evaluation.num_envs_per_env_runner) == (False, 2)


def test_a_single_agents_evaluation_is_rllibs_own():
    assert Experiment.from_file(QUICKSTART).to_algorithm_config().evaluation_interval is None
    assert changed(evaluation={"evaluation_interval": 2}).to_algorithm_config().explore is True


def test_a_policy_without_a_module_is_rllibs():
    policy = {"module": None, "model_config": {"fcnet_hiddens": [8]}}
    config = several(policy=policy)
    assert config.model_config["fcnet_hiddens"] == [8]
    assert config._rl_module_spec is None


@pytest.mark.parametrize("policy", ["", "policy: {model_config: {hidden: 16}, module: null}"])
def test_a_run_of_uint8_frames_needs_no_policy(policy):
    """RLlib has no module for BabyAI's uint8 frames, so the algorithm's of this package is used."""
    experiment = Experiment.from_yaml(f"""
        environment: {{env: rllib_vlm_reward/Find-v0, env_config: {{room_size: 5}}}}
        vlm_reward: {{encoder: small, goals: [go to the red ball], negatives: [a room]}}
        stop: {{env_steps: 1}}
        {policy}
    """)
    config = experiment.to_algorithm_config()
    assert config.rl_module_spec.module_class is GoalConditionedModule
    assert reward_of(config).goal_embedding
    assert config.model_config.get("hidden") == (16 if policy else None)


def test_a_value_may_be_set_in_place_of_the_files():
    given = ["vlm_reward.threshold=0.6", "stop.env_steps=7", "env_runners.num_env_runners=2"]
    experiment = Experiment.from_file(QUICKSTART, [*given, "policy.model_config.hidden=32"])
    assert experiment.vlm_reward.threshold == 0.6
    assert experiment.stop.env_steps == 7
    assert experiment.env_runners["num_env_runners"] == 2
    assert experiment.policy.model_config_["hidden"] == 32
    config = experiment.to_algorithm_config()
    assert config.num_env_runners == 2
    assert config.num_envs_per_env_runner == 32, "what is beside it in the section stays"


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("vlm_reward.treshold=0.6", "Did you mean 'threshold'"),
        ("sead=1", "Did you mean 'seed'"),
        ("seed=-1", "seed\n  got -1, expected greater than or equal to 0"),  # as NumPy wants it
        ("seed=99999999999999", "seed\n  got 99999999999999, expected less than 2147483648"),
        ("stop.env_steps=many", "got .many., expected a whole number"),
    ],
)
def test_a_set_key_is_checked_as_the_files_are(assignment, message):
    with pytest.raises(pydantic.ValidationError, match=message):
        Experiment.from_file(QUICKSTART, [assignment])


def test_a_set_key_of_rllibs_is_checked_as_the_files_are():
    experiment = Experiment.from_file(QUICKSTART, ["training.gama=0.9"])
    with pytest.raises(ConfigError, match="Did you mean 'gamma'"):
        experiment.to_algorithm_config()
