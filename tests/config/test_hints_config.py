"""The settings of hints: what they give the scorer, and what they refuse."""

import re
import subprocess
import sys
import textwrap

import pydantic
import pytest

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.settings import messages

HINTS = {
    "goals": {
        "lift the {}": [
            {"statement": "the agent is facing the {0}", "nothing": "the agent is facing nothing"}
        ]
    },
    "weight": 0.5,
}
TEMPLATES = [{"goal": "lift the {}", "prompt": "the agent holds the {}", "nothing": "no thing"}]


def reward(**changes):
    given = {
        "encoder": "small",
        "goals": ["lift the {ball|key}"],
        "evaluation_goals": ["lift the box"],
        "templates": TEMPLATES,
        "threshold": 0.5,
        "hints": HINTS,
    }
    return VLMRewardConfig(**{**given, **changes})


def hints(*statements, **changes):
    return {**HINTS, "goals": {"lift the {}": [*statements]}, **changes}


def test_what_is_sent_has_the_statements_after_the_goals():
    config = reward()
    scorer = config.rater
    assert scorer.goals.goals[:3] == config.goal_set.goals
    facing = [goal.prompt for goal in scorer.goals.goals[3:]]
    assert facing == ["the agent is facing the ball", "the agent is facing the key"]
    (readout,) = scorer.readouts
    assert readout.candidates == (3, 4)
    # A held-out goal has no hints, nor has a hint.
    assert readout.of_goals == ((0,), (1,), (), (), ())
    assert config.encoders[0][2] == (scorer.goals,)
    # What is not sent in training is as without hints.
    assert config.scorer.fingerprint == reward(hints=None).scorer.fingerprint
    assert reward(hints=None).rater == config.scorer


def test_the_bonus_keeps_its_columns():
    bonus = {"kind": "focal", "weight": 1}
    config = reward(bonus=bonus, templates=[{**TEMPLATES[0], "noun": "the {}"}])
    assert config.rater.names == ("score", "focal", "hints/0")
    assert config.rater.columns_of("focal") == config.scorer.columns_of("focal")


def test_it_survives_yaml_and_is_part_of_the_reward():
    config = reward(hints={**HINTS, "decay": "none", "repeatable": True, "threshold": 0.25})
    assert VLMRewardConfig.from_yaml(config.to_yaml()) == config
    assert config.reward_settings["hints.decay"] == "none"
    assert config.reward_settings["hints.goals"]["lift the {}"][0]["nothing"]
    assert not [key for key in reward(hints=None).reward_settings if key.startswith("hints")]


def test_a_threshold_of_its_own_leaves_the_goals_dense():
    config = reward(threshold=None, hints={**HINTS, "threshold": 0.25})
    assert (config.threshold_in_force, config.hint_threshold) == (None, 0.25)
    assert reward().hint_threshold == 0.5


def test_agents_may_differ():
    config = reward(agents={"seeker": {"hints": {"weight": 2.0}}, "judge": {"hints": None}})
    assert config.for_agent("seeker").hints.weight == 2.0
    assert config.for_agent("seeker").hints.goals == config.hints.goals
    assert config.for_agent("judge").rater == config.scorer


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"hints": hints()}, r"hints.goals.lift the \{\}: .*at least 1"),
        ({"hints": {**HINTS, "goals": {}}}, "hints.goals: .*at least 1"),
        ({"hints": {**HINTS, "goals": ["a"]}}, "hints.goals: "),
        ({"hints": {"goals": HINTS["goals"]}}, "hints.weight: "),
        ({"hints": {**HINTS, "weight": "much"}}, "hints.weight: "),
        ({"hints": {**HINTS, "weight": True}}, "hints.weight: got True, a boolean"),
        ({"hints": {**HINTS, "weight": 0}}, "hints.weight: .*greater than 0"),
        ({"hints": {**HINTS, "decay": "rdn"}}, "hints.decay: .*'count', 'rnd' or 'none'"),
        ({"hints": {**HINTS, "kind": "list"}}, "unknown key 'kind'"),
        ({"hints": hints("at the {1}")}, r"got \{1\}, but the pattern has 1 blanks"),
        ({"hints": {**HINTS, "goals": {"find {}": ["a"]}}}, "'find {}' matches no training goal"),
        ({"hints": {**HINTS, "goals": {"lift the box": ["a"]}}}, "matches no training goal"),
        (
            {"hints": hints("the hand is open")},
            "'the hand is open' has no negatives, .* Write {statement: ..., nothing: ...}",
        ),
        ({"hints": hints("the agent holds the {0}")}, "it is the goal's own prompt"),
        ({"threshold": None}, "hints: a hint holds where .* there is none. Set hints.threshold"),
        ({"hints": {**HINTS, "threshold": 1.5}}, "hints.threshold: got 1.5, which no score"),
        (
            {"head": "dense", "hints": {**HINTS, "threshold": 0.9}},
            "hints.threshold: got 0.9, which no score of the head .* among the 3 statements",
        ),
        (
            {
                "head": "goal_baseline",
                "goals": [
                    {"text": "lift the ball", "baseline": "x"},
                    {"text": "lift the key", "baseline": "y"},
                ],
                "evaluation_goals": [],
            },
            "hints: the head .* needs a baseline for the statement 'the agent is facing the ball'",
        ),
        ({"frames": {"scored_steps": 2}}, "hints: got frames.scored_steps 2, expected 'all'"),
        (
            {"hindsight": 2, "goal_embedding": True},
            "hindsight: got it together with hints, .* those of its own goal",
        ),
        (
            {"experts": {"a": {"encoder": "base"}, "b": {}}, "threshold": None},
            "hints: got hints together with experts",
        ),
        ({"agents": {"a": {"goals": ["find it"], "templates": [{}]}}}, "agent 'a': .*no training"),
    ],
    ids=str,
)
def test_what_it_refuses(changes, error):
    with pytest.raises(pydantic.ValidationError) as raised:
        reward(**changes)
    (message,) = messages(raised.value)
    assert re.search(error, message), message


def test_no_torch_is_needed_to_refuse():
    code = """
        import sys
        from test_hints_config import HINTS, reward
        try:
            reward(threshold=None)
        except ValueError as error:
            assert "there is none" in str(error)
        assert reward().rater.columns == 2
        print("torch" in sys.modules)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=True,
        cwd=__file__.rpartition("/")[0],
    )
    assert done.stdout.strip() == "False"
