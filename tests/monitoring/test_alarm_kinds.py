"""When the alarm is raised, and when it is not: over made-up scores, without Ray."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_vlm_reward.monitoring.alarms import MIN_EPISODES, MIN_STEPS, Alarm, Alarms
from rllib_vlm_reward.monitoring.score_statistics import ScoreStatistics
from rllib_vlm_reward.monitoring.scored_steps import UNKNOWN

SEEDS = st.integers(0, 2**32 - 1)
BETA = 0.5


def play(score, *, seed=0, episodes=120, success=0.2, has_truth=True, threshold=BETA, low=0.0):
    """Return an iteration's statistics: episodes of 2 to 30 steps, the last of some a success.

    Args:
        score: function of a generator, a number of steps, and where they succeed.
    """
    rng = np.random.default_rng(seed)
    names, columns, ended = [], [], []
    for episode in range(episodes):
        truths = np.zeros(rng.integers(2, 31), bool)
        truths[-1] = rng.random() < success
        scores = np.clip(score(rng, len(truths), truths), low, 1.0)
        fired = scores > threshold if threshold is not None else np.zeros_like(truths)
        labels = truths.astype(int) if has_truth else np.full(len(truths), UNKNOWN)
        names += [f"{seed}-{episode}"] * len(truths)
        columns.append((scores, fired, labels))
        ended.append((bool(truths[-1]) if has_truth else None, bool(fired.any())))
    joined = map(np.concatenate, zip(*columns, strict=True))
    return ScoreStatistics.of(names, *joined, low=low, ended=ended)


def good(rng, number, truths):
    """Return scores like a trained CLIP's: near 0, near 1 at most successes."""
    return np.where(truths & (rng.random(number) < 0.9), 0.97, 10 ** rng.uniform(-6, -3, number))


def weak(rng, number, truths):
    """Return scores with a recall of a third, and few false positives."""
    return np.where(truths, rng.uniform(0.1, 0.7, number), rng.beta(1, 9, number))


def untrained(rng, number, truths):
    """Return scores that depend on the episode's goal and hardly on the frame."""
    return rng.uniform(0.02, 0.1) + rng.normal(0, 0.001, number)


def noise(rng, number, truths):
    return rng.random(number)


def swapped(rng, number, truths):
    """Return scores of another goal: they fire where that is met."""
    return np.where(~truths & (rng.random(number) < 0.003), 0.97, 10 ** rng.uniform(-6, -3, number))


def sure(rng, number, truths):
    return rng.uniform(0.9, 1.0, number)


def exploit(rng, number, truths):
    return np.where(truths | (np.arange(number) == number // 2), 0.97, 1e-4)


def kinds(score, iterations=3, *, low=0.0, threshold=BETA, seed=0, **how):
    """Return the kinds that were raised, and the iteration of the first."""
    alarms, raised, first = Alarms(low=low, threshold=threshold), set(), None
    for iteration in range(1, iterations + 1):
        statistics = play(score, seed=seed + iteration, low=low, threshold=threshold, **how)
        raised |= {alarm.kind for alarm in alarms.update(statistics, iteration)}
        first = first or (iteration if raised else None)
    return raised, first


@settings(max_examples=20, deadline=None)
@given(SEEDS, st.sampled_from([0.0, 0.02, 0.2, 0.8]), st.booleans())
def test_a_good_reward_is_quiet_whether_there_are_successes_or_not(seed, success, has_truth):
    raised, first = kinds(good, 10, seed=seed, success=success, has_truth=has_truth)
    # At 500 episodes without a reward: 120 an iteration.
    assert (raised, first) == (({"silent"}, 5) if success == 0 else (set(), None))


@settings(max_examples=20, deadline=None)
@given(SEEDS)
def test_a_weak_reward_that_ranks_well_is_quiet(seed):
    assert kinds(weak, 10, seed=seed)[0] == set()


@settings(max_examples=20, deadline=None)
@given(SEEDS)
def test_wrong_rewards_are_noticed_within_three_iterations(seed):
    for score, expected in ((untrained, "constant"), (noise, "blind"), (swapped, "blind")):
        raised, first = kinds(score, seed=seed)
        assert raised & {expected, "contrary"}, score
        assert first <= 3
    assert "saturated" in kinds(sure, seed=seed)[0]


def test_a_env_without_truth_leaves_constant_and_saturated():
    assert kinds(untrained, has_truth=False)[0] == {"constant"}
    assert kinds(sure, has_truth=False)[0] == {"saturated"}
    assert kinds(noise, has_truth=False)[0] == set()


def test_without_a_threshold_the_ranking_alone_counts():
    assert kinds(noise, threshold=None)[0] == {"blind"}
    assert kinds(lambda *it: 1 - weak(*it), threshold=None)[0] == {"contrary"}
    assert kinds(weak, threshold=None)[0] == set()


def test_a_cosine_may_lie_close_together():
    def cosine(spread):
        return lambda rng, number, truths: rng.normal(0.25, spread, number) + spread * 3 * truths

    assert kinds(cosine(0.01), low=-1.0, threshold=None)[0] == set()
    assert "constant" in kinds(cosine(0.0001), low=-1.0, threshold=None)[0]


@pytest.mark.parametrize("score", [good, untrained, sure, noise])
def test_a_head_of_another_range_raises_the_same(score):
    found = []
    for high in (1.0, 8.0):  # a power of 2 moves no score to another bin
        alarms, kinds_seen = Alarms(low=0.0, high=high, threshold=BETA * high), []
        for iteration in (1, 2, 3):
            rng, names, scores, truths = np.random.default_rng(iteration), [], [], []
            for episode in range(60):
                successes = np.arange(10) == 9
                names += [f"{iteration}-{episode}"] * 10
                scores.append(np.clip(score(rng, 10, successes), 0, 1) * high)
                truths.append(successes.astype(int))
            joined, labels = np.concatenate(scores), np.concatenate(truths)
            statistics = ScoreStatistics.of(
                names, joined, joined > BETA * high, labels, high=high, ended=[(True, True)] * 60
            )
            kinds_seen += [alarm.kind for alarm in alarms.update(statistics, iteration)]
        found.append((kinds_seen, statistics.counts.tolist()))
    assert found[0] == found[1]


def test_nothing_is_said_of_little():
    few = play(untrained, episodes=MIN_EPISODES // 2)
    assert few.steps < MIN_STEPS
    assert Alarms(low=0.0, threshold=BETA).update(few, 1) == []
    assert Alarms(low=0.0, threshold=BETA).update(ScoreStatistics(), 1) == []


def test_an_agent_that_learns_a_goal_without_truth_does_not_saturate():
    alarms = Alarms(low=0.0, threshold=BETA)
    rise = [play(good, has_truth=False)] * 3 + [play(sure, has_truth=False)] * 9
    assert [
        alarm for n, statistics in enumerate(rise, 1) for alarm in alarms.update(statistics, n)
    ] == []


def test_an_agent_that_has_learnt_or_stands_still_is_no_constant_reward():
    """Neither as it goes on nor in a run that is resumed, whose iterations are counted on."""

    def steady(rng, number, truths):
        return np.full(number, 0.97) + rng.normal(0, 1e-4, number)

    def stuck(rng, number, truths):
        return np.full(number, rng.uniform(0.01, 0.2))

    for first, score in ((4, steady), (4, stuck), (1, steady)):
        alarms = Alarms(low=0.0, threshold=BETA)
        for iteration in range(first, first + 5):
            statistics = play(score, seed=iteration, success=1.0, has_truth=False)
            assert "constant" not in {it.kind for it in alarms.update(statistics, iteration)}
    resumed = Alarms(low=0.0, threshold=BETA)
    assert resumed.update(play(sure, has_truth=False), 40) == []


def test_an_agent_that_is_paid_for_nothing_is_noticed():
    alarms = Alarms(low=0.0, threshold=BETA)
    assert all(alarms.update(play(good, seed=n), n + 1) == [] for n in range(5))
    said = [alarm for n in range(4) for alarm in alarms.update(play(exploit, seed=n), n + 6)]
    assert [alarm.kind for alarm in said] == ["gap"]
    assert "0.0% at the start" in said[0].text


@pytest.mark.parametrize(("episodes", "patience"), [(8, 14), (20, 8), (200, 4)])
def test_an_agent_that_succeeds_and_exploits_its_reward_is_noticed(episodes, patience):
    def play_on(false, seed):
        def score(rng, number, truths):
            wrong = ~truths & (rng.random(number) < false)
            return np.where(truths | wrong, 0.97, 1e-4)

        return play(score, seed=seed, success=0.95, episodes=episodes)

    alarms, said = Alarms(low=0.0, threshold=BETA), []
    for iteration in range(1, 10 + patience):
        false = 0.007 if iteration < 10 else 0.07  # 0.1 and 1.0 an episode
        said += alarms.update(play_on(false, iteration), iteration)
        assert iteration > 9 or not said
    assert "gap" in {alarm.kind for alarm in said}
    exploited = next(alarm for alarm in said if alarm.kind == "gap")
    assert "times an episode without a success" in exploited.text
    assert "at the start; precision" in exploited.text
    for false in (0.007, 0.07, 0.3):
        quiet = Alarms(low=0.0, threshold=BETA)
        for iteration in range(1, 25):
            assert quiet.update(play_on(false, iteration), iteration) == []


def test_longer_episodes_with_the_same_share_of_false_fires_are_no_exploit():
    def steps_of(length, seed):
        rng = np.random.default_rng(seed)
        names, scores, truths, ended = [], [], [], []
        for episode in range(100):
            names += [f"{seed}-{episode}"] * length
            wrong = rng.random(length) < 0.01
            truth = np.arange(length) == length - 1
            scores.append(np.where(truth | wrong, 0.97, 1e-4))
            truths.append(truth.astype(int))
            ended.append((True, True))
        joined = np.concatenate(scores)
        return ScoreStatistics.of(names, joined, joined > BETA, np.concatenate(truths), ended=ended)

    alarms = Alarms(low=0.0, threshold=BETA)
    lengths = [10] * 4 + [150] * 4
    assert [alarms.update(steps_of(n, i), i) for i, n in enumerate(lengths, 1)] == [[]] * 8


def test_a_reward_that_fires_nowhere_in_many_episodes_is_noticed():
    for has_truth in (True, False):
        alarms, said = Alarms(low=0.0, threshold=BETA), []
        for iteration in range(1, 6):
            statistics = play(good, seed=iteration, success=0.0, has_truth=has_truth)
            said.append([alarm.kind for alarm in alarms.update(statistics, iteration)])
        assert said == [[], [], [], [], ["silent"]]
        restored = Alarms(low=0.0, threshold=BETA)
        restored.set_state(pickle.loads(pickle.dumps(alarms.get_state())))
        restored.update(play(good, success=0.0), 6)
        assert "600 episodes" not in restored.in_force["silent"].text
        assert "720 episodes" in restored.in_force["silent"].text
        restored.update(play(good, success=0.5), 7)
        assert "silent" not in restored.in_force
    assert kinds(good, 6, success=0.0, threshold=None)[0] == set()


@pytest.mark.parametrize("episodes", [1, 3])
def test_few_steps_an_iteration_are_enough_with_time(episodes):
    """Also of `blind`, which needs 20 episodes with a success."""
    for score, kind in ((untrained, "constant"), (noise, "blind")):
        alarms, raised = Alarms(low=0.0, threshold=BETA), set()
        for iteration in range(1, 61):
            statistics = play(score, seed=iteration, episodes=episodes, success=0.7)
            raised |= {alarm.kind for alarm in alarms.update(statistics, iteration)}
        assert kind in raised


def test_a_long_run_does_not_become_constant_later():
    alarms = Alarms(low=0.0, threshold=BETA)
    for iteration in range(1, 100):
        score = good if iteration < 50 else untrained
        alarms.update(
            play(score, seed=iteration, episodes=2, success=0.0, has_truth=False), iteration
        )
        assert "constant" not in alarms.in_force


def test_an_alarm_is_said_once_until_it_ends():
    alarms = Alarms(low=0.0, threshold=BETA)
    said = [
        len(alarms.update(play(it), n))
        for n, it in enumerate([untrained, untrained, good, good], 1)
    ]
    assert said[0] >= 1
    assert said[1] == 0
    alarms.update(play(good), 5)
    assert "constant" not in alarms.in_force


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.sampled_from([good, weak, untrained, noise, swapped, sure, exploit]), max_size=8),
    st.integers(0, 8),
    st.booleans(),
)
def test_it_goes_on_from_a_checkpoint_as_if_it_had_never_stopped(scores, saved, has_truth):
    played = [play(score, seed=n, has_truth=has_truth) for n, score in enumerate(scores, 1)]
    whole, restored = (Alarms(low=0.0, threshold=BETA) for _ in range(2))
    for iteration, statistics in enumerate(played, 1):
        if iteration == saved + 1:
            restored.set_state(pickle.loads(pickle.dumps(whole.get_state())))
            assert restored.in_force == whole.in_force
        whole.update(statistics, iteration)
        if iteration > saved:
            said = restored.update(statistics, iteration)
            assert restored.in_force == whole.in_force
            assert iteration > saved + 1 or {*said} == {*restored.in_force.values()}


def test_an_agent_that_exploits_its_reward_already_is_not_the_start():
    alarms, restored = Alarms(low=0.0, threshold=BETA), Alarms(low=0.0, threshold=BETA)
    for n in range(4):
        alarms.update(play(good, seed=n), n + 1)
    restored.set_state(alarms.get_state())
    said = [alarm for n in range(4) for alarm in restored.update(play(exploit, seed=n), n + 5)]
    assert [alarm.kind for alarm in said] == ["gap"]
    restored.set_state({})  # of another reward
    assert [restored.update(play(exploit, seed=n), n + 9) for n in range(4)] == [[]] * 4


def test_what_is_known_of_the_model_is_an_alarm_too():
    alarms, drift = Alarms(low=0.0, threshold=BETA), Alarm("drift", "another model")
    assert alarms.update(play(good), 1, [drift]) == [drift]
    assert alarms.update(play(good), 2, [drift]) == []
    alarms.update(play(good), 3)
    assert alarms.update(play(good), 4, [drift]) == [drift]


@pytest.mark.parametrize("score", [untrained, noise, sure])
def test_each_alarm_says_what_got_expected_and_the_remedy(score):
    for alarm in Alarms(low=0.0, threshold=BETA).update(play(score, episodes=300), 1):
        assert "expected" in alarm.text
        assert alarm.text.rsplit(". ", 1)[1].split()[0] in {"Check", "Raise", "Look"}


def test_what_still_holds_is_said_again_after_a_restore_in_place():
    alarms = Alarms(low=0.0, threshold=BETA)
    assert [alarm.kind for alarm in alarms.update(play(untrained), 1)] == ["constant", "blind"]
    assert alarms.update(play(untrained), 2) == []
    alarms.set_state(alarms.get_state())
    assert [alarm.kind for alarm in alarms.update(play(untrained), 3)] == ["constant", "blind"]


def test_another_reward_is_watched_from_its_own_start():
    alarms = Alarms(low=0.0, threshold=BETA)
    for iteration in range(1, 11):
        alarms.update(play(good, seed=iteration), iteration)
    alarms.set_state({})
    assert "constant" in {alarm.kind for alarm in alarms.update(play(untrained), 11)}
