"""Whatever a proposer says, what is admitted is in order, and what is not is counted."""

import itertools
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from judges import LenientJudge, ShortSighted, embedding

from rllib_vlm_reward.curriculum.admission import REASONS, Rules, admit
from rllib_vlm_reward.goals import Goal, GoalSet, Template

LIFT = Template("lift the {}", "the {} is held", "nothing is held")
GOALS = GoalSet.from_texts(["lift the red ball", "lift the blue key"], templates=[LIFT])
HELD_OUT = (Goal("lift the red key", "the red key is held"),)


def rules(**changes):
    given = {
        "templates": [LIFT],
        "held_out": HELD_OUT,
        "grow": lambda goals, texts: goals.grow(texts, templates=[LIFT]),
        "threshold": 0.5,
        "at_once": 10,
        "at_most": 500,
        "most_alike": 0.98,
    }
    return Rules(**{**given, **changes})


THINGS = st.text(max_size=90) | st.sampled_from(
    ["red ball", "red key", "blue ball", "BLUE ball", "<b>box</b>", "a\nb", "{a|b}", "\ud83d", "é"]
)
TEXTS = THINGS.map("lift the {}".format) | st.text() | st.sampled_from([*GOALS.statements])
ANYTHING = TEXTS | st.none() | st.integers() | st.binary() | st.lists(st.text(), max_size=2)


@given(st.lists(ANYTHING, max_size=40), st.integers(1, 5), st.integers(2, 6))
def test_what_is_admitted_is_in_order_and_all_else_is_counted(said, at_once, at_most):
    before = GOALS.to_dict()
    verdict = admit(said, GOALS, rules(at_once=at_once, at_most=at_most), LenientJudge())
    assert len(verdict.admitted) + verdict.counts.total() == len(said)
    assert set(verdict.counts) <= set(REASONS)
    assert len(verdict.admitted) <= min(at_once, at_most - 2)
    grown = GOALS.grow(verdict.admitted, templates=[LIFT])  # no text twice, none that is known
    assert GOALS.to_dict() == before
    prompts = [*GOALS.statements, *(goal.prompt for goal in HELD_OUT)]
    prompts += [goal.prompt for goal in grown.goals[2:]]
    assert len({prompt.casefold() for prompt in prompts}) == len(prompts)
    for text in verdict.admitted:
        assert text.startswith("lift the ")
        assert text.isprintable()
        assert len(text) <= 80
        assert not set("<>{}|`[]") & set(text)
    stripped = [text.strip() for text in said if isinstance(text, str)]
    assert all(text in stripped for text in verdict.admitted)
    assert all(
        text in stripped and reason in verdict.counts for text, reason in verdict.refused.items()
    )


def only_reason(said, judge=None, refused_before=(), **changes):
    verdict = admit([said], GOALS, rules(**changes), judge or LenientJudge(), refused_before)
    assert verdict.admitted == ()
    ((reason, number),) = verdict.counts.items()
    assert number == 1
    return reason


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (None, "no_text"),
        ("  ", "no_text"),
        (b"lift the box", "no_text"),
        ("lift the " + 72 * "x", "too_long"),
        ("lift the \x1b[31mbox", "not_plain"),
        ("lift the box\nand the key", "not_plain"),
        ("lift the <b>box</b>", "not_plain"),
        ("- **lift the box**", "not_plain"),
        ("lift the {box|door}", "not_plain"),
        ("lift the \ud83d", "not_plain"),
        ("lift the red ball", "known"),
        ("nothing is held", "known"),
        ("lift the red key", "held_out"),
        ("lift the Red key", "held_out"),  # the encoder reads the same
        ("lift the Red ball", "alike"),
        ("drop the ball", "no_template"),
        ("Sure! Here are some goals:", "no_template"),
    ],
)
def test_each_refusal_has_its_reason(said, reason):
    assert only_reason(said) == reason


def test_a_prompt_that_there_is_under_another_text_is_known():
    touch = Template("put {} by {}", "{} is by {}", symmetric=True)
    goals = GoalSet.from_texts(["put a by b", "put a by c"], templates=[touch])
    grow = lambda goals, texts: goals.grow(texts, templates=[touch])  # noqa: E731
    verdict = admit(
        ["put b by a", "put c by b", "put b by c"],
        goals,
        rules(templates=[touch], grow=grow, held_out=()),
        LenientJudge(),
    )
    assert verdict.admitted == ("put c by b",)
    assert verdict.counts == {"known": 2}


def test_a_new_goal_is_not_the_prompt_of_another_new_one():
    find = Template("find {}", "find the {}")
    goals = GoalSet.from_texts(["find ball", "find key"], templates=[find])
    grow = lambda goals, texts: goals.grow(texts, templates=[find])  # noqa: E731
    for said in itertools.permutations(["find box", "find the box"]):
        verdict = admit(
            said, goals, rules(templates=[find], grow=grow, held_out=()), LenientJudge()
        )
        assert verdict.admitted == said[:1]
        assert verdict.counts == {"known": 1}


def test_what_the_encoder_reads_as_the_same_is_alike_in_spite_of_rounding():
    exact = embedding("the red ball is held")
    nearest = np.nextafter(exact, np.float32(0))  # whose product with the other is less than 1

    class Rounding(LenientJudge):
        def embed(self, texts):
            rounded = {"the Red ball is held": nearest}
            return np.stack([rounded.get(text, embedding(text)) for text in texts])

    assert exact @ nearest < 1
    assert only_reason("lift the Red ball", Rounding(), most_alike=1.0) == "alike"


def test_a_goal_that_was_refused_is_not_looked_at_again():
    assert only_reason("lift the box", refused_before={"lift the box"}) == "refused_before"


def test_two_new_goals_that_are_alike_are_one():
    verdict = admit(
        ["lift the box", "lift the Box", "lift the box"], GOALS, rules(), LenientJudge()
    )
    assert verdict.admitted == ("lift the box",)
    assert verdict.counts == {"alike": 1, "known": 1}
    assert verdict.refused == {"lift the Box": "alike"}


def test_a_text_that_the_encoder_does_not_read_to_its_end_spoils_no_other():
    judge = ShortSighted()
    goals = GoalSet.from_texts(["lift it", "lift her"], templates=[Template("lift {}", "{} up")])
    grow = lambda goals, texts: goals.grow(texts, templates=[Template("lift {}", "{} up")])  # noqa: E731
    verdict = admit(
        ["lift one two three", "lift him"],
        goals,
        rules(templates=[Template("lift {}", "{} up")], grow=grow, held_out=()),
        judge,
    )
    assert verdict.admitted == ("lift him",)
    assert verdict.counts == {"unreadable": 1}


class Blind(LenientJudge):
    """Sees nothing of a box that it does not see of the goal that is nearest to it."""

    def cosines(self, goals, indices):
        seen = super().cosines(goals, indices)
        half = len(indices) // 2
        for column, index in enumerate(indices[:half]):
            if "box" in goals[index].text:
                seen[:, column] = seen[:, column + half] + 1e-4
        return seen


def test_a_goal_that_looks_like_its_neighbour_in_every_frame_is_refused():
    said = ["lift the box", "lift the door"]
    verdict = admit(said, GOALS, rules(), Blind(frames=5))
    assert verdict.admitted == ("lift the door",)
    assert verdict.counts == {"indistinct": 1}
    assert admit(said, GOALS, rules(), Blind(frames=0)).admitted == tuple(said)  # nothing seen yet


class Eager(LenientJudge):
    """Scores a door high in all frames, and a box in all but one."""

    def scores(self, goals, indices):
        columns = [np.full(len(self.frames), 0.9, np.float32) for _ in indices]
        for column, index in zip(columns, indices, strict=True):
            if "box" in goals[index].text:
                column[0] = 0.5
        return np.stack(columns, axis=1)


def test_a_goal_whose_reward_fires_in_every_frame_is_refused():
    said = ["lift the box", "lift the door"]
    verdict = admit(said, GOALS, rules(), Eager(frames=4))
    assert verdict.admitted == ("lift the box",)
    assert verdict.refused == {"lift the door": "always"}
    assert len(admit(said, GOALS, rules(), Eager(frames=3)).admitted) == 2  # too few to say so
    assert len(admit(said, GOALS, rules(threshold=None), Eager(frames=4)).admitted) == 2


class Stubborn(LenientJudge):
    def posed(self, texts):
        super().posed(texts)
        return ["moon" not in text for text in texts]


def test_the_env_is_asked_last_and_only_of_goals_that_nothing_is_against():
    judge = Stubborn()
    verdict = admit(["lift the moon", "lift the sun", "lift the Red ball"], GOALS, rules(), judge)
    assert verdict.admitted == ("lift the sun",)
    assert verdict.refused == {"lift the moon": "not_posed", "lift the Red ball": "alike"}
    assert judge.asked == [["lift the moon", "lift the sun"]]


def test_ten_thousand_lines_take_no_time_and_most_are_too_many():
    judge, said = LenientJudge(), "\n".join(f"lift the thing {n}" for n in range(10_000))
    begin = time.perf_counter()
    verdict = admit(said, GOALS, rules(), judge)
    assert time.perf_counter() - begin < 5
    assert len(verdict.admitted) == 10
    assert verdict.counts == {"too_many": 9990}
    assert judge.asked == [[f"lift the thing {n}" for n in range(20)]]
    assert verdict.admitted == tuple(judge.asked[0][:10])


def test_a_proposal_without_an_end_is_cut():
    verdict = admit(itertools.repeat("drop it"), GOALS, rules(), LenientJudge())
    assert verdict.counts == {"no_template": 10_000, "too_many": 1}


def test_a_goal_that_is_refused_late_takes_no_place_of_another():
    said = ["lift the moon", "lift the sun", "lift the star"]
    verdict = admit(said, GOALS, rules(at_once=1), Stubborn())
    assert verdict.admitted == ("lift the sun",)
    assert verdict.counts == {"not_posed": 1, "too_many": 1}


def test_an_error_while_it_is_read_keeps_what_was_said_before():
    def halfway():
        yield "lift the box"
        raise RuntimeError("no more")

    verdict = admit(halfway(), GOALS, rules(), LenientJudge())
    assert verdict.admitted == ("lift the box",)
    assert verdict.counts == {"failed": 1}


@pytest.mark.parametrize("said", [None, 7, object()])
def test_what_cannot_be_read_is_counted_once(said):
    verdict = admit(said, GOALS, rules(), LenientJudge())
    assert verdict == ((), {"failed": 1}, {})


def test_a_full_set_gets_no_goal():
    assert only_reason("lift the box", at_most=2) == "too_many"
