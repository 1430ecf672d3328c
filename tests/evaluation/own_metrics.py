"""Metrics of a user, as `--metric own_metrics.NAME` finds them."""

import numpy as np


def best_f1(scores, labels, episodes):
    """The F1 of the best threshold."""
    found = [
        2 * (fired & labels).sum() / (fired.sum() + labels.sum())
        for fired in (scores >= each for each in np.unique(scores))
    ]
    return max(found)


def solved_episodes(scores, labels, episodes):
    """How many episodes have a success that scores above 0.5."""
    return len(np.unique(episodes[labels & (scores > 0.5)]))


def share_of_longest(scores, labels, episodes):
    """The share of frames of the longest episode, which says if two draws of one are joined."""
    return np.unique(episodes, return_counts=True)[1].max() / len(episodes)


def broken(scores, labels, episodes):
    """Raises."""
    return scores.maximum()


def wordy(scores, labels, episodes):
    """Returns no number."""
    return f"{scores.mean():.2f}"


def undefined(scores, labels, episodes):
    """Returns no finite number."""
    return float("nan")


def short(scores, labels):
    """Takes no episodes."""
    return 0.0
