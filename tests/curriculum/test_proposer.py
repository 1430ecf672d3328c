import itertools
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st
from judges import LenientJudge

from rllib_vlm_reward.curriculum import CurriculumConfig, Outcome, ProposeConfig, make_curriculum
from rllib_vlm_reward.curriculum.admission import Rules, admit
from rllib_vlm_reward.curriculum.growth import Growth
from rllib_vlm_reward.curriculum.proposer import make_proposer
from rllib_vlm_reward.errors import ConfigError
from rllib_vlm_reward.goals import GoalSet, Grammar, Template

FIND = Template("go to the {}", "the agent is at the {}", family="find")
LIFT = Template("lift the {}", "the {} is held", family="lift")
PUT = Template("put the {} by the {}", "the {} is by the {}", symmetric=True)
TEMPLATES = [FIND, LIFT, PUT]
COLORS, KINDS = ["red", "blue", "green"], ["ball", "key"]
ALL = Grammar(
    goals=["go to the {color} {kind}", "lift the {color} {kind}"],
    words={"color": COLORS, "kind": KINDS},
).split.training


def grammar(texts, held_out=(), templates=TEMPLATES, **settings):
    goals = GoalSet.from_texts(texts, templates=templates)
    return make_proposer(goals, ProposeConfig(**settings), templates, held_out)


def all_of(proposer, texts):
    """Return everything that a proposer has to say, asked again and again."""
    said = []
    while True:
        record = {"goals": dict.fromkeys([*texts, *said]), "refused": {}}
        more = [*proposer.propose(record)]
        if not more:
            return said
        assert not set(more) & {*texts, *said}
        said += more


@given(st.sets(st.sampled_from(ALL), min_size=2), st.sets(st.sampled_from(ALL), max_size=4))
def test_it_says_every_composition_of_known_words_but_what_is_held_out(texts, held):
    texts, held = sorted(texts), sorted(held - texts)
    blanks = {text.rpartition(" the ")[2] for text in texts}
    colors, kinds = ({phrase.split()[place] for phrase in blanks} for place in (0, 1))
    verbs = {text.partition(" the ")[0] for text in texts}
    hidden = {text.rpartition(" the ")[2] for text in held} - blanks
    expected = {
        f"{verb} the {color} {kind}"
        for verb, color, kind in itertools.product(verbs, colors, kinds)
        if f"{color} {kind}" not in hidden
    } - {*texts, *held}
    if expected:
        assert set(all_of(grammar(texts, held), texts)) == expected
    else:
        with pytest.raises(ConfigError, match=r"nothing to propose.*Begin with fewer goals"):
            grammar(texts, held)


def test_no_goal_names_a_thing_twice():
    texts = ["put the red ball by the blue key", "put the green key by the red ball"]
    said = all_of(grammar(texts), texts)
    things = [f"{color} {kind}" for color in COLORS for kind in KINDS]
    expected = {f"put the {a} by the {b}" for a, b in itertools.permutations(things, 2)}
    assert set(said) == expected - {*texts}


def test_phrases_of_other_lengths_do_not_mix():
    texts = ["lift the ball", "lift the red key"]
    with pytest.raises(ConfigError, match="nothing to propose"):
        grammar(texts)
    more = [*texts, "go to the green ball"]
    expected = {"lift the green key", "lift the red ball", "lift the green ball"}
    expected |= {"go to the green key", "go to the red ball", "go to the red key"}
    assert set(all_of(grammar(more), more)) == expected


def test_a_whole_goal_is_a_phrase_of_the_template_that_reads_anything():
    texts = ["a red wall", "a blue door"]
    assert set(all_of(grammar(texts, templates=[Template()]), texts)) == {
        "a red door",
        "a blue wall",
    }


def test_the_order_is_random_and_the_same_for_the_same_seed():
    texts = list(ALL[::5])
    record = {"goals": dict.fromkeys(texts), "refused": {}}
    orders = [tuple(grammar(texts, seed=seed).propose(record)) for seed in (*range(5), 0)]
    assert orders[0] == orders[-1]
    assert len({*orders}) > 2


def test_templates_take_turns():
    texts = ["go to the red ball", "lift the blue key", "put the green ball by the red key"]
    said = all_of(grammar(texts), texts)
    first = [text.split()[0] for text in said[:12]]
    assert first == ["go", "lift", "put"] * 4
    assert [text.split()[0] for text in said].count("put") == 6 * 5 - 1


def test_what_was_refused_is_not_said_again():
    texts = list(ALL[::5])
    proposer = grammar(texts)
    refused = dict.fromkeys(all_of(proposer, texts), "not_posed")
    assert [*proposer.propose({"goals": dict.fromkeys(texts), "refused": refused})] == []


def test_more_compositions_than_can_be_counted():
    blanks = " by ".join(["{}"] * 12)
    long = Template(blanks, blanks)
    words = [" by ".join(f"a{n} b{n} c{n}" for n in range(i, 12 * 20, 20)) for i in range(20)]
    texts = [*grammar(words, templates=[long]).propose({"goals": {}, "refused": {}})]
    assert len(texts) == 20


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("nowhere.Proposer", "curriculum.propose.kind: cannot import 'nowhere.Proposer'"),
        ("judges.LenientJudge", r"expected a class derived from .*\.Proposer"),
        ("judges.embedding", r"expected a class derived from .*\.Proposer"),
    ],
)
def test_a_proposer_that_is_none_is_an_error(kind, error):
    with pytest.raises(ConfigError, match=error):
        grammar(["lift the ball", "lift the key"], kind=kind)


ODD = st.none() | st.text() | st.integers() | st.lists(st.none() | st.text(), max_size=9)


@given(ODD | st.just("".join(f"lift the {n}\n" for n in range(10_000))))
def test_training_goes_on_whatever_is_said(says):
    goals = GoalSet.from_texts(["lift the ball", "lift the key"], templates=TEMPLATES)
    proposer = make_proposer(
        goals, ProposeConfig(kind="judges.Said", settings={"says": says}), TEMPLATES, []
    )
    growth = Growth(proposer)
    rules = Rules(TEMPLATES, (), lambda g, t: g.grow(t, templates=TEMPLATES), None, 10, 20, 0.98)
    verdict = admit(growth.ask({"goals": {}}, 5), goals, rules, LenientJudge())
    growth.note(verdict, 5)
    assert growth.counts == verdict.counts
    assert len(goals.grow(verdict.admitted, templates=TEMPLATES)) <= 12


def test_a_proposer_that_raises_is_a_warning_and_is_asked_again(caplog):
    goals = GoalSet.from_texts(["lift the ball", "lift the key"], templates=TEMPLATES)
    growth = Growth(make_proposer(goals, ProposeConfig(kind="judges.Said", every=3), TEMPLATES, []))
    assert [growth.is_due(n) for n in (2, 3, 4)] == [False, True, True]
    with caplog.at_level(logging.WARNING):
        assert growth.ask({"goals": {}}, 3) is None
    assert "Said raised KeyError: 'says'" in caplog.text
    assert [growth.is_due(n) for n in (4, 5, 6)] == [False, False, True]


def test_the_books_say_who_proposed_a_goal_and_when_it_was_first_reached():
    goals = GoalSet.from_texts(["lift the red ball", "lift the blue key"], templates=TEMPLATES)
    growth = Growth(make_proposer(goals, ProposeConfig(), TEMPLATES, []))
    curriculum = make_curriculum(goals, CurriculumConfig(kind="learning_progress"))
    rules = Rules(TEMPLATES, (), lambda g, t: g.grow(t, templates=TEMPLATES), None, 1, 9, 0.98)
    verdict = admit(
        growth.ask({"goals": dict.fromkeys(goals.texts)}, 5), goals, rules, LenientJudge()
    )
    growth.note(verdict, 5)
    assert verdict.counts == {"too_many": 1}
    (new,) = verdict.admitted
    curriculum.observe([Outcome(0, 0.0, False, 0.0, None)] * 2)
    curriculum.grow(goals.grow([new], templates=TEMPLATES))
    outcomes = [Outcome(2, 0.0, success, 0.0, None) for success in (False, False, True, True)]
    curriculum.observe(outcomes)
    growth.observe(outcomes, curriculum.goals.texts, 1000)
    growth.observe(outcomes, curriculum.goals.texts, 2000)
    again = Growth(growth.proposer)
    again.set_state(growth.get_state())
    for books in (growth, again):
        assert books.record(curriculum, new) == {
            "progress": 1.0,
            "first_success": 1000,
            "proposed_by": "grammar",
            "since": 5,
        }
        assert books.record(curriculum, "lift the red ball") == {
            "progress": None,
            "first_success": None,
            "proposed_by": "configuration",
            "since": 0,
        }
    assert curriculum.episodes == [2, 0, 4]


def test_a_curriculum_takes_new_goals_and_restores_them_by_text():
    goals = GoalSet.from_texts(ALL[:4], templates=TEMPLATES)
    more = [text for text in ALL if text not in goals.texts]
    for kind in ("uniform", "staged", "success_window", "learning_progress"):
        curriculum = make_curriculum(goals, CurriculumConfig(kind=kind, window=8))
        curriculum.observe([Outcome(goal, 0.0, True, 0.0, None) for goal in range(4)] * 8)
        grown = goals.grow(more, templates=TEMPLATES)
        curriculum.grow(grown)
        assert sum(curriculum.weights()) == pytest.approx(1.0)
        assert len(curriculum.weights()) == len(ALL)
        curriculum.observe([Outcome(len(ALL) - 1, 0.0, True, 0.0, None)])
        assert curriculum.episodes[-1] == 1
        again = make_curriculum(goals, CurriculumConfig(kind=kind, window=8))
        again.grow(grown)
        again.set_state(curriculum.get_state())
        assert again.weights() == curriculum.weights()
        assert again.record() == curriculum.record()


def test_a_family_that_was_proposed_is_the_last_stage():
    goals = GoalSet.from_texts(["lift the ball", "lift the key"], templates=TEMPLATES)
    staged = make_curriculum(goals, CurriculumConfig(kind="staged", explore=0.0, window=8))
    staged.grow(goals.grow(["go to the ball", "lift the box"], templates=TEMPLATES))
    assert staged.stages == (("lift",), ("find",))
    assert staged.weights() == [1 / 3, 1 / 3, 0.0, 1 / 3]
    staged.observe([Outcome(goal, 0.0, True, 0.0, None) for goal in (0, 1, 3)] * 8)
    assert staged.weights()[2] == pytest.approx(0.8)
