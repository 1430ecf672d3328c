"""The contrastive loss against NumPy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_vlm_reward.pretraining.training import contrast


def reference(logits, holds):
    """The mean over frames and true statements of -log(exp z / (exp z + Σ false exp))."""
    frames = []
    for row, held in zip(np.exp(logits.astype(np.float64)), holds, strict=True):
        false = row[~held].sum()
        frames.append(np.mean([-np.log(each / (each + false)) for each in row[held]]))
    return np.mean(frames)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(2, 9))
def test_it_is_numpys(seed, frames, statements):
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=5, size=(frames, statements)).astype(np.float32)
    holds = rng.random((frames, statements)) < 0.4
    holds[:, 0], holds[:, 1] = True, False
    got = contrast(torch.from_numpy(logits), torch.from_numpy(holds), torch.from_numpy(~holds))
    assert got.item() == pytest.approx(reference(logits, holds), rel=1e-4, abs=1e-6)


def test_one_true_statement_makes_it_the_cross_entropy():
    logits = torch.randn(32, 19, generator=torch.Generator().manual_seed(0))
    target = torch.arange(32) % 19
    holds = torch.nn.functional.one_hot(target, 19).bool()
    expected = torch.nn.functional.cross_entropy(logits, target)
    torch.testing.assert_close(contrast(logits, holds, ~holds), expected)


def test_true_statements_do_not_compete():
    logits = torch.tensor([[2.0, 2.0, -1.0]], requires_grad=True)
    holds = torch.tensor([[True, True, False]])
    contrast(logits, holds, ~holds).backward()
    alone = torch.tensor([[2.0, -1.0]], requires_grad=True)
    holds = torch.tensor([[True, False]])
    contrast(alone, holds, ~holds).backward()
    torch.testing.assert_close(logits.grad[0, 0] + logits.grad[0, 1], alone.grad[0, 0])
    torch.testing.assert_close(logits.grad[0, 2], alone.grad[0, 1])


def test_large_logits_stay_finite():
    logits = torch.tensor([[100.0, -100.0], [-100.0, 100.0]], requires_grad=True)
    holds = torch.tensor([[True, False], [True, False]])
    loss = contrast(logits, holds, ~holds)
    loss.backward()
    assert loss.item() == pytest.approx(100)
    assert logits.grad.isfinite().all()


def test_what_is_unclear_competes_with_nothing():
    logits = torch.tensor([[2.0, -1.0, 5.0]], requires_grad=True)
    holds, fails = torch.tensor([[True, False, False]]), torch.tensor([[False, True, False]])
    loss = contrast(logits, holds, fails)
    loss.backward()
    assert loss.item() == pytest.approx(np.log1p(np.exp(-3)))
    assert logits.grad[0, 2] == 0


@pytest.mark.parametrize("holds", [True, False])
def test_frames_without_a_true_or_a_false_statement_do_not_count(holds):
    logits = torch.randn(2, 2, generator=torch.Generator().manual_seed(0), requires_grad=True)
    held = torch.tensor([[True, False], [holds, holds]])
    failed = torch.tensor([[False, True], [not holds, not holds]])
    loss = contrast(logits, held, failed)
    loss.backward()
    assert loss.item() == pytest.approx(contrast(logits[:1], held[:1], failed[:1]).item())
    assert (logits.grad[1] == 0).all()
    nothing = contrast(logits[1:], held[1:], failed[1:])
    assert nothing.item() == 0
    nothing.backward()
    assert logits.grad.isfinite().all()
