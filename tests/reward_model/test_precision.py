import numpy as np
import pytest
import torch

from rllib_vlm_reward.errors import CheckpointError
from rllib_vlm_reward.reward_model.precision import (
    best_precision,
    largest_changes,
    probe_frames,
    resolve,
)

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
SIGNS = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")


@pytest.mark.parametrize(
    ("signs", "best"),
    [((True, False), "bf16"), ((False, True), "bf16"), ((False, False), "fp32"), (None, "fp32")],
)
def test_a_cpu_says_what_it_computes_in(signs, best, monkeypatch):
    for sign, value in zip(SIGNS, signs or (None, None), strict=True):
        monkeypatch.delattr(torch.cpu, sign, raising=False)  # as torch 2.4 is
        if value is not None:
            monkeypatch.setattr(torch.cpu, sign, lambda value=value: value, raising=False)
    assert best_precision(CPU) == resolve("auto", CPU) == best
    assert resolve("fp16", CPU) == "fp16"


@pytest.mark.parametrize(
    ("capability", "best"), [((7, 5), "fp16"), ((8, 0), "bf16"), ((10, 0), "bf16")]
)
def test_a_gpu_says_what_it_computes_in(capability, best, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert best_precision(CUDA) == best


def test_an_unknown_precision():
    with pytest.raises(CheckpointError, match="'int8', expected one of auto, fp32, bf16, fp16"):
        resolve("int8", CPU)


def test_probe_frames_are_always_the_same_and_all_different():
    frames = probe_frames((56, 40))
    assert (frames.dtype, frames.shape) == (np.uint8, (16, 56, 40, 3))
    np.testing.assert_array_equal(frames, probe_frames((56, 40)))
    assert len({frame.tobytes() for frame in frames}) == 16
    assert [len(np.unique(f.reshape(-1, 3), axis=0)) for f in frames[4:]] == [1] * 4 + [4] * 4 + [
        49
    ] * 4


def test_a_change_is_a_frames_largest_one_on_average():
    exact = torch.zeros(2, 3)
    low = torch.tensor([[0.1, -0.3, 0.0], [0.0, 0.0, 0.1]])
    assert largest_changes(exact, low) == pytest.approx((0.3 + 0.1) / 2)
    assert largest_changes(exact, exact) == 0


def test_a_score_that_is_not_finite_in_fp32_is_not_a_change():
    exact = torch.tensor([[float("nan"), 0.0], [0.0, 0.0]])
    for odd in (float("nan"), float("inf"), 1.0):
        low = torch.tensor([[odd, 0.0], [0.0, 0.5]])
        assert largest_changes(exact, low) == pytest.approx(0.5 / 2)


@pytest.mark.parametrize("odd", [float("nan"), float("inf")])
def test_a_score_that_overflows_is_the_largest_change(odd):
    low = torch.tensor([[odd, 0.0], [0.0, 0.5]])
    assert largest_changes(torch.zeros(2, 2), low) == float("inf")
