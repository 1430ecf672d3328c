"""A calibration by real CLIPs: what it says holds, of fresh frames too."""

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from rllib_vlm_reward.cli import app
from rllib_vlm_reward.config import Calibration, Target, VLMRewardConfig
from rllib_vlm_reward.envs.babyai.captions import TEMPLATES
from rllib_vlm_reward.errors import GoalError, LabelError
from rllib_vlm_reward.evaluation.calibrate import calibrate, choose_threshold, fit_temperature
from rllib_vlm_reward.evaluation.cosines import Cosines
from rllib_vlm_reward.evaluation.images import encode
from rllib_vlm_reward.evaluation.labelled import LabelledFrames
from rllib_vlm_reward.evaluation.scored_frames import score_labelled, unseen_goals
from rllib_vlm_reward.goals import wordings
from rllib_vlm_reward.metrics.bootstrap import bootstrap
from rllib_vlm_reward.metrics.fires import Fires
from rllib_vlm_reward.pretraining.recorded_play import play
from rllib_vlm_reward.pretraining.world import World
from rllib_vlm_reward.reward_model.clip import CLIPEncoder
from rllib_vlm_reward.reward_model.model import RewardModel

NOTHING = TEMPLATES["place"].nothing
EPISODES = 240


STEPS = 20


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Frames of objects side by side, some of them asked for what is there; and all the goals."""
    rng = np.random.default_rng(0)
    folder, number = tmp_path_factory.mktemp("place"), (STEPS + 1) * EPISODES
    played = play(World("rllib_vlm_reward/Rooms-v0"), number, folder, held_out=True)
    family = played.families["place"]
    # In both orders: a goal is among the negatives of its twin, and the reward is a poor one.
    texts = [
        [text for text in wordings(statement) if "the " not in text]
        for statement in family.statements
    ]
    said = [
        sorted(text for row in np.flatnonzero(held & family.goals) for text in texts[row])
        for held in played.holds["place"]
    ]
    goals = sorted({text for texts in said for text in texts})
    asked = [str(rng.choice(texts if texts and rng.random() < 0.46 else goals)) for texts in said]
    frames = LabelledFrames.of(
        [encode(frame) for frame in played.frames],
        asked,
        [goal in texts for goal, texts in zip(asked, said, strict=True)],
        episodes=[str(episode) for episode in played.episodes],
    )
    return frames, goals


@pytest.fixture(scope="module")
def scores(place, reward):
    """What it says of them."""
    return score_labelled(reward, place[0]).scores


@pytest.fixture(scope="module")
def reward(place):
    """The poorer shipped CLIP's reward of these goals."""
    return VLMRewardConfig(
        encoder="small", goals=place[1], negatives=[NOTHING], num_negatives=50, threshold=0.5
    )


def test_a_precision_of_95_percent_holds_in_fresh_episodes(place, scores):
    frames, _ = place
    labels = frames.labels
    episodes = frames.episode_indices
    reached, inside, recalls = [], [], []
    for seed in range(20):
        half = np.random.default_rng(seed).permutation(EPISODES)[: EPISODES // 2]
        known = np.isin(episodes, half)
        found = choose_threshold(
            scores[known], labels[known], episodes[known], Target(precision=0.95)
        ).value
        fired, truth = scores[~known] > found, labels[~known]
        fresh = bootstrap(lambda rows: truth[rows][fired[rows]].mean(), episodes[~known])  # noqa: B023
        reached.append(fresh.value)
        inside.append(fresh.high >= 0.95)
        recalls.append((scores[labels] > found).mean())
    assert all(inside)
    assert np.mean(np.array(reached) >= 0.95) >= 0.8
    assert np.mean(recalls) < 0.6  # the target bites


def test_its_figures_are_those_of_the_frames(place, reward, scores):
    frames, _ = place
    found = calibrate(reward, frames, Target(precision=0.9))
    episodes = frames.episode_indices
    fires = Fires.at(found.threshold.value, scores, frames.labels, episodes)
    for name in ("precision", "recall", "false_positives"):
        its = getattr(found, name)
        assert its.value == getattr(fires, name)
        assert its.low <= its.value <= its.high
    assert found.precision.low >= 0.9
    assert (found.frames, found.episodes) == (len(frames), EPISODES)
    assert found.successes == frames.labels.sum()
    encoder = CLIPEncoder.load("small")
    assert found.weights == encoder.fingerprint
    assert (found.encoder_precision, found.frame_source) == (encoder.precision, "render")
    calibrated = reward.model_copy(update={"threshold": None, "calibration": found})
    assert calibrated.threshold_in_force == found.threshold.value


def test_temperature_is_where_the_labels_are_likeliest(place, reward):
    frames, _ = place
    few = frames.take(np.arange(400))
    goals = np.array([reward.goal_set.index(goal) for goal in few.goals])
    model = RewardModel(CLIPEncoder.load("small"))
    cosines = Cosines.of(model, reward.scorer, goals, [few.frames(range(400))])
    fitted = fit_temperature(cosines, few.labels)

    def loss(temperature):
        scores = score_labelled(
            reward.model_copy(update={"head": {"kind": "softmax", "temperature": temperature}}), few
        ).scores
        return -np.log(np.where(few.labels, scores, 1 - scores).clip(1e-7)).mean()

    around = [loss(fitted * factor) for factor in (0.5, 0.9, 1.1, 2)]
    assert loss(fitted) < min(around)


def test_the_command_writes_what_a_run_takes(place, reward, tmp_path):
    frames, _ = place
    frames.save(tmp_path / "frames.parquet")
    (tmp_path / "run.yaml").write_text(reward.to_yaml())
    output = tmp_path / "new" / "calibration.yaml"
    words = ["calibrate", tmp_path / "run.yaml", "--frames", tmp_path / "frames.parquet"]
    words += ["--false-positives", 0.5, "--temperature", "--output", output]
    result = CliRunner().invoke(app, [*map(str, words)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    hint = f"`calibration: {output}` under vlm_reward, in place of threshold and temperature."
    assert hint in result.stdout
    found = Calibration.load(output)
    assert found.target == Target(false_positives=0.5)
    assert found.false_positives.high <= 0.5
    settings = yaml.safe_load(reward.to_yaml()) | {"calibration": str(output)}
    del settings["threshold"]
    taken = VLMRewardConfig.model_validate(settings)
    assert taken.head_in_force.temperature == found.temperature
    again = calibrate(taken, frames, Target(false_positives=0.5))
    assert again.threshold == found.threshold


def test_goals_without_a_frame_are_listed_and_the_command_warns(place, reward, tmp_path):
    frames, goals = place
    some = frames.take(~np.isin(frames.goals, goals[:3]))
    held_out = {"evaluation_goals": ["a violet key is next to a ball"]}
    (tmp_path / "run.yaml").write_text(reward.model_copy(update=held_out).to_yaml())
    some.save(tmp_path / "frames.parquet")
    words = [tmp_path / "run.yaml", "--frames", tmp_path / "frames.parquet"]
    words += ["--false-positives", 2, "--output", tmp_path / "found.yaml"]
    ran = CliRunner().invoke(app, ["calibrate", *map(str, words)], catch_exceptions=False)
    assert Calibration.load(tmp_path / "found.yaml").unseen_goals == tuple(goals[:3])
    assert "3 training goals had no labelled frame" in ran.stderr
    assert unseen_goals(frames, reward) == ()


def test_what_cannot_be_calibrated_is_refused(place, reward):
    frames, _ = place
    target = Target(precision=0.9)
    with pytest.raises(LabelError, match="a window of 3 frames"):
        calibrate(reward.model_copy(update={"frames": {"window": 3}}), frames, target)
    cosine = reward.model_copy(update={"head": "cosine"})
    with pytest.raises(LabelError, match="'cosine', which has no temperature"):
        calibrate(cosine, frames, target, temperature=True)
    with pytest.raises(GoalError):
        calibrate(VLMRewardConfig(encoder="small", goals=["a {key|ball}"]), frames, target)
