import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rllib_vlm_reward.errors import GoalError
from rllib_vlm_reward.goals import Goal, GoalSet, Template, expand_goals

WORDS = st.lists(
    st.text("abcdefgh ", min_size=1).filter(str.strip), min_size=2, max_size=8, unique=True
)
LIFT = Template("pick up {}", "the agent is carrying {}", "empty hands")
FIND = Template("go to {}", "the agent is facing {}")
FAMILIES = st.lists(st.sampled_from(["find", "lift", ""]), min_size=1, max_size=9)
DIFFICULTIES = st.none() | st.floats(allow_nan=False, allow_infinity=False)


def graded(families, difficulties=(None,)):
    """A set with a goal for each family, and the difficulties in turn."""
    return GoalSet(
        tuple(
            Goal(f"{i}", f"p{i}", ("n",), None, family, difficulties[i % len(difficulties)])
            for i, family in enumerate(families)
        )
    )


@given(WORDS, st.integers(0, 3), st.integers())
def test_no_goal_is_among_its_negatives_and_the_draw_is_seeded(texts, wanted, seed):
    number = min(wanted, len(texts) - 1)
    first, second = (
        GoalSet.from_texts(texts, num_negatives=number, negatives=["!"], seed=seed)
        for _ in range(2)
    )
    assert first == second
    assert first.texts == tuple(texts)
    for goal in first.goals:
        assert goal.prompt not in goal.negatives
        assert len(goal.negatives) == number + 1
        assert set(goal.negatives) <= {*texts, "!"}


@given(WORDS)
def test_a_set_survives_json(texts):
    goals = GoalSet.from_texts(texts, baseline="!")
    again = GoalSet.from_dict(json.loads(json.dumps(goals.to_dict())))
    assert again == goals
    assert again.fingerprint == goals.fingerprint


@given(WORDS)
def test_statements_hold_every_text_that_clip_must_read_once(texts):
    goals = GoalSet.from_texts(texts, negatives=["!"], baseline="?")
    assert sorted(goals.statements) == sorted({*texts, "!", "?"})


def test_a_noun_is_filled_as_the_prompt_is_and_changes_no_fingerprint():
    lift = Template("lift the {} from the {}", "the {} is off the {}", noun="a {}")
    goals = GoalSet.from_texts(["lift the cup from the mat"], templates=[lift])
    assert goals[0].noun == "a cup"
    assert GoalSet.from_dict(json.loads(json.dumps(goals.to_dict()))) == goals
    without = Template(lift.goal, lift.prompt)
    plain = GoalSet.from_texts(["lift the cup from the mat"], templates=[without])
    assert plain[0].noun is None
    assert plain.fingerprint == goals.fingerprint
    assert plain.statements == goals.statements
    both = Template("{} by {}", "{} is by {}", symmetric=True, noun="{} and {}")
    assert both.noun_of("key by ball") == "ball and key"  # as in the prompt
    assert Template(noun="a thing").noun_of("anything") == "a thing"


@pytest.mark.parametrize(
    ("noun", "symmetric", "error"),
    [
        ("{} {} {}", False, "has 2 blanks, noun .* has 3; expected at most as many"),
        ("a {}", True, "has 2 blanks, noun 'a {}' has 1; expected both, or none"),
        ("a {kind}", False, "got '{kind}' in its noun, expected {}"),
        (" ", False, "noun is empty"),
    ],
)
def test_a_noun_that_cannot_be_filled(noun, symmetric, error):
    with pytest.raises(GoalError, match=error):
        Template("{} by {}", "{} is by {}", symmetric=symmetric, noun=noun)


def test_another_seed_draws_other_negatives():
    texts = [f"a {n}" for n in range(50)]
    draws = {GoalSet.from_texts(texts, num_negatives=5, seed=s).fingerprint for s in range(5)}
    assert len(draws) == 5


def test_only_goals_of_the_same_template_exclude_each_other():
    goals = GoalSet.from_texts(
        ["pick up a ball", "pick up a key", "go to a ball", "go to a key"], templates=[LIFT, FIND]
    )
    assert goals[0].negatives == ("the agent is carrying a key", "empty hands")
    assert goals[2].negatives == ("the agent is facing a key",)


def test_prompts_replace_the_templates_and_stay_each_others_negatives():
    goals = GoalSet.from_texts(
        ["pick up a ball", "pick up a key"], prompts={"pick up a ball": "B"}, templates=[LIFT]
    )
    assert goals[0].prompt == "B"
    assert goals[1].negatives == ("B", "empty hands")


def test_blanks_are_filled_in_order():
    place = Template("put {} next to {}", "{} touches {}")
    assert place.fill("put a ball next to a key") == "a ball touches a key"
    assert place.fill("drop a ball") is None


def test_a_symmetric_goal_is_not_weighed_against_its_reverse():
    touch = Template("put {} next to {}", "{} touches {}", symmetric=True)
    goals = GoalSet.from_texts(
        ["put a next to b", "put b next to a", "put c next to a"], templates=[touch]
    )
    assert goals[0].prompt == goals[1].prompt == "a touches b"
    assert goals[1].negatives == ("a touches c",)
    assert goals[2].negatives == ("a touches b",)


@given(WORDS, WORDS, st.none() | st.integers(0, 1), st.integers())
def test_a_set_grows_by_appending_and_what_it_has_stays(first, more, wanted, seed):
    new = [text for text in more if text not in first]
    keys = {"negatives": ["!"], "num_negatives": wanted, "seed": seed, "baseline": "?"}
    goals = GoalSet.from_texts(first, **keys)
    before = goals.to_dict()["goals"]
    grown = goals.grow(new, **keys)
    assert grown.texts == (*first, *new)
    assert grown.to_dict()["goals"][: len(first)] == before
    assert all(old is kept for old, kept in zip(goals.goals, grown.goals, strict=False))
    assert grown.statements[: len(goals.statements)] == goals.statements
    for goal in grown.goals[len(first) :]:
        others = {*grown.texts} - {goal.text}
        if wanted is None:
            assert sorted(goal.negatives) == sorted({*others, "!"})
        else:
            assert len(goal.negatives) == wanted + 1
            assert {*goal.negatives} <= {*others, "!"}
    again = GoalSet.from_dict(goals.to_dict()).grow(new, **keys)  # as in another process
    assert again == grown
    assert again.fingerprint == grown.fingerprint


def test_goals_that_are_added_later_have_the_negatives_of_their_birth():
    touch = Template("put {} next to {}", "{} touches {}", symmetric=True)
    keys = {"templates": [LIFT, touch], "prompts": {"pick up a ball": "B"}}
    goals = GoalSet.from_texts(["pick up a ball"], **keys)
    goals = goals.grow(["pick up a key", "put b next to a"], **keys)
    goals = goals.grow(["put a next to b", "pick up a box"], **keys)
    assert [goal.negatives for goal in goals.goals] == [
        ("empty hands",),
        ("B", "empty hands"),
        (),
        (),  # the same prompt
        ("B", "the agent is carrying a key", "empty hands"),
    ]
    assert goals.families == {LIFT.goal: (0, 1, 4), touch.goal: (2, 3)}


def test_one_growth_is_not_the_draw_of_another():
    texts = [f"a {n}" for n in range(50)]
    goals = GoalSet.from_texts(texts, num_negatives=5)
    first = goals.grow(["x"], num_negatives=5)
    second = first.grow(["y"], num_negatives=5)
    assert first[50].negatives != second[51].negatives


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["pick up a ball"], "'pick up a ball' is given more than once"),
        (["pick up a key", "pick up a key"], "'pick up a key' is given more than once"),
        (["drop a ball"], "goal 'drop a ball': no template matches it"),
        ([" "], "got an empty text"),
    ],
)
def test_what_no_set_may_have_cannot_be_added(more, message):
    with pytest.raises(GoalError, match=message):
        GoalSet.from_texts(["pick up a ball"], templates=[LIFT]).grow(more, templates=[LIFT])


@given(FAMILIES)
def test_families_hold_every_index_once_in_order(families):
    found = graded(families).families
    assert sorted(i for indices in found.values() for i in indices) == list(range(len(families)))
    assert all(families[i] == family for family, indices in found.items() for i in indices)
    assert all(list(indices) == sorted(indices) for indices in found.values())
    firsts = [indices[0] for indices in found.values()]
    assert firsts == sorted(firsts)


@given(FAMILIES, st.lists(DIFFICULTIES, min_size=1, max_size=9))
def test_families_and_difficulties_survive_json_and_change_no_fingerprint(families, difficulties):
    goals = graded(families, difficulties)
    assert GoalSet.from_dict(json.loads(json.dumps(goals.to_dict()))) == goals
    assert goals.fingerprint == graded([""] * len(families)).fingerprint


def test_the_fingerprint_is_that_of_the_texts_alone():
    negatives = hashlib.sha256(b"c").digest()
    content = json.dumps([["a", "b", f"{int.from_bytes(negatives, 'little'):x}", "d"]])
    goals = GoalSet((Goal("a", "b", ("c",), "d", "letters", 1.0),))
    assert goals.fingerprint == hashlib.sha256(content.encode()).hexdigest()


def test_a_set_without_families_can_still_be_read():
    fields = {"text": "a", "prompt": "b", "negatives": ["c"], "baseline": None}
    assert GoalSet.from_dict({"goals": [fields]})[0] == Goal("a", "b", ("c",))


def test_a_template_names_the_family_of_its_goals():
    named = Template("pick up {}", "the agent is carrying {}", family="lift")
    texts = ["go to a ball", "pick up a ball", "pick up a key", "go to a key"]
    assert GoalSet.from_texts(texts, templates=[named, FIND]).families == {
        "go to {}": (0, 3),
        "lift": (1, 2),
    }


def test_templates_of_one_family_keep_their_own_negatives():
    lift, fetch = (
        Template(f"{verb} {{}}", f"{verb}: {{}}", family="lift") for verb in ("pick up", "fetch")
    )
    goals = GoalSet.from_texts(
        ["pick up a ball", "pick up a key", "fetch a ball"], templates=[lift, fetch]
    )
    assert goals.families == {"lift": (0, 1, 2)}
    assert goals[0].negatives == ("pick up: a key",)
    assert goals[2].negatives == ()


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a ball", ["a ball"]),
        ("a {red|blue} ball", ["a red ball", "a blue ball"]),
        ("{a|b}{c|d}", ["ac", "ad", "bc", "bd"]),
    ],
)
def test_choices_expand(pattern, expected):
    assert expand_goals(pattern) == expected


@pytest.mark.parametrize("pattern", ["a {red|blue ball", "a red} ball", "a {{red} ball", "}{"])
def test_half_a_brace_is_refused(pattern):
    with pytest.raises(GoalError, match="with an unmatched brace"):
        expand_goals(pattern)


@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        ("pick up the {color} {kind}", "{color}"),
        ("a {red,green} {ball|box}", "{red,green}"),
        ("a [red|green] ball", "[red|green]"),
        ("a [red, green] ball", "[red, green]"),
        ("a red|green ball", "red|green"),
        ("a (red|green) ball", "(red|green)"),
        ("{}", "{}"),
    ],
)
def test_a_pattern_that_expands_to_nothing_is_refused(pattern, left):
    with pytest.raises(GoalError) as caught:
        expand_goals(pattern)
    assert f"{left!r} expands to nothing" in str(caught.value)
    assert "{red|blue}" in str(caught.value)
    assert "`words`" in str(caught.value)


@pytest.mark.parametrize("key", ["goal", "prompt"])
def test_a_template_with_a_named_blank_is_refused(key):
    with pytest.raises(GoalError, match=rf"got '{{color}}' in its {key}, expected {{}} for each"):
        Template(**{key: "a {color} {}"})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Goal("", "x"), "empty text"),
        (lambda: Goal("x", " "), "empty text"),
        (lambda: Goal("x", "y", negatives=("",)), "empty text"),
        (lambda: Goal("x", "y", negatives=("y",)), "its prompt 'y' is among its negatives"),
        (lambda: Goal("x", "y", negatives=("x",)), "it is among its negatives"),
        (lambda: Goal("x", "y", negatives=("z", "z")), "repeated"),
        (lambda: Goal("x", "y", baseline="y"), "baseline equals its prompt"),
        (lambda: Goal("x", "y", difficulty=float("nan")), "difficulty is nan"),
        (lambda: Goal("x", "y", difficulty=float("inf")), "difficulty is inf"),
        (lambda: GoalSet(()), "no goal"),
        (lambda: GoalSet((Goal("x", "y"), Goal("x", "z"))), "more than once"),
        (lambda: GoalSet.from_texts(["x", "x"]), "more than once"),
        (lambda: GoalSet.from_texts(["x", "y"], num_negatives=2), "expected 0 to 1"),
        (lambda: GoalSet.from_texts(["x"], negatives=["x"]), "among its negatives"),
        (lambda: GoalSet.from_texts(["jump"], templates=[LIFT, FIND]), "no template matches"),
        (lambda: Template("{} {}", "{}"), "expected the same number"),
        (lambda: Template(nothing=" "), "nothing is empty"),
        (lambda: Template(family=""), "family is empty"),
        (
            lambda: GoalSet.from_texts(["a red ball"]).index("a red bal"),
            "The closest is 'a red ball'. The goals are 'a red ball'",
        ),
    ],
)
def test_bad_goals_are_refused(make, message):
    with pytest.raises(GoalError, match=message):
        make()
