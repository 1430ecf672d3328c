"""`train --check`: what would fail is said, what would run is shown, nothing is written."""

import json

import numpy as np
import painted
import pytest
import yaml
from test_agents_run import RUN
from test_train import run

from rllib_vlm_reward.errors import FrameError, PoolError
from rllib_vlm_reward.run import Experiment, check

PAINTED = """
environment: {env: painted.PaintedEnv, env_config: {render_mode: rgb_array}}
vlm_reward:
  encoder: small
  goals: [a red wall, a blue wall, a green wall]
  head: {kind: softmax, temperature: 0.3}
policy: {module: null, model_config: {fcnet_hiddens: [8]}}
env_runners: {num_env_runners: 1, num_envs_per_env_runner: 2}
stop: {env_steps: 256}
"""


class FramelessEnv(painted.PaintedEnv):
    def render(self):
        return np.zeros((16, 16), np.float32)


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(PAINTED)
    return path


def test_it_shows_what_was_built_and_writes_nothing(cluster, config, tmp_path):
    given = ["--set", "vlm_reward.goals=[a violet wall, a brown wall]", "--set", "seed=3"]
    result = run("train", config, "--check", "--output", tmp_path / "out", *given)
    assert result.exit_code == 1, "the env poses none of these goals"
    assert any(goal in str(result.exception) for goal in painted.GOALS)
    result = run("train", config, "--check", "--output", tmp_path / "out")
    assert result.exit_code == 0, (result.output, result.exception)
    shown = json.loads(result.stdout[result.stdout.index("{") : result.stdout.rindex("}") + 1])
    assert shown["env"] == "painted.PaintedEnv"
    assert [actor["encoder"] for actor in shown["actors"]] == ["small"]
    (scored,) = shown["scores"]
    assert scored["goal"] in painted.GOALS
    assert 0 < scored["score"] < 1
    assert "can be trained" in result.output
    assert list(tmp_path.iterdir()) == [config]


def test_each_agents_frame_is_scored(cluster):
    shown = check(Experiment.from_yaml(RUN))
    goals = [each["goal"] for each in shown["scores"]]
    assert len(goals) == 2  # a2 keeps the env's reward
    assert sum(goal in ("a black wall", "a white wall") for goal in goals) == 1


def test_wrong_frames_are_an_error(cluster):
    settings = yaml.safe_load(PAINTED)
    settings["environment"]["env"] = "test_run_check.FramelessEnv"
    with pytest.raises(FrameError, match="uint8"):
        check(Experiment.model_validate(settings))


def test_a_pool_without_room_is_an_error(cluster):
    settings = yaml.safe_load(PAINTED)
    settings["vlm_reward"]["serving"] = {"num_gpus_per_actor": 1}
    with pytest.raises(PoolError):
        check(Experiment.model_validate(settings))
