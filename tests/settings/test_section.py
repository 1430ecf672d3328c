"""What newcomers write first: one message each, in plain words, with the value as it should be."""

from pathlib import Path

import pydantic
import pytest
from ray import tune

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.errors import ConfigError
from rllib_vlm_reward.run import Experiment
from rllib_vlm_reward.settings import messages

CASES = Path(__file__).parents[1] / "cases" / "yaml"
RUN = """environment: {env: rllib_vlm_reward/Lift-v0}
vlm_reward:
  encoder: base
  goals: [a red ball, a blue key]
stop: {env_steps: 1000}
"""
GOALS = "[a red ball, a blue key]"
CHOICES = (
    "Write choices as {red|blue}, in quotes; for blanks such as {color}, give a grammar with "
    "`words`; for a text with these characters, give {text: ...}."
)


def said(make):
    with pytest.raises(pydantic.ValidationError) as raised:
        make()
    return messages(raised.value)


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("beta", ["vlm_reward: unknown key 'beta'. It is called 'threshold' here. Rename it."]),
        (
            "braces_as_mapping",
            [
                "vlm_reward.goals.0: got {'red|blue': None}, which YAML read as a mapping, "
                "expected a text. Put a text with { } : # in quotes, as in "
                '["pick up the {red|blue} ball"].'
            ],
        ),
        (
            "goals_of_yaml_types",
            [
                'vlm_reward.goals.0: got 1, expected a text. Put it in quotes, such as "1".',
                'vlm_reward.goals.1: got True, expected a text. Put it in quotes, such as "yes".',
                "vlm_reward.goals.2: got nothing, since the key is empty, expected a value. Give "
                "one, or remove the key.",
            ],
        ),
        (
            "negatives_as_text",
            [
                "vlm_reward.negatives: got the text 'an empty room', expected a list. Write "
                "[an empty room]."
            ],
        ),
        (
            "steps_with_comma",
            [
                "stop: unknown key 0. YAML ends a value at a comma: write a number without "
                "commas, such as 150000."
            ],
        ),
        (
            "threshold_outside",
            ["unknown key 'threshold'. It belongs in vlm_reward. Move it there."],
        ),
        (
            "threshold_yes",
            [
                "vlm_reward.threshold: got True, a boolean, expected a number. Write one; YAML "
                "reads yes, no, on and off as booleans."
            ],
        ),
        (
            "pattern_unexpanded",
            [
                "vlm_reward: goals: got 'pick up the {color} {kind}', of which '{color}' expands "
                f"to nothing. {CHOICES}"
            ],
        ),
        (
            "pattern_with_commas",
            [
                "vlm_reward: goals: got 'pick up the {red,green} {ball,box}', of which "
                f"'{{red,green}}' expands to nothing. {CHOICES}"
            ],
        ),
    ],
)
def test_a_case_has_one_message(case, expected):
    assert said(lambda: Experiment.from_file(CASES / f"{case}.yaml")) == expected


def test_braces_without_quotes_show_the_line_and_how_it_is_written():
    with pytest.raises(ConfigError) as raised:
        Experiment.from_file(CASES / "braces_unquoted.yaml")
    assert str(raised.value).endswith(
        "invalid YAML: expected ',' or ']', but got '{' (line 4, column 23: goals: [pick up the "
        "{red|blue} ball]). Put a text with { } : # in quotes, as in goals: "
        '["pick up the {red|blue} ball"].'
    )


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "  encoder",
            "  tau: 0.1\n  encoder",
            "It is called 'temperature' here. It belongs in vlm_reward.head. Move it there.",
        ),
        ("  encoder", "  env_steps: 10\n  encoder", "It belongs in stop. Move it there."),
        ("stop: {env_steps: 1000}", "env_steps: 1000", "It belongs in stop. Move it there."),
        (" {env_steps: 1000}", "", "stop: got nothing, since the key is empty"),
        (" {env: rllib_vlm_reward/Lift-v0}", "", "environment: got nothing"),
        (f" {GOALS}", "", "vlm_reward.goals: got nothing"),
        ("1000", "'150,000'", "Write 150000, without separators."),
        (
            GOALS,
            "[{text: a ball, promt: b}]",
            "goals.0: unknown key 'promt'. Did you mean 'prompt'",
        ),
        ("  encoder", "  threshold: tune.choice([0.1])\n  encoder", "the search space"),
        ("  encoder", "  threshold: {grid_search: [0.1]}\n  encoder", "the search space"),
    ],
)
def test_other_first_tries_say_what_to_write(old, new, words):
    assert old in RUN
    (message,) = said(lambda: Experiment.from_yaml(RUN.replace(old, new)))
    assert words in message


@pytest.mark.parametrize(
    "keys",
    [
        {"threshold": tune.choice([0.1, 0.2])},
        {"threshold": tune.grid_search([0.1, 0.2])},
        {"head": {"kind": "softmax", "temperature": tune.loguniform(1e-3, 1)}},
        {"serving": {"num_actors": tune.randint(1, 3)}},
    ],
)
def test_a_search_space_in_the_reward_shows_the_way_that_works(keys):
    (message,) = said(lambda: VLMRewardConfig(encoder="base", goals=["a", "b"], **keys))
    assert "search space" in message
    assert "Search with search(space, output, ...)" in message


def test_an_actor_has_one_gpu():
    (message,) = said(
        lambda: VLMRewardConfig(encoder="base", goals=["a", "b"], serving={"num_gpus_per_actor": 2})
    )
    assert "got 2, expected at most 1" in message
    assert "raise num_actors" in message


@pytest.mark.parametrize(("text", "remedy"), [("0.5", "Remove the quotes"), ("nan", "finite one")])
def test_a_text_that_is_a_number_says_what_to_write(text, remedy):
    """YAML reads nan, which ``--set`` may be given without quotes, as a text."""
    reward = {"encoder": "small", "goals": ["a {ball|key}"], "threshold": text}
    with pytest.raises(pydantic.ValidationError, match=f"got '{text}', a text, .*{remedy}"):
        VLMRewardConfig(**reward)


def test_python_has_the_messages_of_the_command_line():
    given = {
        "encoder": "small",
        "goals": ["a ball", 3, {"text": "a key", "promt": "x"}],
        "threshold": "high",
        "serving": {"num_actors": 0},
    }
    with pytest.raises(pydantic.ValidationError) as raised:
        VLMRewardConfig(**given)
    said = str(raised.value)
    assert len(messages(raised.value)) == 4
    for message in messages(raised.value):
        key, _, words = message.partition(": ")
        assert f"{key}\n  {words}" in said
    assert "threshold\n  got 'high', expected a number. Correct it." in said
    for noise in ("http", "input_value", "function-wrap"):
        assert noise not in said
