import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from outcomes import configs, episodes, goal_sets, goals_of

from rllib_vlm_reward.curriculum import CurriculumConfig, make_curriculum
from rllib_vlm_reward.errors import ConfigError

# Each a list of goals, with what some episodes of each come to: long enough for several stages.
TURNS = st.lists(st.tuples(st.integers(0, 5), st.lists(st.booleans(), min_size=4, max_size=9)))
PIECES = st.lists(TURNS, max_size=8)


def staged(goals, **settings):
    return make_curriculum(goals, CurriculumConfig(kind="staged", **settings))


@given(st.data(), goal_sets(), configs(kinds=("staged",), signal="vlm_success"))
def test_stages_go_up_by_one_when_a_recount_says_so(data, goals, config):
    curriculum = make_curriculum(goals, config)
    outcomes = []
    for turns in data.draw(PIECES):
        before = curriculum.stage
        piece = [it for goal, turn in turns for it in episodes(goal % len(goals), *turn)]
        outcomes += piece
        curriculum.observe(piece)
        means, enough = [], True
        for goal, it in enumerate(goals.goals):
            if it.family in curriculum.stages[before]:
                own = [o.vlm_success for o in outcomes if o.goal == goal][-config.window :]
                enough = enough and len(own) >= min(config.window, 8)
                means.append(np.mean(own) if own else 0)
        margin = np.mean(means) - config.promote_at
        assume(margin == 0 or abs(margin) > 1e-12)  # rounding decides
        is_mastered = enough and margin >= 0
        is_last = before == len(curriculum.stages) - 1
        assert curriculum.stage == before + (is_mastered and not is_last)


@given(st.data(), goal_sets(), configs(kinds=("staged",)), st.integers(0, 2))
def test_weights_are_those_of_the_definition(data, goals, config, stage):
    curriculum = make_curriculum(goals, config)
    curriculum.stage = min(stage, len(curriculum.stages) - 1)
    at = {family: n for n, families in enumerate(curriculum.stages) for family in families}
    stages = np.array([at[goal.family] for goal in goals.goals])
    present, earlier = stages == curriculum.stage, stages < curriculum.stage
    reached = present | earlier
    expected = present / present.sum()
    if earlier.any():
        expected = (1 - config.rehearse) * expected + config.rehearse * earlier / earlier.sum()
    expected = (1 - config.explore) * expected + config.explore * reached / reached.sum()
    np.testing.assert_allclose(curriculum.weights(), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("difficulties", "expected"),
    [
        ([3, 1, 0], ["b", "a"]),  # the mean of a is 1.5
        ([1, 1, 1], ["a", "b"]),
        ([3, 1, None], ["a", "b"]),
    ],
)
def test_families_go_by_difficulty_where_every_goal_has_one(difficulties, expected):
    goals = goals_of("a", "b", "a", difficulties=difficulties)
    assert staged(goals).stages == tuple((family,) for family in expected)


def test_given_stages_may_hold_several_families():
    goals = goals_of("a", "b", "c", difficulties=[0, 1, 2])
    curriculum = staged(goals, stages=[["c"], ["a", "b"]], explore=0, rehearse=0.5)
    assert curriculum.weights() == [0, 0, 1]
    curriculum.observe(episodes(2, *[1] * 8))
    assert curriculum.weights() == [0.25, 0.25, 0.5]


@pytest.mark.parametrize(("window", "needed"), [(32, 8), (5, 5)])
def test_a_stage_needs_eight_episodes_of_each_goal_or_a_full_window(window, needed):
    curriculum = staged(goals_of("a", "a", "b"), window=window)
    curriculum.observe(episodes(0, *[1] * 20) + episodes(1, *[1] * (needed - 1)))
    assert curriculum.stage == 0
    curriculum.observe(episodes(1, 1))
    assert curriculum.stage == 1


def test_each_goal_of_a_stage_counts_the_same_however_often_it_was_drawn():
    curriculum = staged(goals_of("a", "a", "b"), promote_at=0.5)
    curriculum.observe(episodes(0, *[0] * 32) + episodes(1, *[1] * 8))
    assert curriculum.stage == 1


def test_one_observation_ends_one_stage_at_most():
    curriculum = staged(goals_of("a", "b", "c"))
    curriculum.observe(episodes(0, *[1] * 8) + episodes(1, *[1] * 8) + episodes(2, *[1] * 8))
    assert curriculum.stage == 1
    curriculum.observe([])
    assert curriculum.stage == 2
    curriculum.observe([])
    assert curriculum.stage == 2


def test_there_is_no_way_back():
    curriculum = staged(goals_of("a", "b"))
    curriculum.observe(episodes(0, *[1] * 8))
    curriculum.observe(episodes(0, *[0] * 32))
    assert curriculum.record()["stage"] == curriculum.stage == 1


@pytest.mark.parametrize(
    ("families", "stage"),
    [
        ("abc", 1),
        ("bac", 0),  # b, not mastered, comes first
        ("ca", 0),
        ("acb", 1),
        ("xabc", 0),
        ("bc", 0),
        ("a", 0),  # mastered, and there is no other
    ],
)
def test_a_restored_stage_is_the_first_that_is_not_mastered(families, stage):
    before = staged(goals_of("a", "b", "c"))
    before.observe(episodes(0, *[1] * 8))
    after = staged(goals_of(*families))
    after.set_state(before.get_state())
    assert after.stage == stage


def test_a_state_of_another_kind_begins_with_the_first_stage():
    goals = goals_of("a", "b")
    after = staged(goals)
    after.stage = 1
    after.set_state(make_curriculum(goals, CurriculumConfig()).get_state())
    assert after.stage == 0


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([["find"], ["lifts"]], "unknown family 'lifts'.* Did you mean 'lift'"),
        ([["find"]], r"no stage has the families \['lift'\]"),
    ],
)
def test_stages_name_every_family_and_no_other(stages, message):
    with pytest.raises(ConfigError, match=message):
        staged(goals_of("find", "lift"), stages=stages)
