"""What differs between the reward of a checkpoint and the one that it is restored into."""

from collections.abc import Mapping
from typing import Any

__all__ = ["changed", "differences"]


def changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    """Return what is told of each setting that differs.

    Example:
        >>> changed({"head": "softmax", "window": 1}, {"head": "cosine", "window": 1})
        {'head': "head: 'softmax', now 'cosine'"}
    """
    return {
        key: f"{key}: {before.get(key)!r}, now {now.get(key)!r}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    }


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
    told = changed(before["settings"], now["settings"])
    if same_weights:
        told.pop("encoder", None)
    if not told and known and not same_weights:
        return "the encoder has other weights under the same name"
    if not told and before["goals"] != now["goals"]:
        return "other negatives were drawn, by another version"
    return "; ".join(told.values())
