"""What hints pay in an env runner, recounted from the frames that the observations name."""

import hint_recount
import numpy as np
import pytest
from hint_recount import HINTS, PLACES, TEXTS, NumberedEnv, by_count
from painted import BANK, GOALS
from recount import Chunk
from red_pool import hint_scores, red_score

from rllib_vlm_reward.connectors.pipeline import attach_pieces, reward_piece

BOTH = pytest.mark.parametrize("mode", ["synchronous", "deferred"])
TEMPLATES = [{"noun": "{}"}]


def shown():
    """Return bool [G, F, 2]: which hints of each goal hold in each frame."""
    scores = [hint_scores(BANK, np.full(len(BANK), goal), 2) for goal in range(len(GOALS))]
    holds = np.stack(scores) > HINTS["threshold"]
    holds[0, :, 1] = False  # the first goal has one hint
    return holds


def goal_rewards(chunk, threshold=None):
    scores = red_score(BANK[chunk.columns[3]], chunk.columns[4])[1:]
    return scores if threshold is None else (scores > threshold).astype(np.float32)


def play(runner, fragments=12):
    chunks = []
    for _ in range(fragments):
        for episode in runner.sample():
            chunks.append(Chunk.of(episode, lengthened=False))
            chunks[-1].is_done = episode.is_done
    assert sum(chunk.terminated for chunk in chunks) > 0
    assert sum(chunk.t_started > 0 for chunk in chunks) > 0  # a fragment cut an episode
    return chunks


def hints_of(runner):
    return reward_piece(runner)._streams[None].hints


def given(mode, **changes):
    return {"mode": mode, "hints": {**HINTS, **changes}}


@BOTH
@pytest.mark.parametrize(
    ("changes", "factor"),
    [
        ({}, by_count),
        ({"decay": "none"}, lambda times, hint: 1.0),
        ({"repeatable": True}, by_count),
    ],
    ids=["count", "none", "repeatable"],
)
def test_a_hint_is_paid_when_it_first_holds_and_less_each_time(
    mode, changes, factor, vlm_config, env_runner
):
    runner = env_runner(vlm_config(**given(mode, **changes)), NumberedEnv)
    chunks = play(runner)
    repeatable = changes.get("repeatable", False)
    paid, times = hint_recount.expected(chunks, shown(), factor, repeatable=repeatable)
    for chunk, hinted in zip(chunks, paid, strict=True):
        assert np.allclose(chunk.rewards, goal_rewards(chunk) + hinted, atol=1e-5)
    assert times.min() > 0
    assert times.sum() > 20
    if changes.get("decay") != "none":
        np.testing.assert_array_equal(hints_of(runner).novelty.counts, times)


@BOTH
def test_a_hint_decays_with_what_was_paid_for_similar_ones(mode, vlm_config, env_runner, red_pool):
    runner = env_runner(vlm_config(**given(mode, decay="rnd")), NumberedEnv)
    drawn = np.random.default_rng(3).normal(1.0, 0.5, (5, 16)).astype(np.float32)
    drawn[2] = drawn[1] + 0.1 * drawn[2]  # much alike
    red_pool.embed_texts = lambda texts: drawn[[TEXTS.index(text) for text in texts]]
    chunks = play(runner)
    paid, _ = hint_recount.expected(chunks, shown(), hint_recount.by_embedding(drawn))
    for chunk, hinted in zip(chunks, paid, strict=True):
        assert np.allclose(chunk.rewards, goal_rewards(chunk) + hinted, atol=1e-4)
    counted, _ = hint_recount.expected(chunks, shown(), by_count)
    assert not np.allclose(np.concatenate(paid), np.concatenate(counted), atol=0.1)


@BOTH
def test_it_is_no_success_ends_nothing_and_has_metrics_of_its_own(mode, vlm_config, env_runner):
    bonus = {"kind": "focal", "weight": 3.0}
    settings = {**given(mode), "threshold": 0.5, "bonus": bonus, "templates": TEMPLATES}
    runner = env_runner(vlm_config(**settings), NumberedEnv)
    chunks = play(runner)
    logged = runner.get_metrics()["vlm_reward"]
    paid, _ = hint_recount.expected(chunks, shown(), by_count)
    blue = [3.0 * BANK[chunk.columns[3, 1:], 0, 0, 2] / 256 for chunk in chunks]
    fires = [goal_rewards(chunk, 0.5) for chunk in chunks]
    for chunk, *parts in zip(chunks, paid, blue, fires, strict=True):
        assert np.allclose(chunk.rewards, sum(parts), atol=1e-5)
    ended = ended_of(chunks)

    def mean(values):
        return np.mean([sum(float(values[n].sum()) for n in parts) for parts in ended])

    for name, values in (("hint", paid), ("bonus", blue), ("vlm", fires)):
        assert logged[f"{name}_return_mean"].peek() == pytest.approx(mean(values), rel=1e-5)
    check_metrics_of_hints(logged["hints"], chunks, ended)


def ended_of(chunks):
    """Return the indices of the chunks of each episode that ended."""
    by_episode = {}
    for index, chunk in enumerate(chunks):
        by_episode.setdefault((chunk.columns[0, 0], chunk.columns[1, 0]), []).append(index)
    return [parts for parts in by_episode.values() if chunks[parts[-1]].is_done]


def check_metrics_of_hints(logged, chunks, ended):
    fires = np.zeros((len(ended), 2), int)
    events = [*hint_recount.events_of(chunks, shown())]
    for _, _, hint, chunk, _ in events:
        for row, parts in enumerate(ended):
            if chunk in parts:
                goal = chunks[chunk].columns[4, 0]
                fires[row, PLACES[goal].index(hint)] += 1
    goals = np.array([chunks[parts[0]].columns[4, 0] for parts in ended])
    frames = np.array([chunks[parts[0]].columns[3, 0] for parts in ended])
    firsts = shown()[goals, frames]
    for name, some, place in (
        ("a red {}: a dark {0}", goals == 0, 0),
        ("a {} wall: some {0} paint", goals > 0, 0),
        ("a {} wall: much {0} paint", goals > 0, 1),
    ):
        found = {key: each.peek() for key, each in logged[name].items()}
        assert found["fires_per_episode"] == pytest.approx(fires[some, place].mean())
        assert found["held_at_reset"] == pytest.approx(firsts[some, place].mean())
    assert len(logged) == 3


def test_an_early_end_is_that_of_the_goal(vlm_config, env_runner):
    settings = {**given("synchronous"), "threshold": 0.97, "early_end": True}
    runner = env_runner(vlm_config(**settings), NumberedEnv)
    chunks = play(runner)
    paid, times = hint_recount.expected(chunks, shown(), by_count)
    for chunk, hinted in zip(chunks, paid, strict=True):
        fires = goal_rewards(chunk, 0.97)
        assert np.allclose(chunk.rewards, fires + hinted, atol=1e-5)
        assert not fires[:-1].any()
    assert times.sum() > 10


@BOTH
def test_with_normalised_rewards_hints_are_paid_in_full(mode, vlm_config, env_runner):
    runner = env_runner(vlm_config(**given(mode), normalize_rewards=True), NumberedEnv)
    chunks = play(runner)
    paid, _ = hint_recount.expected(chunks, shown(), by_count)
    plain = env_runner(vlm_config(mode=mode, normalize_rewards=True), NumberedEnv)
    assert "hint_return_mean" not in log_of(plain)
    rest = np.concatenate([chunk.rewards for chunk in chunks]) - np.concatenate(paid)
    raw = np.concatenate([*map(goal_rewards, chunks)])
    ratios = rest[raw > 0.01] / raw[raw > 0.01]
    assert ratios.min() > 0
    assert ratios[-50:].std() < 0.05 * ratios[-50:].mean()  # one slowly changing factor


def log_of(runner):
    for _ in range(4):
        runner.sample()
    return runner.get_metrics()["vlm_reward"]


@BOTH
def test_in_evaluation_nothing_is_paid_or_counted(mode, vlm_config, env_runner):
    runner = env_runner(vlm_config(**given(mode)), NumberedEnv)
    attach_pieces(runner, "red", "this run", precisions={}, evaluates=True)
    for chunk in play(runner):
        assert np.allclose(chunk.rewards, goal_rewards(chunk), atol=1e-5)
    piece = reward_piece(runner)
    assert piece.get_state()["hints"] == {}
    assert "hints" not in log_of(runner)
    # What training counted reaches the piece, and is not paid for either.
    state = piece.get_state() | {"hints": {"None": {"another": (1, {0: 1})}}}
    piece.set_state(state)


def test_each_frame_is_sent_once_and_that_of_a_reset_too(vlm_config, env_runner, red_pool):
    runner = env_runner(vlm_config(**given("deferred")), NumberedEnv)
    chunks = play(runner)
    steps = sum(len(chunk.rewards) for chunk in chunks)
    begun = sum(chunk.t_started == 0 for chunk in chunks)
    # An episode that was reset at the end of the last fragment has no step yet.
    assert 0 <= sum(red_pool.batches) - steps - begun <= 3


def test_nothing_is_kept_of_episodes_that_ended(vlm_config, env_runner):
    runner = env_runner(vlm_config(**given("deferred")), NumberedEnv)
    play(runner)
    hints = hints_of(runner)
    assert max(len(hints._held_at_reset), len(hints._fires)) <= 3
