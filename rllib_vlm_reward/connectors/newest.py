"""Merges what several env runners counted, without counting anything twice."""

from collections.abc import Sequence
from typing import Any

__all__ = ["newest"]


def newest(states: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return a state with the newest entry of each env runner.

    Each env runner counts under a key of its own, and passes on the newest entries that it received
    from the others. So states can be merged in any order and any number of times, and the entries
    of env runners that have ended remain.

    Args:
        states: for each env runner's key an entry, a tuple that begins with a count, which only
            grows.

    Example:
        >>> newest([{"a": (2, 0.5), "b": (1, 0.1)}, {"a": (3, 0.4)}])
        {'a': (3, 0.4), 'b': (1, 0.1)}
    """
    found: dict[str, Any] = {}
    for state in states:
        for key, entry in state.items():
            if key not in found or found[key][0] < entry[0]:
                found[key] = entry
    return dict(sorted(found.items()))
