"""What env runners tell of their scores, recounted on the learner's side from the frames."""

import numpy as np
import pytest
import recount
from hypothesis import given
from hypothesis import strategies as st
from painted import PaintedEnv
from sklearn.metrics import roc_auc_score

from rllib_vlm_reward.connectors.alarm import auroc
from rllib_vlm_reward.connectors.callbacks import callbacks_of
from rllib_vlm_reward.connectors.digest import BINS, FAILURE, SUCCESS, Digest, Steps
from rllib_vlm_reward.plugin import add_vlm_reward

STEP = st.tuples(st.floats(0, 1, width=32), st.booleans(), st.sampled_from([False, True, None]))
CHUNKS = st.lists(st.lists(STEP, max_size=9), max_size=6)


def digest_of(chunks, low=0.0):
    steps = [Steps(*map(list, zip(*chunk, strict=True))) if chunk else Steps() for chunk in chunks]
    return Digest.of(steps, low=low, ended=[(None, False)] * len(chunks))


def same(a, b):
    fields = ("counts", "fired", "chunks", "episodes")
    exact = all(np.array_equal(getattr(a, it), getattr(b, it)) for it in fields)
    return exact and np.allclose(a.moments, b.moments, atol=1e-9)


@given(CHUNKS, CHUNKS)
def test_the_sum_of_two_is_that_of_all_their_steps(some, others):
    assert same(digest_of(some) + digest_of(others), digest_of(some + others))


@given(CHUNKS, st.sampled_from([0.0, -1.0]))
def test_nothing_is_lost_on_the_way(chunks, low):
    digest = digest_of(chunks, low)
    assert same(Digest.unpack(digest.pack()), digest)


@given(CHUNKS, st.sampled_from([0.0, -1.0]))
def test_every_step_is_counted_where_its_score_and_its_truth_are(chunks, low):
    digest = digest_of(chunks, low)
    steps = [step for chunk in chunks for step in chunk]
    for kind, truth in enumerate([False, True, None]):
        own = [score for score, _, told in steps if told is truth]
        assert (digest.counts[kind] == np.histogram(own, BINS, (low, 1.0))[0]).all()
        assert digest.fired[kind] == sum(fired for _, fired, told in steps if told is truth)
        assert digest.chunks[kind] == sum(any(s[2] is truth for s in chunk) for chunk in chunks)


@given(CHUNKS)
def test_the_spread_is_that_within_chunks(chunks):
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
    seen = Steps(scores.tolist(), [False] * 2000, labels.tolist())
    expected = roc_auc_score(labels, scores)
    assert auroc(Digest.of([seen], low=0.0))[0] == pytest.approx(expected, abs=2e-3)


def test_the_digests_of_remote_env_runners_arrive_whole_and_once(vlm_config, ppo, shared_pool):
    vlm = vlm_config(pool_name=shared_pool)
    vlm = vlm.model_copy(update={"threshold": recount.quiet_threshold(vlm)})
    algorithm = add_vlm_reward(ppo(num_env_runners=2, batch=400), vlm).build_algo()
    total = Digest()
    for _ in range(2):
        result = algorithm.train()
        total += callbacks_of(algorithm).watch.digests[None]
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
    assert total.episodes[2] == total.chunks[SUCCESS] == truths.sum()
    logged = result["env_runners"]["vlm_reward"]
    assert not {"digests", "highlights"} & set(logged)
    assert set(logged) > {"precision", "recall", "false_positives_per_episode", "score_auroc"}


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
