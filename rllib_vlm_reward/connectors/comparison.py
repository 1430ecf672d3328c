"""What differs between the reward of a checkpoint and the one that it is restored into."""

from collections.abc import Mapping
from typing import Any

__all__ = ["differences"]


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Say what differs between two states of a reward; nothing if they are of the same.

    Weights are compared themselves, where both are known, and not their names.

    Args:
        before: see :meth:`.reward.VLMReward.get_state`.
        now: the same of another.

    Example:
        >>> state = {"settings": {"encoder": "base"}, "goals": {"None": "f1"}, "encoder": None}
        >>> differences(state, {**state, "settings": {"encoder": "small"}})
        "encoder: 'base', now 'small'"
        >>> differences({**state, "encoder": "w1"}, {**state, "encoder": "w2"})
        'the encoder has other weights under the same name'
        >>> differences(state, state)
        ''
    """
    known = None not in (before["encoder"], now["encoder"])
    same_weights = known and before["encoder"] == now["encoder"]
    was, is_ = before["settings"], now["settings"]
    told = [
        f"{key}: {was.get(key)!r}, now {is_.get(key)!r}"
        for key in sorted(was.keys() | is_.keys())
        if was.get(key) != is_.get(key) and not (key == "encoder" and same_weights)
    ]
    if not told and known and not same_weights:
        return "the encoder has other weights under the same name"
    if not told and before["goals"] != now["goals"]:
        return "other negatives were drawn, by another version"
    return "; ".join(told)
