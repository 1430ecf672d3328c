import pickle
import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.errors import GoalError
from rllib_vlm_reward.goals import Goal, GoalSet, Grammar, expand_goals
from rllib_vlm_reward.goals.goal_set import MOST_GOALS
from rllib_vlm_reward.goals.others import OtherPrompts, PromptGroup, digest

TEXTS = st.lists(st.text(min_size=1, max_size=3), unique=True, max_size=6)


@given(st.lists(st.text(min_size=1, max_size=3), unique=True, min_size=1, max_size=6), TEXTS)
def test_it_is_the_tuple_of_the_others(prompts, fixed):
    group = PromptGroup(prompts, fixed)
    for prompt in prompts:
        plain = (*(p for p in prompts if p != prompt and p not in fixed), *fixed)
        others = OtherPrompts(group, prompt)
        assert others == plain
        assert plain == others
        assert (len(others), hash(others), repr(others)) == (len(plain), hash(plain), repr(plain))
        assert others[:2] == plain[:2]
        assert {text for text in (*prompts, *fixed, "absent") if text in others} == set(plain)
        assert digest(others) == digest(plain)
        assert pickle.loads(pickle.dumps(others)) == plain


def test_a_drawn_set_is_the_written_one():
    drawn = GoalSet.from_texts(["a", "b", "c"], negatives=["z"], baseline="y")
    written = GoalSet(
        tuple(
            Goal(text, text, (*(t for t in "abc" if t != text), "z"), "y", "{}") for text in "abc"
        )
    )
    assert drawn == written
    assert drawn.fingerprint == written.fingerprint
    assert drawn.statements == written.statements == ("a", "b", "c", "z", "y")
    assert GoalSet.from_dict(drawn.to_dict()) == written
    another = GoalSet((*written.goals[:2], Goal("c", "c", ("a", "z"), "y", "{}")))
    assert another.fingerprint != drawn.fingerprint


def test_what_is_wrong_with_added_negatives_is_still_seen():
    with pytest.raises(GoalError, match=r"\['z'\] are repeated"):
        GoalSet.from_texts(["a", "b"], negatives=["z", "z"])
    with pytest.raises(GoalError, match="among its negatives"):
        GoalSet.from_texts(["a", "b"], negatives=["b"])
    with pytest.raises(GoalError, match="empty text"):
        GoalSet.from_texts(["a", "b"], negatives=[" "])


def test_time_grows_with_the_number_of_goals_and_not_with_its_square():
    def seconds(number):
        begin = time.process_time()
        config = VLMRewardConfig(encoder="small", goals=[f"go to room {i}" for i in range(number)])
        assert len(config.scorer.fingerprint) == 64
        assert len(config.goal_set.statements) == number
        return time.process_time() - begin

    seconds(100)
    few = min(seconds(1000) for _ in range(3))
    assert seconds(8000) < 24 * few  # 64 times, were each goal compared with each other one


def test_memory_grows_with_the_number_of_goals_and_not_with_its_square():
    tracemalloc.start()
    try:
        config = VLMRewardConfig(encoder="small", goals=[f"go to room {i}" for i in range(3000)])
        assert len(config.scorer.fingerprint) == 64
        assert len(config.goal_set.statements) == 3000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10e6  # 3000 tuples of 2999 negatives are 72 MB


@pytest.mark.parametrize("kind", ["a list", "a file of goals", "a file of the reward"])
def test_ten_thousand_goals_take_less_than_two_seconds(kind, tmp_path):
    goals = [f"go to room {i}" for i in range(10_000)]
    file = tmp_path / "goals.yaml"
    file.write_text("".join(f"- {goal}\n" for goal in goals))
    reward = f"encoder: small\ngoals:\n{file.read_text()}"
    begin = time.process_time()
    if kind == "a file of the reward":
        config = VLMRewardConfig.from_yaml(reward)
    else:
        given = str(file) if kind == "a file of goals" else goals
        config = VLMRewardConfig(encoder="small", goals=given)
    assert len(config.scorer.fingerprint) == 64
    assert len(config.goal_set.statements) == 10_000
    assert time.process_time() - begin < 2.0


@pytest.mark.parametrize(
    "make", [expand_goals, lambda p: Grammar(goals=[p], words={"n": ["a", "b"]})]
)
def test_a_pattern_of_too_many_goals_is_refused_before_they_are_made(make):
    pattern = "{a|b}" * 22 if make is expand_goals else "".join(f"{{n{i}}}" for i in range(22))
    with pytest.raises((GoalError, ValueError), match=f"4,194,304 goals.*{MOST_GOALS:,}"):
        make(pattern)
