"""Goals that are added reach every process alike, and no index means another goal in silence."""

import itertools

import painted
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.connectors import custom_data
from rllib_vlm_reward.connectors.goal_weights import GoalWeights, log_outcomes, outcomes_of
from rllib_vlm_reward.connectors.known_goals import KnownGoals
from rllib_vlm_reward.curriculum import CurriculumConfig, Outcome
from rllib_vlm_reward.errors import GoalError
from rllib_vlm_reward.monitoring.metric_names import GROUP, OUTCOMES

CONFIG = VLMRewardConfig(
    encoder="small",
    goals=["a {red|blue} ball"],
    evaluation_goals=["a grey ball"],
    negatives=["nothing"],
    num_negatives=1,
)


def flat(added):
    return [*itertools.chain(*added)]


ADDED = st.lists(
    st.lists(st.sampled_from("abcdef"), min_size=1, max_size=2, unique=True), max_size=3
).filter(lambda added: len({*flat(added)}) == len(flat(added)))


@given(ADDED, st.integers(0, 3))
def test_a_process_that_follows_late_knows_what_the_driver_knows(added, cut):
    driver, follower = KnownGoals(CONFIG), KnownGoals(CONFIG)
    for texts in added:
        driver.add(texts)
    assert follower.follow(added[:cut])
    assert follower.follow(driver.added)
    assert follower.all == driver.all
    assert follower.all.fingerprint == driver.all.fingerprint
    assert follower.training == driver.training
    texts = flat(added)
    assert driver.all.texts == ("a red ball", "a blue ball", "a grey ball", *texts)
    assert driver.training.texts == ("a red ball", "a blue ball", *texts)
    for old, same in zip(CONFIG.goal_set.goals, driver.all.goals, strict=False):
        assert old is same  # held-out goals too
    held_out = "a grey ball"
    assert all(held_out not in goal.negatives for goal in driver.training.goals)
    are_training = [driver.is_training(index) for index in range(len(driver.all))]
    assert are_training == [goal.text != held_out for goal in driver.all.goals]
    weights = [float(n + 1) for n in range(len(driver.training))]
    spread = dict(zip(driver.all.texts, driver.spread(weights), strict=True))
    assert [spread[text] for text in driver.training.texts] == weights
    assert spread[held_out] == 0.0


@given(ADDED, ADDED)
def test_an_index_that_may_mean_another_goal_is_reported(first, second):
    known = KnownGoals(CONFIG)
    known.follow(first)
    before = known.all
    same = known.follow(second, exactly=True)
    fresh = KnownGoals(CONFIG)
    fresh.follow(second)
    assert known.all == fresh.all
    assert same == (second[: len(first)] == first)
    if same:
        assert known.all.goals[: len(before)] == before.goals


@given(ADDED)
def test_a_state_that_comes_late_takes_no_goal_away(added):
    known = KnownGoals(CONFIG)
    known.follow(added)
    for length in range(len(added)):
        assert known.follow(added[:length])
        assert len(known.all) == 3 + len(flat(added))
    short = known.spread([0.5, 0.5])  # of the time when there were two
    assert short == [0.5, 0.5, *[0.0] * (len(known.all) - 2)]
    assert known.follow(added[:1], exactly=True) == (len(added) <= 1)
    assert len(known.training) == 2 + len(flat(added[:1]))


@pytest.mark.parametrize("text", ["a red ball", "a grey ball", " "])
def test_what_cannot_be_added_leaves_all_as_it_was(text):
    known = KnownGoals(CONFIG)
    known.add(["a key"])
    before = known.added, known.training, known.all
    with pytest.raises(GoalError):
        known.add([text])
    assert (known.added, known.training, known.all) == before


GROWING = CurriculumConfig(kind="learning_progress", propose={})


class Envs:
    """Stands for a vector env of two sub-envs, and notes what it is sent."""

    num_envs = 2

    def __init__(self):
        self.unwrapped, self.sent = self, {}

    def set_attr(self, name, values):
        assert len(values) == self.num_envs
        assert values[0] == values[1]
        self.sent[name] = values[0]


def runner(begun=None):
    piece = GoalWeights(CONFIG, GROWING)
    piece.env = Envs()
    begin_anew = (lambda: None) if begun is None else lambda: begun.append(1)
    piece.attach(evaluates=False, is_remote=True, begin_anew=begin_anew)
    return piece


def driver(*added):
    piece = GoalWeights(CONFIG, GROWING)
    for texts in added:
        piece.add(texts)
    return piece


def chances(piece):
    goals = piece.env.sent.get("drawn_goals", CONFIG.goal_set.texts)
    weights = zip(goals, piece.env.sent["goal_weights"], strict=True)
    return {text: weight for text, weight in weights if weight}


def test_goals_travel_with_their_weights_and_an_old_value_draws_what_it_knows():
    first, second, remote = driver(), driver(["a key"]), runner()
    remote.set_state(first.merge_states([]))
    assert chances(remote) == {"a red ball": 0.5, "a blue ball": 0.5}
    assert "drawn_goals" not in remote.env.sent
    remote.set_state(second.merge_states([]))
    thirds = pytest.approx(dict.fromkeys(("a red ball", "a blue ball", "a key"), 1 / 3))
    assert chances(remote) == thirds
    assert remote.env.sent["drawn_goals"] == ("a red ball", "a blue ball", "a grey ball", "a key")
    remote.set_state(first.merge_states([]))  # late
    assert chances(remote) == {"a red ball": 0.5, "a blue ball": 0.5}
    assert remote.known.all.texts[3:] == ("a key",)
    remote.env = Envs()  # as after restart_failed_sub_environments
    remote.set_state(second.merge_states([]))
    assert chances(remote) == thirds


def test_an_env_runner_that_evaluates_never_draws_a_goal_that_was_added():
    remote = runner()
    remote.attach(evaluates=True, is_remote=True)
    remote.set_state(driver(["a key"]).merge_states([]))
    assert chances(remote) == {"a grey ball": 1.0}


def test_only_another_runs_goals_end_the_episodes_in_progress():
    begun = []
    remote = runner(begun)
    for added in (["a key"],), (["a key"], ["a box"]), (["a key"],):
        remote.set_state(driver(*added).merge_states([]))
    assert begun == []
    remote.set_state(driver(["a box"]).merge_states([]))
    assert begun == [1]
    assert remote.known.all.texts[3:] == ("a box",)


def test_a_checkpoint_restores_goals_and_their_records():
    first = driver(["a key"], ["a box", "a cup"])
    outcomes = [Outcome(4, 0.0, True, 0.0, None)] * 3 + [Outcome(0, 0.0, False, 0.0, None)]
    first.observe(outcomes)
    for before in driver(), driver(["a cup"]), driver(["a key"], ["a box", "a cup"], ["a hat"]):
        before.observe([Outcome(0, 0.0, True, 0.0, None)] * 5)
        before.set_state(first.get_state())
        assert before.known.all == first.known.all
        assert before.curriculum.record() == first.curriculum.record()
        assert before.weights == first.weights
    recreated = runner()
    recreated.set_state(first.get_state())  # RLlib sends the driver's to a new env runner
    assert recreated.known.all == first.known.all


def episode_of(goal):
    episode = SingleAgentEpisode(len_lookback_buffer=0)
    episode.add_env_reset(observation=0)
    episode.add_env_step(observation=0, action=0, reward=1.0, terminated=True)
    data = {custom_data.GOAL_INDEX: goal, custom_data.VLM_RETURN: 1.0, custom_data.FIRES: 1}
    episode.custom_data.update({**data, custom_data.ENV_RETURN: painted.ENV_REWARD})
    return episode


def test_an_outcome_is_that_of_its_text_and_of_no_goal_that_the_driver_lacks():
    remote, metrics = KnownGoals(CONFIG), MetricsLogger()
    remote.follow([["a key", "a box"]])
    samples = [episode_of(goal) for goal in (1, 4, 3)]
    log_outcomes(metrics, samples, remote.all.texts, fires=True)
    items = metrics.peek((GROUP, OUTCOMES), compile=False)
    restored = driver(["a box"])
    expected = [
        Outcome(1, 1.0, True, painted.ENV_REWARD, None),
        Outcome(2, 1.0, True, painted.ENV_REWARD, None),
    ]
    assert outcomes_of(items, restored.known.training) == expected
