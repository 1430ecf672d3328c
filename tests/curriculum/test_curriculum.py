import json
import math

import numpy as np
import own_curricula
import pytest
from hypothesis import given
from hypothesis import strategies as st
from outcomes import SIGNALS, UNSTAGED, configs, episodes, goal_sets, goals_of, runs

from rllib_vlm_reward.curriculum import CurriculumConfig, Outcome, make_curriculum
from rllib_vlm_reward.errors import ConfigError, RewardError
from rllib_vlm_reward.goals import GoalSet


@given(st.data(), goal_sets(), configs())
def test_weights_are_a_distribution_whatever_happens(data, goals, config):
    curriculum = make_curriculum(goals, config)
    for outcomes in ([], *data.draw(st.lists(runs(goals, max_size=20), max_size=5))):
        curriculum.observe(outcomes)
        weights = curriculum.weights()
        assert len(weights) == len(goals)
        assert min(weights) >= 0
        assert math.isclose(sum(weights), 1, abs_tol=1e-9)


@given(st.data(), goal_sets(), configs(explore=0.5, kinds=UNSTAGED))
def test_a_goal_is_never_drawn_less_than_it_is_explored(data, goals, config):
    curriculum = make_curriculum(goals, config)
    curriculum.observe(data.draw(runs(goals)))
    assert min(curriculum.weights()) >= 0.5 / len(goals) - 1e-12


@given(st.data(), goal_sets(), configs())
def test_a_state_goes_through_json_and_on_as_if_nothing_had_been(data, goals, config):
    first, second = (make_curriculum(goals, config) for _ in range(2))
    for outcomes in data.draw(st.lists(runs(goals, max_size=30), max_size=4)):
        first.observe(outcomes)
    second.observe(data.draw(runs(goals)))  # of which nothing may remain
    second.set_state(json.loads(json.dumps(first.get_state())))
    for outcomes in ([], *data.draw(st.lists(runs(goals, max_size=30), max_size=4))):
        first.observe(outcomes)
        second.observe(outcomes)
        assert first.weights() == second.weights()
        assert first.record() == second.record()
        assert first.get_state() == second.get_state()


@given(st.data(), goal_sets(), configs(kinds=UNSTAGED))
def test_outcomes_in_pieces_are_outcomes_at_once(data, goals, config):
    outcomes = data.draw(runs(goals))
    cut = data.draw(st.integers(0, len(outcomes)))
    pieces, whole = (make_curriculum(goals, config) for _ in range(2))
    pieces.observe(outcomes[:cut])
    pieces.observe(outcomes[cut:])
    whole.observe(outcomes)
    assert pieces.get_state() == whole.get_state()
    assert pieces.weights() == whole.weights()


@given(st.data(), goal_sets(), configs())
def test_the_record_is_a_recount(data, goals, config):
    outcomes = data.draw(runs(goals))
    curriculum = make_curriculum(goals, config)
    curriculum.observe(outcomes)
    record = json.loads(json.dumps(curriculum.record()))
    assert list(record["goals"]) == list(goals.texts)
    assert ("stage" in record) == (config.kind == "staged")
    for goal, told in enumerate(record["goals"].values()):
        own = [float(getattr(it, config.signal)) for it in outcomes if it.goal == goal]
        assert told["episodes"] == len(own)
        window = own[-config.window :]
        if window:
            tolerance = 1e-12 * max(map(abs, window))
            assert math.isclose(told["mean"], np.mean(window), abs_tol=tolerance)
        else:
            assert told["mean"] is None


def test_a_state_finds_its_goals_by_text():
    config = CurriculumConfig(kind="success_window", explore=0)
    before = make_curriculum(GoalSet.from_texts(["easy", "apt", "gone"]), config)
    before.observe(episodes(0, 1, 1) + episodes(1, 0, 1) + episodes(2, 0))
    after = make_curriculum(GoalSet.from_texts(["new", "apt", "easy"]), config)
    after.set_state(before.get_state())
    assert after.episodes == [0, 2, 2]
    assert [after.mean(goal) for goal in range(3)] == [None, 0.5, 1]
    assert after.weights() == [0.5, 0.5, 0]


def test_a_shorter_window_keeps_the_newest_values():
    goals = goals_of("a")
    before = make_curriculum(goals, CurriculumConfig(window=4))
    before.observe(episodes(0, 0, 0, 1, 1))
    after = make_curriculum(goals, CurriculumConfig(window=2))
    after.set_state(before.get_state())
    assert (after.episodes, after.mean(0)) == ([4], 1)


def test_values_of_another_signal_are_not_taken_over():
    goals = goals_of("a")
    before = make_curriculum(goals, CurriculumConfig(signal="vlm_return"))
    before.observe(episodes(0, 7))
    after = make_curriculum(goals, CurriculumConfig(signal="vlm_success"))
    after.set_state(before.get_state())
    assert (after.episodes, after.mean(0)) == ([1], None)


@pytest.mark.parametrize("signal", SIGNALS)
def test_the_signal_is_the_field_of_its_name(signal):
    curriculum = make_curriculum(goals_of("a"), CurriculumConfig(signal=signal))
    curriculum.observe([Outcome(0, 3.0, True, 5.0, False)])
    expected = {"vlm_return": 3, "vlm_success": 1, "ground_truth_return": 5}
    assert curriculum.mean(0) == expected.get(signal, 0)


@pytest.mark.parametrize(
    ("signal", "remedy"),
    [("vlm_success", "Set threshold"), ("ground_truth_success", "Set success_key")],
)
def test_an_episode_without_the_signal_is_an_error(signal, remedy):
    curriculum = make_curriculum(goals_of("a"), CurriculumConfig(signal=signal))
    with pytest.raises(ConfigError, match=f"'a/0' has none. {remedy}"):
        curriculum.observe([Outcome(0, 1.0, None, 1.0, None)])


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_signal_that_is_not_finite_is_an_error(value):
    curriculum = make_curriculum(goals_of("a"), CurriculumConfig(signal="ground_truth_return"))
    with pytest.raises(RewardError, match="ground_truth_return of an episode of goal 'a/0'"):
        curriculum.observe([Outcome(0, 1.0, True, value, True)])


def test_a_class_of_ones_own_reads_its_settings():
    config = CurriculumConfig(
        kind="own_curricula.Favourite", settings={"favourite": "b/1"}, explore=0.5
    )
    curriculum = make_curriculum(goals_of("a", "b"), config)
    assert type(curriculum) is own_curricula.Favourite
    assert curriculum.weights() == [0.25, 0.75]


@pytest.mark.parametrize("weights", [(1, 0), np.array([0.3, 0.7], np.float32)])
def test_weights_of_any_type_become_plain_numbers(weights):
    config = CurriculumConfig(kind="own_curricula.Told", settings={"weights": weights})
    returned = make_curriculum(goals_of("a", "b"), config).weights()
    assert returned == [float(weight) for weight in weights]
    assert {type(weight) for weight in returned} == {float}


@pytest.mark.parametrize("kind", ["Told", "ToldByAParent"])
@pytest.mark.parametrize(
    "weights", [[], [1.0], [1.5, -0.5], [0.5, 0.4], [math.nan, 1.0], [math.inf, 0.0], [0.0, 0.0]]
)
def test_wrong_weights_name_the_class(kind, weights):
    config = CurriculumConfig(kind=f"own_curricula.{kind}", settings={"weights": weights})
    with pytest.raises(ConfigError, match=f"own_curricula.{kind} are .* expected 2"):
        make_curriculum(goals_of("a", "b"), config).weights()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("own_curricula.Absent", "curriculum.kind: cannot import 'own_curricula.Absent'"),
        ("absent_package.Own", "curriculum.kind: cannot import 'absent_package.Own'"),
        ("own_curricula.NoCurriculum", "expected a class derived from"),
        ("own_curricula.__doc__", "expected a class derived from"),
    ],
)
def test_what_is_no_curriculum_is_refused(kind, message):
    with pytest.raises(ConfigError, match=message):
        make_curriculum(goals_of("a"), CurriculumConfig(kind=kind))
