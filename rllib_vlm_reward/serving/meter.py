"""Measures how busy a reward actor is, for the pool and for Ray's metrics (Prometheus)."""

import threading
import time
from collections import deque

import numpy as np
from ray.util.metrics import Counter, Gauge, Histogram

from rllib_vlm_reward.serving.batcher import Batch

__all__ = ["Meter"]

_WINDOW = 1000  # number of last batches in the quantiles and the busy share
_BATCH_SIZES = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]
_LATENCIES_MS = [1, 3, 10, 30, 100, 300, 1000, 3000, 10000, 30000, 60000]


class Meter:
    """Counts an actor's frames and batches, and measures latency and load.

    Args:
        actor: the actor's name, a tag of every metric.
        lanes: how many batches run at once.

    Example:
        >>> meter = Meter("pool/0")
        >>> meter.record(Batch(frames=8, seconds=0.1, latencies=(0.2, 0.1), waiting=3))
        >>> meter.snapshot()["frames"]
        8
    """

    def __init__(self, actor: str, lanes: int = 1) -> None:
        self._lanes = lanes
        self._lock = threading.Lock()
        self._window: deque[tuple[float, Batch]] = deque(maxlen=_WINDOW)
        self._frames = self._batches = 0
        self._busy_seconds = 0.0
        prefix = "rllib_vlm_reward"
        tags = {"actor": actor}
        self._frames_metric = Counter(f"{prefix}_frames", "Frames scored.", ("actor",))
        self._busy_metric = Counter(f"{prefix}_busy_seconds", "Time in batches.", ("actor",))
        self._queue_metric = Gauge(f"{prefix}_queue", "Frames in the queue.", ("actor",))
        self._size_metric = Histogram(
            f"{prefix}_batch_frames", "Frames in a batch.", _BATCH_SIZES, ("actor",)
        )
        self._latency_metric = Histogram(
            f"{prefix}_latency_ms",
            "Time from a request's arrival to its scores.",
            _LATENCIES_MS,
            ("actor",),
        )
        for metric in (
            self._frames_metric,
            self._busy_metric,
            self._queue_metric,
            self._size_metric,
            self._latency_metric,
        ):
            metric.set_default_tags(tags)

    def record(self, batch: Batch) -> None:
        """Count one batch, just after it ended."""
        with self._lock:
            self._window.append((time.perf_counter(), batch))
            self._frames += batch.frames
            self._batches += 1
            self._busy_seconds += batch.seconds / self._lanes
        if batch.frames:  # Ray's Counter refuses a zero
            self._frames_metric.inc(batch.frames)
        self._busy_metric.inc(batch.seconds)
        self._queue_metric.set(batch.waiting)
        self._size_metric.observe(batch.frames)
        for latency in batch.latencies:
            self._latency_metric.observe(1000 * latency)

    def snapshot(self) -> dict[str, float]:
        """Return the numbers since the actor's process began; zero if nothing ran yet.

        Returns:
            The totals ``frames``, ``batches`` and ``busy_seconds`` (mean over the lanes);
            ``batch_mean``, the mean number of frames in a batch; and, over the last 1000 batches,
            ``p50_ms`` and ``p99_ms``, quantiles of the milliseconds from a request's arrival to its
            scores, and ``busy_share``, the share of time that lanes spent in batches, in [0, 1].
        """
        with self._lock:
            window = list(self._window)
            frames, batches = self._frames, self._batches
            busy_seconds = self._busy_seconds
        p50 = p99 = busy = 0.0
        if window:
            latencies = [latency for _, batch in window for latency in batch.latencies]
            if latencies:  # the first batches of a large request complete none
                p50, p99 = 1000 * np.quantile(latencies, [0.5, 0.99])
            began = window[0][0] - window[0][1].seconds
            recent = sum(batch.seconds for _, batch in window) / self._lanes
            busy = recent / (time.perf_counter() - began)
        return {
            "frames": frames,
            "batches": batches,
            "busy_seconds": busy_seconds,
            "batch_mean": frames / max(batches, 1),
            "p50_ms": float(p50),
            "p99_ms": float(p99),
            "busy_share": busy,
        }
