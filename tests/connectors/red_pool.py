"""A pool of this process whose score is how red a frame is, and how far along its goal.

A bonus reads how blue the frame is, and a map how green, a little more from patch to patch. The
hints of a goal score how green it is, each with a shift of its own and of the goal.
"""

import numpy as np


def red_score(frames, goals):
    """Return float32 [B], the red of each frame's corner in [0, 1), plus its goal's index."""
    return (frames[:, 0, 0, 0] / np.float32(256) + goals).astype(np.float32)


def blue_number(frames):
    """Return float32 [B], the blue of each frame's corner in [0, 1)."""
    return (frames[:, 0, 0, 2] / np.float32(256)).astype(np.float32)


def green_map(frames, goals, size):
    """Return float32 [B, h, w, 1] in [0, 1): green, and the number of the patch, by the goal."""
    patch = np.arange(size[0] * size[1], dtype=np.float32) / (size[0] * size[1])
    green = frames[:, 0, 0, 1, None] / np.float32(256)
    shown = (green + patch) / (goals[:, None] + 2).astype(np.float32)
    return shown.reshape(len(frames), *size, 1).astype(np.float32)


def hint_scores(frames, goals, number):
    """Return float32 [B, number] in [0, 1)."""
    shifts = 100 * np.arange(number) + 40 * goals[:, None]
    return ((frames[:, 0, 0, 1, None] + shifts) % 256 / 256).astype(np.float32)


class Pending:
    def __init__(self, pool, scores):
        self.pool, self.scores = pool, scores

    def result(self):
        self.pool.read += 1
        return self.scores


class RedPool:
    def __init__(self):
        self.batches, self.read, self.failures, self.embedded = [], 0, [], []

    def submit(self, frames, goals, scorer, *, checked):
        frames = np.stack(frames)
        assert frames.dtype == np.uint8
        assert goals.dtype == np.int64
        self.batches.append(len(frames))
        scores = red_score(frames, goals)
        answers = [scores[:, None]]
        for readout in scorer.readouts:
            if readout.kind == "map":
                answers.append(green_map(frames, goals, readout.size).reshape(len(frames), -1))
            elif readout.kind == "hints":
                answers.append(hint_scores(frames, goals, len(readout.names)))
            else:
                answers.append(blue_number(frames)[:, None])
        return Pending(self, np.concatenate(answers, axis=1) if scorer.readouts else scores)

    def ask(self, views, goals, rater):
        (frames,) = views
        return self.submit(frames, goals, rater, checked=True)

    def embed_texts(self, texts):
        self.embedded += texts
        """Return float32 [N, 16] that tells texts of different lengths apart."""
        return np.array([[len(text) / 100] + [0.0] * 15 for text in texts], np.float32)

    def report_failure(self, text):
        self.failures.append(text)

    def cancel(self):
        """All requests were answered at once."""
