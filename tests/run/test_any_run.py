"""Whatever stands in a run's YAML, RLlib gets it as it is written, or it is refused."""

import copy

import pydantic
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.rllib.algorithms.ppo import PPOConfig
from remedies import any_example, assert_helps
from written import REWARD, keys, look_up, places, values

from rllib_vlm_reward.errors import ERRORS
from rllib_vlm_reward.rllib_settings import arguments
from rllib_vlm_reward.run import Experiment
from rllib_vlm_reward.run.experiment import SECTIONS

RUN = {
    "algorithm": "PPO",
    "seed": 1,
    "environment": {"env": "CartPole-v1", "env_config": {}},
    "env_runners": {"num_env_runners": 0, "rollout_fragment_length": 8},
    "training": {"lr": 0.001, "gamma": 0.9, "minibatch_size": 8},
    "learners": {"num_learners": 0},
    "evaluation": {"evaluation_interval": 1, "evaluation_config": {"explore": False}},
    "fault_tolerance": {"restart_failed_env_runners": False},
    "reporting": {"min_time_s_per_iteration": 0},
    "policy": {"module": None, "model_config": {"fcnet_hiddens": [8]}},
    "vlm_reward": {"encoder": "small", "goals": ["a red ball", "a blue key"]},
    "curriculum": None,
    "stop": {"env_steps": 100, "wall_seconds": 60},
    "evaluation_episodes": 3,
    "checkpoint_every": 2,
}
RLLIB = {section: sorted(arguments(PPOConfig, section)) for section in SECTIONS}


@st.composite
def runs(draw):
    """A run with a few faults, of which some are none."""
    run = copy.deepcopy(RUN)
    for _ in range(draw(st.integers(0, 2))):
        *path, key = draw(st.sampled_from([place for place in places(run) if place]))
        parent, fault = look_up(run, path), draw(st.integers(0, 7))
        if fault == 0:
            del parent[key]
        elif fault == 1 and isinstance(parent, dict):
            parent[draw(keys)] = parent.pop(key)
        elif fault == 2:
            parent[key] = str(parent[key])
        elif fault == 3:
            run[draw(st.sampled_from([*RUN, *REWARD]))] = copy.deepcopy(draw(values))
        elif fault < 6:
            section = draw(st.sampled_from(SECTIONS))
            settings = run.setdefault(section, {})
            if isinstance(settings, dict):
                settings[draw(st.sampled_from(RLLIB[section]))] = copy.deepcopy(draw(values))
        else:
            parent[key] = copy.deepcopy(draw(values))
    return run


@settings(any_example, max_examples=150)  # 0.06 s each
@given(runs())
def test_any_run_reaches_rllib_as_it_is_written_or_is_refused_with_a_remedy(written):
    try:
        experiment = Experiment.from_yaml(yaml.safe_dump(written))
        config = experiment.to_algorithm_config()
    except (*ERRORS, pydantic.ValidationError) as error:
        assert_helps(error)
        return
    assert Experiment.from_yaml(experiment.to_yaml()).to_yaml() == experiment.to_yaml()
    for name in ("lr", "gamma", "minibatch_size"):
        assert getattr(config, name) == experiment.training.get(name, getattr(PPOConfig(), name))
    assert config.seed == experiment.seed
    assert config.env == experiment.environment["env"]
