"""Real measurements, short: their numbers agree with each other, whatever they are."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

from rllib_vlm_reward import cli
from rllib_vlm_reward.bench.bench import bench_run
from rllib_vlm_reward.bench.iteration import _RandomPool
from rllib_vlm_reward.errors import ConfigError
from rllib_vlm_reward.goals import GoalSet
from rllib_vlm_reward.reward_model.heads import Softmax
from rllib_vlm_reward.reward_model.readouts import Focal
from rllib_vlm_reward.reward_model.scorer import Scorer
from rllib_vlm_reward.run import Experiment

QUICKSTART = Path(__file__).parents[2] / "configs" / "quickstart.yaml"


def small(algorithm="PPO"):
    """The quickstart, with few steps an iteration."""
    experiment = Experiment.from_file(QUICKSTART)
    training = {"train_batch_size_per_learner": 128, "minibatch_size": 64, "num_epochs": 1}
    return experiment.model_copy(
        update={
            "algorithm": algorithm,
            "training": training if algorithm == "PPO" else {},
            "policy": experiment.policy,
            "env_runners": {"num_env_runners": 1, "num_envs_per_env_runner": 8},
            "vlm_reward": experiment.vlm_reward.model_copy(update={"encoder": "small"}),
        }
    )


def main(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["rllib-vlm-reward", "bench", *arguments])
    cli.main()


def test_a_load_without_a_run(cluster, monkeypatch, tmp_path, capsys):
    given = ["--encoder", "small", "--frame", "56x64", "--runners", "1", "--request", "4"]
    picture = tmp_path / "shares.png"
    with pytest.raises(SystemExit) as stop:
        main(monkeypatch, *given, "--seconds", "0.2", "--json", "--picture", str(picture))
    assert stop.value.code == 0
    found = json.loads(capsys.readouterr().out)
    served = found["served"]
    parts = served["preprocess_s"] + served["forward_s"] + served["transport_s"]
    assert parts == pytest.approx(1 / served["frames_per_second"])
    assert [part["name"] for part in found["parts"]] == ["transport", "preprocess", "forward"]
    assert math.isclose(sum(part["share"] for part in found["parts"]), 1)
    assert found["load"]["frame"] == [56, 64]
    assert found["iteration"] is None
    assert picture.exists()


@pytest.mark.parametrize(
    ("readouts", "shape"), [((), (4,)), ((Focal(("a key",), ("x",)),), (4, 2))]
)
def test_random_scores_have_the_shape_of_true_ones(readouts, shape):
    scorer = Scorer(GoalSet.from_texts(["a key"]), Softmax(), readouts=readouts)
    drawn = _RandomPool(None).ask([[None] * 4], np.zeros(4, np.int64), scorer)
    assert drawn.result().shape == shape


def with_bonus(experiment):
    reward = experiment.vlm_reward
    templates = [{**reward.templates[0].model_dump(), "noun": "{}"}]
    bonus = {"kind": "focal", "weight": 1.0, "centre": "agent"}
    changed = reward.model_copy(update={"templates": templates, "bonus": bonus})
    return experiment.model_copy(update={"vlm_reward": changed})


def test_a_run_is_timed_with_its_own_frames(cluster):
    found = bench_run(with_bonus(small()), seconds=0.2)
    run = found.iteration
    assert run.frame == (56, 56)
    assert run.mode == "deferred"
    assert 128 <= run.frames < 256  # an iteration's steps, and at most a vector step more a runner
    assert 0 < run.learner_s < run.seconds_without
    assert math.isclose(run.env_s + run.learner_s, run.seconds_without)
    assert found.load.request == 8
    assert found.load.runners == 1
    names = [part.name for part in found.parts]
    assert names == ["env", "transport", "preprocess", "forward", "learner"]


def test_a_learner_that_does_not_wait_is_refused(cluster):
    experiment = small("IMPALA").model_copy(update={"policy": None, "vlm_reward": plain()})
    with pytest.raises(ConfigError, match="IMPALA"):
        bench_run(experiment)


def plain():
    settings = Experiment.from_file(QUICKSTART).vlm_reward
    return settings.model_copy(update={"encoder": "small", "goal_embedding": False})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--encoder"),
        (["--encoder", "small", "--frame", "big"], "HEIGHTxWIDTH"),
        (["--encoder", "smalll", "--frame", "56x56"], "smalll"),
        (["--encoder", "small", "--runners", "0"], "runners"),
    ],
)
def test_an_error_is_one_message(cluster, monkeypatch, capsys, arguments, message):
    with pytest.raises(SystemExit) as stop:
        main(monkeypatch, *arguments)
    assert stop.value.code == 1
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
