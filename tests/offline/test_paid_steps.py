"""Recorded steps pay what a loop over them says, which is how the connectors are tested too."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.offline.episode import pay_steps


def recount(scores, config, first, ends):
    window, rewards = [], []
    for place, score in enumerate(scores):
        last = ends and place == len(scores) - 1
        scored = {
            "all": True,
            "changed": True,
            "last": last,
        }.get(config.frames.scored_steps)
        if scored is None:
            scored = last or (first + place) % config.frames.scored_steps == 0
        if not scored:
            rewards.append(0.0)
            continue
        window = [*window, float(score)][-config.frames.window :]
        value = sum(window) / len(window) if config.frames.reduce == "mean" else max(window)
        rewards.append(value if config.threshold is None else float(value > config.threshold))
    return rewards


@given(
    scores=st.lists(st.integers(0, 64), max_size=20),
    threshold=st.sampled_from([None, 0.37]),
    first=st.integers(1, 7),
    ends=st.booleans(),
    frames=st.fixed_dictionaries(
        {
            "scored_steps": st.sampled_from(["all", "last", "changed", 1, 2, 5]),
            "window": st.integers(1, 4),
            "reduce": st.sampled_from(["mean", "max"]),
        }
    ),
)
def test_every_step_pays_what_a_recount_says(scores, first, ends, **settings):
    config = VLMRewardConfig(encoder="small", goals=["a ball", "a key"], **settings)
    values = np.array(scores, np.float32) / 64
    paid = pay_steps(values, config, first=first, ends=ends)
    assert paid.dtype == np.float32
    assert np.allclose(paid, recount(values, config, first, ends), atol=1e-6)
