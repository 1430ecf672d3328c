"""Emulates a reward device: score() waits as long as the device would take.

Pass the hook to ray.init, which runs it in its worker processes. It replaces
RewardModel.score alone, so that everything else that is measured is the
package's code. The wait releases Python's global lock and uses no core. A
device does one batch at a time: lanes that score together wait for each other.
"""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np


def hook(
    seconds_per_frame: float, shares: Mapping[str, float] | None = None
) -> dict[str, Callable[[], None]]:
    """Return a runtime_env for ray.init with which reward models wait and draw random scores.

    Args:
        seconds_per_frame: how long a device takes.
        shares: by the fingerprint of an encoder, the share of this time that its device takes.
    """

    def replace_score() -> None:  # a nested function, so that Ray pickles it by value
        from rllib_vlm_reward.reward_model.model import RewardModel

        device, rng = threading.Lock(), np.random.default_rng(0)

        def score(self: Any, frames: Any, goals: Any, scorer: Any) -> Any:
            share = (shares or {}).get(self.encoder.fingerprint, 1.0)
            with device:
                time.sleep(share * seconds_per_frame * len(goals))
                return rng.random(len(goals), np.float32)

        RewardModel.score = score

    return {"worker_process_setup_hook": replace_score}
