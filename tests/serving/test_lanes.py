import platform
import resource
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rllib_vlm_reward.serving.lanes import Lanes


@given(cores=st.integers(1, 256))
def test_a_cpu_has_few_lanes_and_no_core_too_many(cores):
    lanes = Lanes.on("cpu", cores)
    assert 1 <= lanes.count <= 8
    used = lanes.count * lanes.threads
    assert cores - lanes.threads < used <= cores
    assert lanes.cores == used
    assert lanes.splits == (lanes.count > 1)


def test_a_lane_has_its_own_threads():
    before = torch.get_num_threads()
    with Lanes("cpu", 2, 1, splits=True).lane():
        assert torch.get_num_threads() == 1
    torch.set_num_threads(before)


def test_a_lane_keeps_its_threads_when_others_set_theirs_before_its_first_batch():
    before = torch.get_num_threads()
    with ThreadPoolExecutor(1) as executor, ExitStack() as stack:
        executor.submit(stack.enter_context, Lanes("cpu", 2, 1, splits=True).lane()).result()
        torch.set_num_threads(3)
        assert executor.submit(torch.get_num_threads).result() == 1
    torch.set_num_threads(before)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_a_lane_keeps_the_memory_of_a_batch_for_the_next_one():
    def lane():
        with Lanes("cpu", 2, torch.get_num_threads(), splits=True).lane():
            blocks = [torch.ones(2**21) for _ in range(5)]  # 8 MiB each
            held = memory()
            blocks.clear()
            return held - memory()

    with ThreadPoolExecutor(1) as executor:
        assert executor.submit(lane).result() < 2**23


def memory():
    """Return how many bytes of this process are in main memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_lane_has_its_own_stream():
    with Lanes.on("cuda", 4).lane():
        assert torch.cuda.current_stream() != torch.cuda.default_stream()
