import itertools
import re

import pydantic
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rllib_vlm_reward.goals import Grammar

FIND = "go to the {color} {kind}"
PLACE = "put the {color} {kind} next to the {color2} {kind2}"
SIZED = "take the {size} {color} {kind}"
# Words that a regular expression finds again in a text: "color3", "kind0".
THING = re.compile(r"(?:(?:color|kind|size)\d )*(?:color|kind|size)\d")


def words_of(**sizes):
    return {name: [f"{name}{i}" for i in range(size)] for name, size in sizes.items()}


def things_in(text):
    return [frozenset(thing.split()) for thing in THING.findall(text)]


def pairs_in(text):
    """The pairs of words of two lists that describe one object in a text."""
    return {
        frozenset(pair)
        for thing in things_in(text)
        for pair in itertools.combinations(thing, 2)
        if pair[0][:-1] != pair[1][:-1]
    }


def said_by(patterns, words):
    """Every text of the patterns that names no thing twice, by way of str.format."""
    texts = []
    for pattern in patterns:
        blanks = sorted(set(re.findall(r"{(\w+)}", pattern)))
        for choice in itertools.product(*(words[blank.strip("2")] for blank in blanks)):
            text = pattern.format(**dict(zip(blanks, choice, strict=True)))
            if len(set(things_in(text))) == len(things_in(text)):
                texts.append(text)
    return texts


@st.composite
def grammars(draw):
    """The settings of a grammar with words and as many pairs held out as it can spare."""
    patterns = draw(st.lists(st.sampled_from([FIND, PLACE, SIZED]), min_size=1, unique=True))
    sizes = {"color": 4, "kind": 4} | ({"size": 3} if SIZED in patterns else {})
    words = words_of(**{name: draw(st.integers(2, most)) for name, most in sizes.items()})
    unseen = {
        name: draw(st.lists(st.sampled_from(its), max_size=len(its) - 1, unique=True))
        for name, its in words.items()
    }
    assume(patterns != [PLACE] or any(len(words[name]) - len(unseen[name]) > 1 for name in words))
    given = {
        "goals": patterns,
        "words": words,
        "paraphrases": draw(st.sampled_from([[], ["seek the {color} {kind}"]])),
    }
    seed = draw(st.integers(0, 9))
    for number in range(draw(st.integers(0, 4)), 0, -1):
        held = {"words": unseen, "num_pairs": number, "seed": seed}
        try:
            Grammar(**given, held_out=held)
        except pydantic.ValidationError as error:
            if "num_pairs is" not in str(error):
                raise
        else:
            return {**given, "held_out": held}
    return {**given, "held_out": {"words": unseen}}


@given(grammars())
@settings(deadline=None)
def test_a_split_is_disjoint_and_complete(given):
    training, evaluation = Grammar(**given).split
    paraphrased = said_by(given["paraphrases"], given["words"])
    held = evaluation[: len(evaluation) - len(paraphrased)]
    assert not set(training) & set(evaluation)
    assert sorted(training + held) == sorted(said_by(given["goals"], given["words"]))
    assert sorted(evaluation[len(held) :]) == sorted(paraphrased)


@given(grammars())
@settings(deadline=None)
def test_what_is_held_out_is_in_every_held_out_goal_and_in_no_other(given):
    grammar = Grammar(**given)
    unseen = {word for words in given["held_out"]["words"].values() for word in words}
    pairs = set(map(frozenset, grammar.held_out_pairs))
    assert len(pairs) == given["held_out"].get("num_pairs", 0)
    paraphrased = said_by(given["paraphrases"], given["words"])
    for text in (*grammar.split.training, *grammar.split.evaluation):
        held = bool(unseen & set(text.split()) or pairs & pairs_in(text))
        assert held == (text in grammar.split.evaluation) or text in paraphrased


@given(grammars())
@settings(deadline=None)
def test_each_word_of_a_drawn_pair_stays_in_training_with_another_partner(given):
    grammar = Grammar(**given)
    said = set().union(*map(pairs_in, grammar.split.training))
    for pair in grammar.held_out_pairs:
        assert frozenset(pair) not in said
        for word, partner in (pair, pair[::-1]):
            others = {other for pair in said if word in pair for other in pair - {word}}
            assert partner[:-1] in {other[:-1] for other in others}


@given(grammars())
@settings(deadline=None)
def test_a_seed_draws_the_same_pairs_again(given):
    assert Grammar(**given).split == Grammar(**given).split


def test_another_seed_draws_other_pairs():
    words = words_of(color=6, kind=6)
    draws = {
        Grammar(goals=[FIND], words=words, held_out={"num_pairs": 5, "seed": s}).held_out_pairs
        for s in range(5)
    }
    assert len(draws) == 5


@pytest.mark.parametrize(("colors", "kinds"), itertools.product((1, 2, 3), repeat=2))
def test_as_many_pairs_can_be_drawn_as_leave_every_word_a_partner(colors, kinds):
    words = words_of(color=colors, kind=kinds)
    every = set(itertools.product(*words.values()))

    def spares(pairs):
        rest = every - set(pairs)
        return all(
            any(c == color for c, _ in rest) and any(k == kind for _, k in rest)
            for color, kind in pairs
        )

    most = max(
        n
        for n in range(len(every) + 1)
        if any(map(spares, itertools.combinations(sorted(every), n)))
    )
    for seed in range(5):
        held = {"num_pairs": most, "seed": seed}
        assert len(Grammar(goals=[FIND], words=words, held_out=held).held_out_pairs) == most
    with pytest.raises(pydantic.ValidationError, match=f"expected 0 to {most},"):
        Grammar(goals=[FIND], words=words, held_out={"num_pairs": most + 1})


def test_words_and_pairs_that_are_named_are_held_out():
    grammar = Grammar(
        goals=[FIND, "open the door"],
        words={"color": ["red", "blue", "grey"], "kind": ["ball", "key"]},
        paraphrases=["seek the {kind}"],
        held_out={"words": {"color": ["grey"]}, "pairs": [["ball", "red"]]},
    )
    assert grammar.held_out_pairs == (("red", "ball"),)
    assert grammar.split.training == (
        "go to the red key",
        "go to the blue ball",
        "go to the blue key",
        "open the door",
    )
    assert grammar.split.evaluation == (
        "go to the red ball",
        "go to the grey ball",
        "go to the grey key",
        "seek the ball",
        "seek the key",
    )


def test_a_pair_is_one_of_one_thing():
    grammar = Grammar(
        goals=["put the {color} {kind} next to the {color2} {kind2}"],
        words={"color": ["red", "blue"], "kind": ["ball", "key"]},
        held_out={"pairs": [["red", "ball"]]},
    )
    assert "put the red key next to the blue ball" in grammar.split.training
    assert "put the blue key next to the red ball" in grammar.split.evaluation


def test_a_goal_names_nothing_twice_but_for_a_blank_that_the_pattern_repeats():
    words = {"color": ["red", "blue"]}
    two = Grammar(goals=["a {color} ball, a {color2} ball"], words=words)
    assert two.split.training == ("a red ball, a blue ball", "a blue ball, a red ball")
    same = Grammar(goals=["a {color} ball, a {color} box"], words=words)
    assert same.split.training == ("a red ball, a red box", "a blue ball, a blue box")


COLORS = {"color": ["red", "blue"], "kind": ["ball", "key"]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"goals": []}, "at least 1 item"),
        ({"words": {"color": [], "kind": ["ball"]}}, "at least 1 item"),
        ({"words": {"colour": ["red"], "kind": ["ball"]}}, "got 'color'.*mean 'colour'"),
        ({"words": {**COLORS, "size": ["big"]}}, "without a blank in any pattern: got 'size'"),
        ({"words": {"color": ["red", "red"], "kind": ["ball"]}}, "'red' is given more than once"),
        ({"words": {"color": ["red"], "kind": ["red"]}}, "'red' is given more than once"),
        ({"words": {"color": [" "], "kind": ["ball"]}}, "expected a text without braces"),
        ({"words": {"color": ["{a|b}"], "kind": ["ball"]}}, "expected a text without braces"),
        ({"goals": [FIND, "go to the {color} {kind}"]}, "'go to the red ball' is made more than"),
        ({"paraphrases": [FIND]}, "'go to the red ball' is made more than once"),
        ({"goals": ["go to the {red|blue} {kind}"]}, r"got 'red\|blue', expected one of"),
        ({"words": {"color": ["red"], "kind": ["ball"]}, "goals": [PLACE]}, "no goal is left"),
        ({"held": {}}, "unknown key 'held'. Did you mean 'held_out'"),
        ({"held_out": {"words": {"colors": ["red"]}}}, "got 'colors'.*mean 'color'"),
        ({"held_out": {"words": {"color": ["rd"]}}}, "got 'rd'.*mean 'red'"),
        (
            {"held_out": {"words": {"color": ["red", "blue"]}}},
            "got all words of the list, expected at least one left",
        ),
        ({"held_out": {"pairs": [["red", "bal"]]}}, "got 'bal'.*mean 'ball'"),
        ({"held_out": {"pairs": [["red", "blue"]]}}, "describe one object"),
        ({"held_out": {"pairs": [["red", "red"]]}}, "describe one object"),
        ({"held_out": {"pairs": [["red", "ball"]], "num_pairs": 1}}, "expected one of them"),
        (
            {"held_out": {"pairs": [["red", "ball"], ["red", "key"]]}},
            "uses 'red' with another 'kind'",
        ),
        ({"held_out": {"num_pairs": 3}}, "num_pairs is 3, expected 0 to 2"),
        ({"held_out": {"num_pairs": -1}}, "greater than or equal to 0"),
    ],
)
def test_bad_grammars_are_refused(changes, message):
    with pytest.raises(pydantic.ValidationError, match=message):
        Grammar(**{"goals": [FIND], "words": COLORS, **changes})
