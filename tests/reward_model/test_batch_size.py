import types

import pytest
import torch

from rllib_vlm_reward.reward_model import batch_size


def best_of(seconds, monkeypatch, memory=10**9):
    """Run the search on a clock that only the encoder advances: seconds of a batch, by its size."""
    clock, asked = [0.0], []

    def encode(frames):
        asked.append(len(frames))
        if len(frames) > memory:
            raise torch.cuda.OutOfMemoryError
        clock[0] += seconds(len(frames))
        return torch.zeros(1)

    monkeypatch.setattr(batch_size.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    encoder = types.SimpleNamespace(encode_frames=encode, image_size=(4, 4))
    best = batch_size.best_batch_size(types.SimpleNamespace(encoder=encoder))
    return best, max(asked), clock[0]


@pytest.mark.parametrize(
    ("seconds", "best"),
    [
        (lambda size: 1.5e-4 * size, 256),  # 256 / 40.4 ms, of at most 1024 / 155.6 ms
        (lambda size: 1e-3 * size, 64),  # 64 / 66 ms, of at most 512 / 514 ms
        (lambda size: 1e-3 * size if size <= 16 else 2e-3 * size, 16),
        (lambda size: 0.02 if size <= 128 else 1e-3 * size, 128),
        (lambda size: 1e-6, 1024),
    ],
)
def test_the_smallest_batch_of_nearly_the_best_rate(seconds, best, monkeypatch):
    assert best_of(seconds, monkeypatch)[0] == best


def test_one_slow_trial_does_not_decide(monkeypatch):
    trials = []

    def seconds(size):
        trials.append(size)
        return (5 if size == 256 and trials.count(256) == 1 else 1) * 1.5e-4 * size

    assert best_of(seconds, monkeypatch)[0] == 256


def test_what_compiling_a_size_costs_does_not_decide(monkeypatch):
    seen = set()

    def seconds(size):
        new = size not in seen
        seen.add(size)
        return (10 if new else 1) * 1.5e-4 * size

    assert best_of(seconds, monkeypatch)[0] == 256


def test_a_slow_model_is_not_tried_for_long(monkeypatch):
    best, largest, took = best_of(lambda size: 0.01 + 0.002 * size, monkeypatch)
    assert took <= 3.0
    assert (best, largest) == (64, 128)
    assert best_of(lambda size: 0.5 * size, monkeypatch)[:2] == (16, 1)


@pytest.mark.parametrize(("memory", "best"), [(128, 128), (12, 8)])
def test_a_full_gpu_ends_the_growth(memory, best, monkeypatch):
    assert best_of(lambda size: 1e-6, monkeypatch, memory)[0] == best
