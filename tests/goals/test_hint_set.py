"""Hints of a goal set: how they are filled, with what they are compared, and what is refused."""

import re

import pytest

from rllib_vlm_reward.errors import GoalError
from rllib_vlm_reward.goals import GoalSet, Hint, HintSet, Template

THINGS = ("ball", "key", "box")
FIND = Template("find the {}", "facing the {}", "facing nothing")
PLACE = Template("put the {} at the {}", "the {} is at the {}", "apart", symmetric=True)
GOALS = GoalSet.from_texts(
    [
        "put the ball at the key",
        "put the key at the box",
        "find the box",
        "find the lamp",
        "wait",
    ],
    templates=[FIND, PLACE, Template()],
)
HINTS = [
    Hint(PLACE.goal, "facing the {0}"),
    Hint(PLACE.goal, "holding the {0}", "holding nothing"),
    Hint(PLACE.goal, "facing the {1}"),
    Hint("find the {}", "the {0} is in view", "nothing in view"),
]


def made(hints=HINTS, **changes):
    return HintSet.of(hints, GOALS, templates=[FIND, PLACE, Template()], **changes)


def prompts_of(hints, goal):
    return [hints.goals[statement].prompt for _, statement in hints.of_goal[goal]]


def negatives_of(hints, prompt):
    (goal,) = (goal for goal in hints.goals.goals if goal.prompt == prompt)
    return set(goal.negatives)


def test_a_goal_has_the_statements_of_its_pattern_filled_with_its_own_blanks():
    hints = made()
    assert prompts_of(hints, 0) == ["facing the ball", "holding the ball", "facing the key"]
    assert prompts_of(hints, 1) == ["facing the key", "holding the key", "facing the box"]
    assert prompts_of(hints, 2) == ["the box is in view"]
    assert hints.of_goal[4] == ()
    assert [line for line, _ in hints.of_goal[1]] == [0, 1, 2]
    # "facing the key" is one statement, whoever has it.
    assert hints.of_goal[0][2][1] == hints.of_goal[1][0][1]
    assert hints.most == 3


def test_a_statement_is_compared_with_those_of_its_shape_and_with_nothing():
    hints = made(negatives=["a dark room"])
    # The prompts of the template with the same prompt are among them, and its `nothing`.
    assert negatives_of(hints, "facing the ball") == {
        *("facing the key", "facing the box", "facing the lamp"),
        *("facing nothing", "a dark room"),
    }
    assert negatives_of(hints, "holding the ball") == {
        *("holding the key", "holding nothing", "a dark room")
    }


def test_it_is_compared_with_the_prompts_of_each_template_with_the_same_prompt():
    seek = Template("seek the {}", FIND.prompt)
    templates = [FIND, seek, PLACE]
    texts = ["find the lamp", "seek the cup", "put the ball at the key"]
    goals = GoalSet.from_texts(texts, templates=templates)
    for order in (templates, templates[::-1]):
        hints = HintSet.of(HINTS[:1], goals, templates=order)
        assert negatives_of(hints, "facing the ball") == {
            *("facing the lamp", "facing the cup", "facing nothing")
        }


def test_others_are_drawn_where_those_of_goals_are():
    for seed in range(3):
        hints = made(num_negatives=1, seed=seed)
        found = negatives_of(hints, "facing the ball")
        assert len(found) == 2
        assert "facing nothing" in found
    assert negatives_of(made(num_negatives=9), "holding the key") == {
        *("holding the ball", "holding nothing")
    }
    assert negatives_of(made(num_negatives=0), "holding the key") == {"holding nothing"}


def test_where_the_order_has_no_meaning_a_statement_has_one_form():
    both = GoalSet.from_texts(["bring the key to the ball", "bring the ball to the key"])
    hints = HintSet.of(
        [Hint("bring the {} to the {}", "the {0} is at the {1}")], both, templates=[PLACE]
    )
    assert [goal.prompt for goal in hints.goals.goals] == ["the ball is at the key"]
    ordered = HintSet.of([Hint("bring the {} to the {}", "the {0} is at the {1}")], both)
    assert len(ordered.goals) == 2


def test_the_first_pattern_counts():
    hints = made([Hint("put the ball {}", "ready"), *HINTS])
    assert prompts_of(hints, 0) == ["ready"]
    assert prompts_of(hints, 1)[0] == "facing the key"


@pytest.mark.parametrize(
    ("hints", "error"),
    [
        ([Hint("push the {}", "at the {0}")], "'push the {}' matches no training goal"),
        ([*HINTS, Hint("find the box", "near")], "'find the box' matches no .* earlier pattern"),
        ([*HINTS, HINTS[0]], "'put the ball at the key' has .* 'facing the ball' twice"),
        ([Hint("find the {}", "facing the {0}")], "it is the goal's own prompt, so success"),
        ([Hint("find the {}", "at {0}", "at box")], "'at box' is among its negatives"),
    ],
)
def test_hints_that_do_not_suit_the_goals_are_refused(hints, error):
    with pytest.raises(GoalError) as raised:
        made(hints)
    assert re.search(error, str(raised.value)), raised.value


@pytest.mark.parametrize(
    ("statement", "nothing", "error"),
    [
        ("at the {1}", None, r"got \{1\}, but the pattern has 1 blanks"),
        ("at the {}", None, r"got '\{\}', .* expected \{0\} for what stands in the first blank"),
        ("at the {thing}", None, r"got '{thing}', which CLIP would read as it is"),
        ("at the {a|b}", None, r"got '{a\|b}', which CLIP"),
        ("at a|b", None, r"got '\|', which CLIP"),
        ("at the {0}", "at {0}", r"got '\{0\}', .* in `nothing` no blanks"),
        (" ", None, "got an empty text"),
        ("at the {0}", "", "got an empty text"),
    ],
)
def test_a_statement_that_cannot_be_filled_is_refused(statement, nothing, error):
    with pytest.raises(GoalError) as raised:
        Hint("find the {}", statement, nothing)
    assert re.search(error, str(raised.value)), raised.value


def test_a_blank_may_stand_twice_or_be_left_out():
    hint = Hint("put the {} at the {}", "the {1} and the {1}")
    assert hint.fill("put the ball at the key") == "the key and the key"
    assert hint.shape == "the {} and the {}"
