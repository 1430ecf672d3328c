"""A policy, played from its run's folder, with frames and infos of every step."""

from pathlib import Path

import numpy as np
import painted
import pytest
import yaml
from ray.rllib.env.env_context import EnvContext

from rllib_vlm_reward.errors import GoalError
from rllib_vlm_reward.evaluation.collect import collect
from rllib_vlm_reward.run import Experiment
from rllib_vlm_reward.run.recorded_rollout import _config, record_rollout

QUICKSTART = Path(__file__).parents[2] / "configs" / "quickstart.yaml"


@pytest.fixture
def experiment():
    settings = yaml.safe_load(QUICKSTART.read_text())
    settings["vlm_reward"] |= {
        "encoder": "small",
        "mode": "synchronous",
        "frames": {"scored_steps": 3},
    }
    settings["vlm_reward"] |= {"early_end": True}
    settings["env_runners"] = {"num_env_runners": 0, "num_envs_per_env_runner": 4}
    return Experiment.model_validate(settings)


@pytest.fixture
def folder(tmp_path, experiment):
    (tmp_path / "config.yaml").write_text(experiment.to_yaml())
    return tmp_path


def test_every_step_is_seen_in_the_env_that_was_asked_for(cluster, folder, experiment):
    algorithm = experiment.to_algorithm_config().build_algo()
    algorithm.save_to_path(folder / "checkpoint")
    algorithm.stop()
    room = {**experiment.environment, "env_config": {"room_size": 6, "max_steps": 7}}
    experiment = experiment.model_copy(update={"environment": room})
    frames, other = (
        collect(experiment, players=[str(folder)], episodes=6, seed=seed) for seed in (0, 1)
    )
    assert frames.frames([0]).shape == (1, 56, 56, 3)
    assert set(frames.players) == {str(folder)}
    for index in range(6):
        own = frames.take(np.array(frames.episodes) == f"{folder}-0-{index}")
        assert own.steps.tolist() == [*range(1, len(own) + 1)]
        # The env alone ends an episode: at its limit, at success, at a wrong pickup.
        assert len(own) == 7 or own.labels[-1] or own.steps_to_go[-1] == np.inf
    assert len(set(frames.episodes)) == 6
    np.testing.assert_array_equal(frames.labels, frames.steps_to_go == 0)
    assert frames.images != other.images, "another seed gives fresh layouts"


def test_goals_that_nobody_can_pose_are_refused_before_anything_starts(folder, experiment):
    with pytest.raises(GoalError, match="a run that lacks evaluation_goals or a curriculum"):
        record_rollout(folder, experiment.environment, episodes=1, seed=0, held_out=True)


class CountedEnv(painted.PaintedEnv):
    def steps_to_go(self):
        return self.length - self.t


def make_counted(config):
    return CountedEnv(config)


@pytest.mark.parametrize("name", ["CountedEnv", "make_counted"])
def test_an_env_that_an_import_path_names_reports_its_steps_to_go(experiment, name):
    settings = experiment.to_dict() | {"policy": None}
    settings["vlm_reward"] = {"encoder": "small", "goals": [*painted.GOALS]}
    room = {"env": f"test_recorded_rollout.{name}"}
    run = Experiment.model_validate({**settings, "environment": room})
    env = _config(run, room, seed=0).env(EnvContext({}, worker_index=0))
    env.reset()
    ends = [env.step(0) for _ in range(3)]
    length = env.unwrapped.length
    assert [info["steps_to_go"] for *_, info in ends] == [length - 1, length - 2, length - 3]
