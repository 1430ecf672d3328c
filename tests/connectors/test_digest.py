"""What env runners tell of their scores, recounted on the learner's side from the frames."""

import numpy as np
import pytest
import recount
from hypothesis import given, settings
from hypothesis import strategies as st
from painted import PaintedEnv
from ray.rllib.algorithms.dqn import DQNConfig
from sklearn.metrics import roc_auc_score

from rllib_vlm_reward.connectors.alarm import auroc
from rllib_vlm_reward.connectors.callbacks import callbacks_of
from rllib_vlm_reward.connectors.digest import BINS, FAILURE, SUCCESS, Digest, Steps
from rllib_vlm_reward.connectors.preflight import reward_piece
from rllib_vlm_reward.plugin import add_vlm_reward

SEEDS = st.integers(0, 2**32 - 1)
STEP = st.tuples(st.floats(0, 1, width=32), st.booleans(), st.sampled_from([False, True, None]))
CHUNKS = st.lists(st.lists(STEP, max_size=9), max_size=6)


def steps_of(episode, rows):
    return Steps(episode, *map(list, zip(*rows, strict=True))) if rows else Steps(episode)


def digest_of(chunks, low=0.0, first=0):
    steps = [steps_of(str(episode), rows) for episode, rows in enumerate(chunks, first)]
    return Digest.of(steps, low=low, ended=[(None, False)] * len(chunks))


def same(a, b):
    fields = ("counts", "fired", "episodes")
    exact = all(np.array_equal(getattr(a, it), getattr(b, it)) for it in fields)
    return exact and a.owners == b.owners and np.allclose(a.moments, b.moments, atol=1e-9)


@settings(deadline=None)
@given(CHUNKS, CHUNKS)
def test_the_total_of_two_is_that_of_all_their_steps(some, others):
    both = Digest.total([digest_of(some), digest_of(others, first=len(some))])
    assert same(both, digest_of(some + others))


@settings(deadline=None)
@given(CHUNKS, SEEDS)
def test_it_does_not_matter_where_episodes_are_cut(episodes, seed):
    """As DQN cuts them, after each step, or anywhere."""
    rng, parts = np.random.default_rng(seed), []
    for name, rows in enumerate(episodes):
        before = (0, 0.0)
        for part in np.split(np.arange(len(rows)), np.flatnonzero(rng.random(len(rows)) < 0.5)):
            chunk = steps_of(str(name), [rows[i] for i in part])
            chunk.before = before
            before = chunk.so_far
            parts.append(Digest.of([chunk], low=0.0))
    parts.append(Digest.of([], low=0.0, ended=[(None, False)] * len(episodes)))
    assert same(Digest.total(parts), digest_of(episodes))


@settings(deadline=None)
@given(CHUNKS, st.sampled_from([0.0, -1.0]))
def test_nothing_is_lost_on_the_way(chunks, low):
    digest = digest_of(chunks, low)
    assert same(Digest.unpack(digest.pack()), digest)


@settings(deadline=None)
@given(CHUNKS, st.sampled_from([0.0, -1.0]))
def test_every_step_is_counted_where_its_score_and_its_truth_are(chunks, low):
    digest = digest_of(chunks, low)
    steps = [step for chunk in chunks for step in chunk]
    for kind, truth in enumerate([False, True, None]):
        own = [score for score, _, told in steps if told is truth]
        assert (digest.counts[kind] == np.histogram(own, BINS, (low, 1.0))[0]).all()
        assert digest.fired[kind] == sum(fired for _, fired, told in steps if told is truth)
        assert digest.held_by(kind) == sum(any(s[2] is truth for s in chunk) for chunk in chunks)


@settings(deadline=None)
@given(CHUNKS)
def test_the_spread_is_that_within_episodes(chunks):
    scores = [np.array([score for score, _, _ in chunk]) for chunk in chunks if chunk]
    freedom = sum(len(each) - 1 for each in scores)
    spread = digest_of(chunks).spread
    if not freedom:
        assert spread is None
    else:
        squares = sum(((each - each.mean()) ** 2).sum() for each in scores)
        assert spread == pytest.approx((squares / freedom) ** 0.5, abs=1e-6)


def test_the_auroc_is_scikit_learns_up_to_the_bins():
    rng = np.random.default_rng(0)
    labels = rng.random(2000) < 0.1
    scores = rng.beta(2, 5, 2000) + 0.1 * labels
    seen = Steps("e", scores.tolist(), [False] * 2000, labels.tolist())
    expected = roc_auc_score(labels, scores)
    assert auroc(Digest.of([seen], low=0.0))[0] == pytest.approx(expected, abs=2e-3)


def test_the_digests_of_remote_env_runners_arrive_whole_and_once(vlm_config, ppo, shared_pool):
    vlm = vlm_config(pool_name=shared_pool)
    vlm = vlm.model_copy(update={"threshold": recount.quiet_threshold(vlm)})
    algorithm = add_vlm_reward(ppo(num_env_runners=2, batch=400), vlm).build_algo()
    iterations = []
    for _ in range(2):
        result = algorithm.train()
        iterations.append(callbacks_of(algorithm).watch.digests[None])
    total = Digest.total(iterations)
    algorithm.stop()

    chunks = recount.Witness.chunks
    table = recount.score_table(vlm)
    scores = np.concatenate([table[c.columns[4, 1:], c.columns[3, 1:]] for c in chunks])
    # The painted env succeeds where it terminates.
    ends = [[False] * (len(c.rewards) - 1) + [c.terminated] for c in chunks]
    truths = np.concatenate(ends).astype(bool)
    for kind, own in ((FAILURE, scores[~truths]), (SUCCESS, scores[truths])):
        counts = np.histogram(own, BINS, (0, 1))[0]
        assert total.counts[kind].sum() == len(own)
        # Another batch may move a score over a bin's edge.
        assert np.abs(np.cumsum(total.counts[kind] - counts)).max() <= 2
        assert total.fired[kind] == (own > vlm.threshold).sum()
    assert total.episodes[2] == total.held_by(SUCCESS) == truths.sum()
    assert total.held_by(FAILURE) == len(
        {c.id for c, its in zip(chunks, ends, strict=True) if not all(its)}
    )
    logged = result["env_runners"]["vlm_reward"]
    assert not {"digests", "highlights"} & set(logged)
    assert set(logged) > {"precision", "recall", "false_positives_per_episode", "score_auroc"}


@pytest.mark.parametrize("temperature", [0.03, 100.0])
def test_one_step_a_fragment_is_enough(temperature, vlm_config, shared_pool):
    """As DQN has by default: its scores' spread within an episode is that of what was scored."""
    config = DQNConfig().environment(PaintedEnv).env_runners(num_envs_per_env_runner=3)
    config.training(num_steps_sampled_before_learning_starts=10_000)  # it need not learn
    vlm = vlm_config(pool_name=shared_pool, temperature=temperature)
    algorithm = add_vlm_reward(config, vlm).build_algo()
    scored, watch = [], callbacks_of(algorithm).watch
    reward_piece(algorithm.env_runner).record(scored)
    algorithm.train()
    algorithm.stop()
    assert config.get_rollout_fragment_length() == 1
    episodes = {}
    for episode, _, _, _, score in scored:
        episodes.setdefault(episode, []).append(score)
    squares = sum(np.var(scores) * len(scores) for scores in episodes.values())
    spread = (squares / (len(scored) - len(episodes))) ** 0.5
    assert watch.digests[None].steps == len(scored)
    assert watch.digests[None].spread == pytest.approx(spread, rel=1e-4)
    assert ("constant" in watch.in_force) == (temperature == 100.0)


def test_evaluation_and_a_switched_off_watch_tell_nothing(vlm_config, ppo, shared_pool):
    config = ppo(PaintedEnv).evaluation(
        evaluation_interval=1, evaluation_duration=3, evaluation_num_env_runners=0
    )
    vlm = vlm_config(pool_name=shared_pool, alarms="off")
    algorithm = add_vlm_reward(config, vlm).build_algo()
    result = algorithm.train()
    algorithm.stop()
    assert not callbacks_of(algorithm).watch.digests
    for rewards in (result["env_runners"], result["evaluation"]["env_runners"]):
        assert not {"digests", "alarm", "score_auroc"} & set(rewards["vlm_reward"])
