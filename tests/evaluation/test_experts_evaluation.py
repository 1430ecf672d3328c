"""Experts on labelled frames: whom the calibration trusts, and each of them side by side."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from rllib_vlm_reward.cli import app
from rllib_vlm_reward.config import Calibration, Target, TrustCalibration, read_config
from rllib_vlm_reward.errors import LabelError, RewardError
from rllib_vlm_reward.evaluation.calibrate import calibrate, calibrate_experts
from rllib_vlm_reward.evaluation.evaluate import candidates, evaluate
from rllib_vlm_reward.evaluation.scored_frames import indices_of, score_labelled
from rllib_vlm_reward.metrics.precision_recall import average_precision
from rllib_vlm_reward.reward_model.clip import CLIPEncoder

pytestmark = pytest.mark.usefixtures("few_resamples")
TARGET = Target(false_positives=0.5)


@pytest.fixture(scope="module")
def reward(quickstart):
    """The quickstart's reward by two CLIPs, and by one that takes each goal for another."""
    experts = {
        "small": {"encoder": "small"},
        "base": {"head": {"kind": "softmax", "temperature": 0.05}},
        "shuffled": {"encoder": "wrong_rewards.OtherGoals"},
    }
    return quickstart.model_copy(update={"experts": experts, "threshold": None})


@pytest.fixture(scope="module")
def halves(lift):
    odd = lift.episode_indices % 2 == 1
    return lift.take(~odd), lift.take(odd)


@pytest.fixture(scope="module")
def trusted(reward, halves):
    return calibrate_experts(reward, halves[0], TARGET)


def combined(calibration, scores, goals, families):
    """Combine scores by what the file says, one frame at a time."""
    everyone = calibration.combinations[0]
    found = []
    for row, goal in zip(scores, goals, strict=True):
        numbers = everyone.goals.get(goal) or everyone.families[families[goal]]
        total = numbers[0]
        for name, weight in zip(everyone.experts, numbers[1:], strict=True):
            expert = calibration.experts[name]
            p = min(max(float(row[list(calibration.experts).index(name)]), 1e-6), 1 - 1e-6)
            evidence = np.log(p / (1 - p)) if expert.probability else p
            total += weight * (evidence - expert.center) / expert.scale
        found.append(1 / (1 + np.exp(-total)))
    return np.array(found)


def test_a_shuffled_expert_loses_its_weight_and_costs_nothing(reward, trusted, halves):
    known, new = halves
    assert trusted.shares()["shuffled"] <= 0.05
    assert sum(trusted.shares().values()) == pytest.approx(1)
    two = {name: reward.experts[name] for name in ("small", "base")}
    without = reward.model_copy(update={"experts": two})
    plain = calibrate_experts(without, known, TARGET)
    found = evaluate(
        {
            "three": reward.model_copy(update={"calibration": trusted}),
            "two": without.model_copy(update={"calibration": plain}),
        },
        new,
    )
    values = {each.name: each.figures["average_precision"].value for each in found}
    assert values["three"] >= values["two"] - 0.005


def test_the_file_is_read_as_it_was_written(reward, trusted, tmp_path):
    trusted.save(tmp_path / "calibration.yaml")
    again = TrustCalibration.load(tmp_path / "calibration.yaml")
    assert again == trusted
    assert len(again.combinations) == 7
    read = reward.model_copy(update={"calibration": str(tmp_path / "calibration.yaml")})
    assert read.calibration == trusted
    assert read.threshold_in_force == trusted.threshold.value
    assert type(read).from_yaml(read.to_yaml()) == read
    with pytest.raises(LabelError, match="experts"):
        Calibration.load(tmp_path / "calibration.yaml")


def test_each_expert_the_mean_and_the_coordinator_stand_side_by_side(
    reward, trusted, halves, tmp_path
):
    _, new = halves
    config = reward.model_copy(update={"calibration": trusted})
    (tmp_path / "run.yaml").write_text(config.to_yaml())
    named = candidates({tmp_path / "run.yaml": read_config(tmp_path / "run.yaml")})
    assert [*named] == [
        "run, small", "run, base", "run, shuffled", "run, mean", "run, coordinator"
    ]  # fmt: skip
    found = {each.name: each for each in evaluate(named, new)}
    every = [score_labelled(each, new).scores for each in config.by_expert.values()]
    scores = np.stack(every, axis=1)
    for place, name in enumerate(("small", "base", "shuffled")):
        np.testing.assert_array_equal(found[f"run, {name}"].scored.scores, scores[:, place])
    np.testing.assert_allclose(found["run, mean"].scored.scores, scores.mean(axis=1), atol=1e-6)
    families = {goal.text: goal.family for goal in config.goal_set.goals}
    expected = combined(trusted, scores, new.goals, families)
    coordinator = found["run, coordinator"].scored
    np.testing.assert_allclose(coordinator.scores, expected, atol=1e-5)
    assert coordinator.threshold == trusted.threshold.value
    assert coordinator.are_probabilities
    assert coordinator.goal_accuracy.mistaken.keys() <= set(config.goal_set.texts)
    # At a success, the right goal scores highest: recounted with each goal of the family.
    row = int(np.flatnonzero(new.labels)[0])
    goals = indices_of(new, config.goal_set)
    rivals = coordinator.rivals[int(goals[row])]
    at = list(rivals.rows).index(row)
    assert rivals.scores[at, 0] == pytest.approx(coordinator.scores[row], abs=1e-5)
    document = found["run, coordinator"].to_dict()
    assert document["encoder"] == "small, base, wrong_rewards.OtherGoals"
    json.dumps(document)


def test_the_commands_calibrate_and_evaluate_experts(reward, halves, tmp_path):
    halves[0].save(tmp_path / "frames.parquet")
    (tmp_path / "run.yaml").write_text(reward.to_yaml())
    words = [tmp_path / "run.yaml", "--frames", tmp_path / "frames.parquet"]
    output = tmp_path / "calibration.yaml"
    more = ["--false-positives", 0.5, "--output", output]
    ran = CliRunner().invoke(app, ["calibrate", *map(str, [*words, *more])], catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    assert "shuffled" in ran.stdout
    assert f"`calibration: {output}` under vlm_reward" in ran.stdout
    shown = tmp_path / "shown"
    more = ["--output", shown, "--set", f"vlm_reward.calibration={output}"]
    ran = CliRunner().invoke(app, ["evaluate", *map(str, [*words, *more])], catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    named = {
        each["name"] for each in json.loads((shown / "evaluation.json").read_text())["candidates"]
    }
    assert named == {
        f"run, {name}" for name in ("small", "base", "shuffled", "mean", "coordinator")
    }


def test_what_needs_one_encoder_or_one_picture_refuses_experts(
    reward, halves, tmp_path, monkeypatch
):
    known, _ = halves
    with pytest.raises(RewardError, match="calibrate: got the experts"):
        calibrate(reward, known, TARGET)
    with pytest.raises(RewardError, match="scoring: got the experts"):
        score_labelled(reward, known)
    with pytest.raises(RewardError, match="--encoder: got the experts"):
        candidates({tmp_path / "run.yaml": reward}, ["small"])
    other = {**reward.experts, "near": {"encoder": "small", "frames": {"source": "info:crop"}}}
    apart = reward.model_copy(update={"experts": other})
    with pytest.raises(RewardError, match="calibrate: got experts that see other frames"):
        calibrate_experts(apart, known, TARGET)
    monkeypatch.setattr(CLIPEncoder, "load", lambda *_, **__: pytest.fail("loaded"))
    with pytest.raises(RewardError, match="evaluate: got experts that see other frames"):
        evaluate({"run": apart}, known)
    with pytest.raises(RewardError, match="evaluate: got experts that see other frames"):
        candidates({tmp_path / "run.yaml": apart})
    with pytest.raises(LabelError, match="a window of 3 frames"):
        calibrate_experts(reward.model_copy(update={"frames": {"window": 3}}), known, TARGET)


def test_a_set_that_misses_the_target_keeps_the_threshold_of_all(reward, trusted):
    for each in trusted.combinations:
        assert each.reached or each.threshold == trusted.threshold.value
    missed = [each for each in trusted.combinations if not each.reached]
    assert bool(missed) == ("no threshold reaches the target" in trusted.caveat)


def test_average_precision_is_of_scores_that_did_not_know_the_episode(reward, trusted, halves):
    known, _ = halves
    config = reward.model_copy(update={"calibration": trusted})
    every = [score_labelled(each, known).scores for each in config.by_expert.values()]
    goals = indices_of(known, config.goal_set)
    fitted = average_precision(config.combiner(np.stack(every, axis=1), goals), known.labels)
    assert trusted.combinations[0].average_precision <= fitted + 1e-9
