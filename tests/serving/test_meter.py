import threading
import time
from typing import ClassVar

import numpy as np
import pytest

from rllib_vlm_reward.serving import meter as meter_module
from rllib_vlm_reward.serving.batcher import Batch
from rllib_vlm_reward.serving.meter import Meter


class FakeMetric:
    """Stands in for Ray's, and keeps what it is told."""

    made: ClassVar[dict[str, "FakeMetric"]] = {}

    def __init__(self, name, *args):
        self.values, self.tags = [], None
        FakeMetric.made[name.removeprefix("rllib_vlm_reward_")] = self

    def set_default_tags(self, tags):
        self.tags = tags

    def keep(self, value):
        self.values.append(value)

    inc = set = observe = keep


@pytest.fixture(autouse=True)
def metrics(monkeypatch):
    monkeypatch.setattr(FakeMetric, "made", {})
    for name in ("Counter", "Gauge", "Histogram"):
        monkeypatch.setattr(meter_module, name, FakeMetric)
    return FakeMetric.made


BATCHES = [
    Batch(frames=4, seconds=0.02, latencies=(0.05, 0.02), waiting=3),
    Batch(frames=8, seconds=0.04, latencies=(0.09, 0.07, 0.04), waiting=0),
]


def test_before_the_first_batch_all_is_zero():
    assert set(Meter("pool/0").snapshot().values()) == {0}


def test_snapshot_counts_and_takes_quantiles_over_requests():
    meter = Meter("pool/0")
    for batch in BATCHES:
        meter.record(batch)
    numbers = meter.snapshot()
    latencies = [1000 * latency for batch in BATCHES for latency in batch.latencies]
    assert (numbers["frames"], numbers["batches"], numbers["batch_mean"]) == (12, 2, 6)
    assert numbers["p50_ms"] == pytest.approx(np.median(latencies))
    assert numbers["p99_ms"] == pytest.approx(np.percentile(latencies, 99))


def test_busy_share_is_the_part_of_the_time_spent_in_batches():
    meter = Meter("pool/0")
    start = time.perf_counter()
    time.sleep(0.05)
    meter.record(Batch(frames=1, seconds=0.05, latencies=(0.05,), waiting=0))
    time.sleep(0.15)
    lowest = 0.05 / (time.perf_counter() - start + 0.05)
    assert lowest < meter.snapshot()["busy_share"] < 0.3


def test_ray_metrics_are_told_the_same(metrics):
    meter = Meter("pool/1")
    for batch in BATCHES:
        meter.record(batch)
    assert {name: metric.values for name, metric in metrics.items()} == {
        "frames": [4, 8],
        "busy_seconds": [0.02, 0.04],
        "queue": [3, 0],
        "batch_frames": [4, 8],
        "latency_ms": pytest.approx([50, 20, 90, 70, 40]),
    }
    assert all(metric.tags == {"actor": "pool/1"} for metric in metrics.values())


def test_an_empty_batch_is_not_counted_as_frames(metrics):
    # Ray's Counter raises for an increase of zero.
    Meter("pool/0").record(Batch(frames=0, seconds=0.01, latencies=(0.01,), waiting=0))
    assert metrics["frames"].values == []


def test_reading_while_the_worker_writes():
    meter = Meter("pool/0")
    writer = threading.Thread(target=lambda: [meter.record(BATCHES[0]) for _ in range(2000)])
    writer.start()
    while writer.is_alive():
        numbers = meter.snapshot()
        assert numbers["frames"] == 4 * numbers["batches"]
    writer.join()
    assert meter.snapshot()["batches"] == 2000
