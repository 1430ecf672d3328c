import pydantic
import pytest
import yaml

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.goals import Grammar

GRAMMAR = {
    "goals": ["a {color} {kind}"],
    "words": {"color": ["red", "blue"], "kind": ["ball", "key"]},
    "held_out": {"pairs": [["red", "ball"]]},
}
SPLIT = ("a red key", "a blue ball", "a blue key"), ("a red ball",)


def make(**settings):
    return VLMRewardConfig(**{"encoder": "small", "goals": ["a ball", "a key"], **settings})


def split_of(config):
    texts, seen = config.goal_set.texts, len(config.training_goals)
    return texts[:seen], texts[seen:]


@pytest.fixture
def written(tmp_path):
    """Write a YAML file, return its path."""

    def write(content):
        path = tmp_path / "goals.yaml"
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return str(path)

    return write


@pytest.mark.parametrize("grammar", [GRAMMAR, Grammar(**GRAMMAR)])
def test_goals_are_made_by_a_grammar(grammar):
    assert split_of(make(goals=grammar)) == SPLIT


def test_goals_are_made_by_a_grammar_in_a_file(written):
    assert split_of(make(goals=written(GRAMMAR))) == SPLIT


def test_goals_are_listed_in_a_file(written):
    goals = ["a {red|blue} ball", {"text": "a key", "negatives": ["a ball"]}]
    config = make(goals=written(goals), evaluation_goals=["a box"])
    assert config == make(goals=goals, evaluation_goals=["a box"])


def test_a_file_brings_held_out_goals_and_templates_too(written):
    content = {
        "goals": ["see a {red|blue} ball"],
        "evaluation_goals": ["see a red key"],
        "templates": [{"goal": "see {}", "prompt": "{}", "family": "sight"}],
    }
    assert make(goals=written(content)) == make(**content)


def test_what_is_written_holds_the_goals_in_full(written, tmp_path):
    config = make(goals=written(GRAMMAR), agents={"a": {"goals": written(GRAMMAR)}})
    (tmp_path / "goals.yaml").unlink()
    again = VLMRewardConfig.from_yaml(config.to_yaml())
    assert again == config
    assert (
        again.model_copy(update={"head": {"kind": "softmax", "temperature": 0.1}}).goal_set
        == config.goal_set
    )
    assert split_of(again) == split_of(again.for_agent("a")) == SPLIT


def test_an_agents_goals_are_a_grammar_of_its_own():
    config = make(evaluation_goals=["a box"], agents={"a": {"goals": GRAMMAR}})
    assert split_of(config) == (("a ball", "a key"), ("a box",))
    assert split_of(config.for_agent("a")) == SPLIT


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "got NoneType, expected a list of goals"),
        ("a ball", "got str, expected a list of goals"),
        ("[a ball", "goals.yaml: invalid YAML"),
        ("goals: [a ball]\ngoals: [a key]", "goals.yaml: .* line 1 and again in line 2"),
        ("[]", "goals.yaml: goals: .*at least 1 item"),
        ("{goals: [a ball], evaluation: [a key]}", "unknown key 'evaluation'"),
        ("{evaluation_goals: [a key]}", "goals.yaml: goals: the key is missing"),
        ("{goals: [{text: a ball, famly: b}]}", "unknown key 'famly'. Did you mean 'family'"),
        (
            "{goals: ['a {b}'], words: {b: [no]}}",
            "words.b.0: got False, expected a text",
        ),
        ("{goals: ['a {b}'], words: {c: [d]}}", "goals.yaml: .*pattern .* got 'b'"),
    ],
)
def test_a_file_of_other_content_is_refused(written, content, message):
    with pytest.raises(pydantic.ValidationError, match=message):
        make(goals=written(content))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"goals": "a ball"}, "got 'a ball', which cannot be read .*give a list with one text"),
        ({"goals": "tests"}, "'tests', which cannot be read"),
        ({"goals": {"goals": ["a {b}"], "wrds": {}}}, "unknown key 'wrds'. Did you mean 'words'"),
        ({"goals": GRAMMAR, "evaluation_goals": ["a box"]}, "both here and in the grammar"),
        ({"agents": {"a": {"goals": "none.yaml"}}}, "'none.yaml', which cannot be read"),
    ],
)
def test_goals_from_elsewhere_are_checked(settings, message):
    with pytest.raises(pydantic.ValidationError, match=message):
        make(**settings)


@pytest.mark.parametrize("key", ["evaluation_goals", "templates"])
def test_what_a_file_brings_is_not_given_beside_it(written, key):
    content = {
        "goals": ["a ball", "a key"],
        "evaluation_goals": ["a box"],
        "templates": [{"nothing": "nothing"}],
    }
    with pytest.raises(pydantic.ValidationError, match=f"{key}: it is set both here and in .*yaml"):
        make(**{"goals": written(content), key: content[key]})
