import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_vlm_reward.reward_model.cache import EmbeddingCache, content_keys


def value(key):
    return [float(key), float(key) ** 2]


@settings(max_examples=100, deadline=None)
@given(
    capacity=st.integers(1, 6),
    batches=st.lists(st.lists(st.integers(0, 9), max_size=8), max_size=12),
)
def test_against_a_plain_lru(capacity, batches):
    cache, kept = EmbeddingCache(capacity, dim=2), OrderedDict()
    for batch in batches:
        encoded = []

        def encode(positions, batch=batch, encoded=encoded):
            encoded += [batch[position] for position in positions]
            return torch.tensor([value(batch[position]) for position in positions])

        embeddings = cache.embed(batch, encode)
        assert embeddings.reshape(-1, 2).tolist() == [value(key) for key in batch]
        distinct = list(dict.fromkeys(batch))
        assert encoded == [key for key in distinct if key not in kept]
        for key in [key for key in distinct if key in kept] + encoded:
            kept[key] = None
            kept.move_to_end(key)
        while len(kept) > capacity:
            kept.popitem(last=False)
        assert len(cache) == len(kept)


def test_what_is_returned_does_not_change_when_its_row_is_reused():
    cache = EmbeddingCache(1, dim=1)
    cache.embed(["a"], lambda positions: torch.ones(1, 1))
    known = cache.embed(["a"], lambda positions: 1 / 0)
    cache.embed(["b"], lambda positions: torch.zeros(1, 1))
    assert known.item() == 1


def test_an_error_of_the_encoder_leaves_nothing_behind():
    cache = EmbeddingCache(4, dim=1)
    with pytest.raises(ZeroDivisionError):
        cache.embed(["a"], lambda positions: 1 / 0)
    assert cache.embed(["a"], lambda positions: torch.ones(1, 1)).item() == 1


@pytest.mark.parametrize("channel", range(3))
def test_one_level_of_one_pixel_makes_another_key(channel):
    frames = np.full((2, 9, 7, 3), 128, np.uint8)
    frames[1, 8, 6, channel] += 1
    first, other = content_keys([frames], "fp32")
    assert first != other


def test_a_key_is_of_the_content_wherever_it_lies():
    frames = np.random.default_rng(0).integers(0, 256, (4, 9, 9, 3), np.uint8)
    frames.flags.writeable = False
    keys = content_keys([frames], "fp32")
    assert len(set(keys)) == 4
    assert content_keys([frames[:1], np.asfortranarray(frames[1:])], "fp32") == keys
    assert content_keys([frames[:, ::-1][:, ::-1]], "fp32") == keys
    assert content_keys([frames[:, ::-1]], "fp32") != keys
    assert not set(content_keys([frames], "bf16")) & set(keys)
    assert not set(content_keys([frames.reshape(4, 27, 3, 3)], "fp32")) & set(keys)


def test_what_another_thread_is_encoding_is_waited_for():
    cache, begun, go_on = EmbeddingCache(8, dim=1), threading.Event(), threading.Event()

    def slowly(positions):
        begun.set()
        assert go_on.wait(10)
        return torch.full((len(positions), 1), 5.0)

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(cache.embed, ["a", "b"], slowly)
        assert begun.wait(10)
        encoded = []

        def at_once(positions):
            encoded.extend(positions)
            go_on.set()
            return torch.full((len(positions), 1), 7.0)

        second = threads.submit(cache.embed, ["b", "c", "a", "b"], at_once)
        assert second.result(10).ravel().tolist() == [5.0, 7.0, 5.0, 5.0]
        assert first.result(10).ravel().tolist() == [5.0, 5.0]
    assert encoded == [1]


def test_what_another_thread_failed_to_encode_is_encoded_here():
    cache, begun, go_on = EmbeddingCache(8, dim=1), threading.Event(), threading.Event()

    def fail(positions):
        begun.set()
        assert go_on.wait(10)
        raise RuntimeError("no memory")

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(cache.embed, ["a"], fail)
        assert begun.wait(10)
        second = threads.submit(cache.embed, ["a"], lambda p: torch.ones(len(p), 1))
        go_on.set()
        with pytest.raises(RuntimeError, match="no memory"):
            first.result(10)
        assert second.result(10).item() == 1


def test_many_threads_encode_each_key_once_and_never_wait_for_each_other():
    cache, encoded, lock = EmbeddingCache(1000, dim=1), [], threading.Lock()

    def work(seed):
        rng = np.random.default_rng(seed)
        for _ in range(20):
            keys = rng.integers(0, 300, 16).tolist()

            def encode(positions, keys=keys):
                with lock:
                    encoded.extend(keys[position] for position in positions)
                return torch.tensor([[float(keys[position])] for position in positions])

            assert cache.embed(keys, encode).ravel().tolist() == keys

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(work, range(6)))
    assert len(encoded) == len(set(encoded))
