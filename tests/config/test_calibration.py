"""A calibration's file, and the rewards that take or refuse it."""

import dataclasses
import logging

import pydantic
import pytest
import yaml

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.config.calibration import Calibration, Target, inline_calibration
from rllib_vlm_reward.errors import LabelError
from rllib_vlm_reward.reward_model.heads import Cosine, Softmax, head_summary
from rllib_vlm_reward.run import Experiment

REWARD = {"encoder": "small", "goals": ["a {red|blue} {ball|key}"]}


def figure(value):
    return {"value": value, "low": value / 2, "high": value}


def calibration(reward=REWARD, temperature=None, **changes):
    config = VLMRewardConfig(**reward)
    calibrated = config.head
    if temperature is not None:
        calibrated = dataclasses.replace(config.head, temperature=temperature)
    return Calibration(
        **{
            "version": 2,
            "encoder": config.encoder,
            "weights": "a" * 64,
            "encoder_precision": "bf16",
            "frame_source": config.frames.source,
            "head": head_summary(config.head),
            "head_sha256": calibrated.digest(),
            "temperature": temperature,
            "goals": config.goal_set.texts,
            "statements": config.goal_set.statements,
            "goals_sha256": config.goal_set.fingerprint,
            "threshold": figure(0.123456789012345),
            "target": {"precision": 0.95},
            "precision": figure(0.97),
            "recall": figure(0.6),
            "false_positives": figure(0.02),
            "frames": 1000,
            "successes": 100,
            "episodes": 60,
            **changes,
        }
    )


@pytest.fixture
def path(tmp_path):
    """Returns a function: the path of a saved calibration."""

    def save(*args, **changes):
        file = tmp_path / "calibration.yaml"
        calibration(*args, **changes).save(file)
        return str(file)

    return save


def test_it_sets_threshold_and_temperature(path):
    config = VLMRewardConfig(**REWARD, calibration=path(temperature=0.02))
    assert config.threshold_in_force == 0.123456789012345
    assert config.head_in_force == config.scorer.head == Softmax(0.02)
    assert (config.threshold, config.head) == (None, Softmax())  # nothing is written back
    plain = VLMRewardConfig(
        **REWARD, threshold=0.123456789012345, head={"kind": "softmax", "temperature": 0.02}
    )
    assert config.reward_settings == plain.reward_settings


def test_it_is_read_at_once_and_survives_every_copy(path):
    file = path(temperature=0.02)
    config = VLMRewardConfig(**REWARD, calibration=file)
    open(file, "w").close()
    copies = [
        VLMRewardConfig.from_yaml(config.to_yaml()),
        config.model_copy(update={"encoder": "small"}),
        VLMRewardConfig.model_validate(config.model_dump(mode="json", exclude_unset=True)),
        VLMRewardConfig.model_validate(config.model_dump()),
    ]
    assert all(copy == config for copy in copies)
    run = {
        "environment": {"env": "CartPole-v1"},
        "vlm_reward": {**REWARD, "calibration": config.calibration},
        "stop": {"env_steps": 1},
    }
    experiment = Experiment.model_validate(run)
    again = Experiment.from_yaml(experiment.to_yaml())
    assert again.vlm_reward == config
    assert isinstance(yaml.safe_load(experiment.to_yaml())["vlm_reward"]["calibration"], dict)


def test_a_copy_takes_another_calibration_or_none(path):
    config = VLMRewardConfig(**REWARD, calibration=path(temperature=0.02))
    other = config.model_copy(update={"calibration": path(threshold=figure(0.9))})
    assert (other.threshold_in_force, other.head_in_force) == (0.9, Softmax())
    none = config.model_copy(update={"calibration": None})
    assert (none.threshold_in_force, none.head_in_force) == (None, Softmax())


def test_early_end_may_rest_on_it(path):
    config = VLMRewardConfig(**REWARD, calibration=path(), mode="synchronous", early_end=True)
    assert config.early_end


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"threshold": 0.5}, "threshold 0.123456789012345, but the reward has 0.5"),
        ({"head": {"kind": "softmax", "temperature": 0.5}}, "but the reward has .*: 0.5"),
        ({"head": "dense"}, "it was made with the head 'softmax', but the reward has 'dense'"),
        ({"frames": {"window": 2}}, "it was made with frames.window 1, but the reward has 2"),
        (
            {"frames": {"source": "obs"}},
            "it was made with frames.source 'render', but the reward has 'obs'",
        ),
        (
            {"goals": ["a {red|blue} {ball|box}"]},
            "2 goals are only in the calibration, such as .*a red key",
        ),
        (
            {"goals": ["a {red|blue|grey} {ball|key}"]},
            "2 goals are only in the reward, .*a grey ball",
        ),
        ({"negatives": ["an empty room"]}, "1 prompts, .* only in the reward, .*empty room"),
        ({"templates": [{"prompt": "seen {}"}]}, "4 prompts, .* are only in the calibration"),
        ({"num_negatives": 1}, "other negatives"),
    ],
)
def test_another_reward_is_refused_and_what_differs_named(changes, says, path):
    with pytest.raises(pydantic.ValidationError, match=says):
        VLMRewardConfig(**{**REWARD, **changes}, calibration=path())


def test_a_heads_other_settings_count(path):
    head = {**REWARD, "head": "goal_baseline", "baseline": "a room"}
    file = path(head)
    assert VLMRewardConfig(**head, calibration=file).threshold_in_force
    other = {**head, "head": {"kind": "goal_baseline", "alpha": 0.2}}
    with pytest.raises(pydantic.ValidationError, match="with the head 'goal_baseline', but"):
        VLMRewardConfig(**other, calibration=file)


def test_another_precision_is_reported_and_not_refused(path):
    file = path(encoder_precision="fp16")
    assert Calibration.load(file).encoder_precision == "fp16"
    for precision in ("auto", "fp32"):
        assert VLMRewardConfig(
            **REWARD, serving={"precision": precision}, calibration=file
        ).threshold_in_force
    with pytest.raises(pydantic.ValidationError, match="encoder_precision"):
        calibration(encoder_precision="auto")


def test_goals_that_differ_in_what_no_reward_depends_on_are_the_same(path):
    graded = [{"text": text, "difficulty": 1} for text in VLMRewardConfig(**REWARD).goal_set.texts]
    assert VLMRewardConfig(encoder="small", goals=graded, calibration=path()).threshold_in_force


def test_an_agent_may_have_its_own(path):
    own = {"goals": ["a {red|blue} door"]}
    file = path({**REWARD, **own})
    config = VLMRewardConfig(**REWARD, agents={"seeker": {**own, "calibration": file}})
    open(file, "w").close()
    assert config.for_agent("seeker").threshold_in_force == 0.123456789012345
    assert config.for_agent("another").threshold_in_force is None
    assert VLMRewardConfig.from_yaml(config.to_yaml()) == config
    with pytest.raises(LabelError, match="has the weights bbbb"):
        config.check_weights("b" * 64)


def test_an_agents_own_takes_nothing_of_the_runs(path):
    other = {"goals": ["a {red|blue} door"], "head": "cosine"}
    own = calibration({**REWARD, **other}, target={"false_positives": 0.1})
    agents = {"seeker": {**other, "calibration": own}}
    config = VLMRewardConfig(**REWARD, calibration=path(temperature=0.02), agents=agents)
    seeker = config.for_agent("seeker")
    assert (seeker.calibration, seeker.head_in_force) == (own, Cosine())
    assert VLMRewardConfig.from_yaml(config.to_yaml()) == config


def test_an_agent_with_other_goals_is_refused(path):
    with pytest.raises(pydantic.ValidationError, match=r"agent 'seeker'.*goals differ"):
        VLMRewardConfig(
            **REWARD, calibration=path(), agents={"seeker": {"goals": ["a {red|blue} door"]}}
        )


def test_other_weights_are_refused(path):
    config = VLMRewardConfig(**REWARD, calibration=path())
    config.check_weights("a" * 64)
    with pytest.raises(LabelError, match="weights aaaaaaaaaaaa…, but 'base' has the weights bbbb"):
        config.model_copy(update={"encoder": "base"}).check_weights("b" * 64)
    VLMRewardConfig(**REWARD).check_weights("b" * 64)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("version: 1", "version: got 1, expected 2. Set calibration: null"),
        ("threshold: 0.5", r"not a calibration: got the keys \['threshold'\]"),
        ("version: 2", "encoder: the key is missing"),
        ("[1", "cannot be read"),
        ("just words", "calibration .*: "),
    ],
)
def test_another_file_is_refused(content, says, tmp_path):
    file = tmp_path / "file.yaml"
    file.write_text(content)
    with pytest.raises(LabelError, match=says):
        Calibration.load(file)
    with pytest.raises(pydantic.ValidationError, match=says):
        VLMRewardConfig(**REWARD, calibration=str(file))


@pytest.mark.parametrize(
    ("value", "says"), [(float("nan"), "finite number"), (1.5, "got the threshold 1.5"), (-1, "-1")]
)
def test_a_threshold_that_no_score_of_the_head_can_have_is_refused(value, says):
    with pytest.raises(pydantic.ValidationError, match=says):
        VLMRewardConfig(**REWARD, calibration=calibration(threshold=figure(value)))


def test_no_file_is_said():
    with pytest.raises(LabelError, match=r"'nowhere\.yaml', which cannot be read"):
        inline_calibration({"calibration": "nowhere.yaml"})


def test_what_it_has_not_seen_is_logged_once_where_its_use_begins(path, caplog):
    unseen = ["a red key", "a blue ball", "a blue key"]
    agents = {"seeker": {"env_reward_weight": 0.5}}  # has the same calibration
    config = VLMRewardConfig(**REWARD, calibration=path(unseen_goals=unseen), agents=agents)
    assert not caplog.records
    config.check_weights("a" * 64)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "3 training goals had no labelled frame, such as ['a red key', " in record.message
    caplog.clear()
    VLMRewardConfig(**REWARD, calibration=path()).check_weights("a" * 64)
    assert not caplog.records


@pytest.mark.parametrize(
    ("target", "remedy"),
    [({"precision": 95}, "95 % is 0.95"), ({}, "expected one of the two. Give a precision, such")],
)
def test_a_wrong_target_names_a_right_one(target, remedy):
    with pytest.raises(pydantic.ValidationError, match=remedy):
        Target(**target)


@pytest.mark.parametrize(
    "target", [{}, {"precision": 0.9, "false_positives": 1}, {"precision": 1}, {"precision": 0}]
)
def test_a_target_is_one_figure(target):
    with pytest.raises(pydantic.ValidationError):
        Target(**target)


def test_an_agent_without_it_keeps_its_reward_through_yaml(path):
    agents = {"s": {"goals": ["a {red|blue} ball"], "calibration": None}}
    config = VLMRewardConfig(**REWARD, calibration=path(), agents=agents)
    again = VLMRewardConfig.from_yaml(config.to_yaml())
    assert again == config
    assert again.threshold_in_force == config.threshold_in_force
    assert config.for_agent("s").threshold_in_force is None
    assert again.for_agent("s").threshold_in_force is None
