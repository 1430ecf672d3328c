"""A painted world that says in which order it was stepped, and a recount of what hints pay."""

import collections
import itertools

import numpy as np
import painted

HINTS = {
    "goals": {
        "a red {}": [{"statement": "a dark {0}", "nothing": "a floor"}],
        "a {} wall": ["some {0} paint", "much {0} paint"],
    },
    "weight": 2.0,
    "threshold": 0.8,
}
# The hint of each goal: pairs of a goal and a hint, and their statements, are counted from 0.
PLACES = ((0,), (1, 2), (3, 4))
STATEMENTS = (0, 1, 2, 3, 4)
TEXTS = (
    "a dark wall",
    "some blue paint",
    "much blue paint",
    "some green paint",
    "much green paint",
)
ROWS = 1_000  # of the sub-envs of an env runner, at most


class NumberedEnv(painted.PaintedEnv):
    """Its id names the env runner, and grows in the order of the sub-envs."""

    numbers = itertools.count()

    def __init__(self, config):
        super().__init__(config)
        self.id = ROWS * (config.worker_index or 0) + next(self.numbers)


class Play:
    """An episode of a sub-env: the vector step of its reset, and which hints are settled."""

    def __init__(self, episode, start, settled):
        self.episode, self.start, self.settled = episode, start, settled


def events_of(chunks, holds, *, repeatable=False):
    """Yield (env, vector step, hint's place, chunk, step) for each hint that is to be paid.

    ``holds`` is bool [G, F, k]: whether each hint of a goal holds in a frame.
    """
    plays, clocks = {}, collections.Counter()
    for index in sorted(range(len(chunks)), key=lambda n: chunks[n].columns[:3, 0].tolist()):
        env, episode, t, frames, goals = chunks[index].columns
        shown = holds[goals, frames]
        play = plays.get(env[0])
        if play is None or play.episode != episode[0]:
            assert t[0] == 0
            play = plays[env[0]] = Play(episode[0], clocks[env[0]], shown[0].copy())
        for step in range(1, len(t)):
            new = shown[step] & ~play.settled if not repeatable else shown[step]
            for place in np.flatnonzero(new).tolist():
                hint = PLACES[goals[step]][place]
                yield int(env[0]), play.start + int(t[step]), hint, index, step - 1
            play.settled |= shown[step]
        clocks[env[0]] = play.start + int(t[-1]) + 1


def expected(chunks, holds, factor, *, weight=2.0, iterations=None, repeatable=False):
    """Return what hints pay in each step of each chunk, and how often each hint was paid.

    An env runner knows what the others paid in earlier iterations.

    Args:
        chunks: the chunks of all env runners.
        holds: see :func:`events_of`.
        factor: returns how new a hint is by the times that each was paid before, int64 [P].
        iterations: the iteration of each chunk; None if there is one env runner.
    """
    iterations = iterations or [0] * len(chunks)
    paid = [np.zeros(len(chunk.rewards)) for chunk in chunks]
    by_runner = collections.defaultdict(list)
    for env, clock, hint, chunk, step in events_of(chunks, holds, repeatable=repeatable):
        by_runner[env // ROWS].append((iterations[chunk], clock, env, hint, chunk, step))
    known = np.zeros((len(by_runner), max(iterations) + 2, len(STATEMENTS)), np.int64)
    for place, events in enumerate(by_runner.values()):
        for iteration, _, _, hint, _, _ in events:
            known[place, iteration + 1 :, hint] += 1
    for place, events in enumerate(by_runner.values()):
        own = np.zeros(len(STATEMENTS), np.int64)
        for iteration, _, _, hint, chunk, step in sorted(events):
            others = known[:, iteration].sum(axis=0) - known[place, iteration]
            paid[chunk][step] += weight * factor(own + others, hint)
            own[hint] += 1
    return paid, known[:, -1].sum(axis=0)


def by_count(times, hint):
    return 1 / np.sqrt(1 + times[hint])


def by_embedding(embeddings):
    """Return the factor of a Gaussian process over these embeddings, float [S, D]."""
    kernel = np.empty((len(embeddings), len(embeddings)))
    centred = np.asarray(embeddings, np.float64) - np.mean(embeddings, axis=0, dtype=np.float64)
    for row, column in np.ndindex(kernel.shape):
        a, b = centred[row], centred[column]
        angle = np.arccos(np.clip(a @ b / np.sqrt(a @ a * (b @ b)), -1, 1)) if row != column else 0
        kernel[row, column] = (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / np.pi
    precision = np.linalg.inv(kernel)

    def factor(times, hint):
        return np.sqrt(np.linalg.inv(precision + np.diag(times))[STATEMENTS[hint], hint])

    return factor
