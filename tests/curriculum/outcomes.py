"""Goals, configurations and episodes for the tests of this folder, drawn or made by hand."""

from hypothesis import strategies as st

from rllib_vlm_reward.curriculum import CurriculumConfig, Outcome
from rllib_vlm_reward.curriculum.curriculum_config import KINDS
from rllib_vlm_reward.goals import Goal, GoalSet

UNSTAGED = tuple(kind for kind in KINDS if kind != "staged")
UNIT = st.floats(0, 1)
RETURNS = st.floats(width=32, allow_nan=False, allow_infinity=False)
SIGNALS = ("vlm_success", "vlm_return", "ground_truth_success", "ground_truth_return")


def goals_of(*families, difficulties=None):
    """A goal for each family named, called ``family/index``."""
    difficulties = difficulties or [None] * len(families)
    return GoalSet(
        tuple(
            Goal(f"{family}/{index}", "seen", family=family, difficulty=difficulty)
            for index, (family, difficulty) in enumerate(zip(families, difficulties, strict=True))
        )
    )


def episodes(goal, *values):
    """Outcomes of one goal that have the same values under every signal."""
    return [Outcome(goal, float(value), bool(value), float(value), bool(value)) for value in values]


@st.composite
def goal_sets(draw):
    families = draw(st.lists(st.sampled_from("abc"), min_size=1, max_size=6))
    some = st.lists(st.floats(-5, 5) | st.none(), min_size=len(families), max_size=len(families))
    return goals_of(*families, difficulties=draw(some))


def configs(kinds=tuple(KINDS), **fixed):
    some = {
        "kind": st.sampled_from(kinds),
        "signal": st.sampled_from(SIGNALS),
        "window": st.integers(4, 12),
        "explore": UNIT,
        "promote_at": UNIT,
        "rehearse": st.floats(0, 0.99),
        "low": st.floats(0, 0.4),
        "high": st.floats(0.5, 1),
    }
    given = {key: st.just(value) for key, value in fixed.items()}
    return st.builds(CurriculumConfig, **{**some, **given})


def runs(goals, max_size=60):
    """Lists of outcomes of these goals."""
    goal = st.integers(0, len(goals) - 1)
    outcome = st.builds(Outcome, goal, RETURNS, st.booleans(), RETURNS, st.booleans())
    return st.lists(outcome, max_size=max_size)
