"""Emulates a reward device: score() waits as long as the device would take.

Pass the hook to ray.init, which runs it in its worker processes. It replaces
RewardModel.score alone, so that everything else that is measured is the
package's code. The wait releases Python's global lock and uses no core. A
device does one batch at a time: lanes that score together wait for each other.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np


def hook(seconds_per_frame: float) -> dict[str, Callable[[], None]]:
    """Return a runtime_env for ray.init with which reward models wait and draw random scores."""

    def replace_score() -> None:  # a nested function, so that Ray pickles it by value
        from rllib_vlm_reward.reward_model.model import RewardModel

        device, rng = threading.Lock(), np.random.default_rng(0)

        def score(self: Any, frames: Any, goals: Any, scorer: Any) -> Any:
            with device:
                time.sleep(seconds_per_frame * len(goals))
                return rng.random(len(goals), np.float32)

        RewardModel.score = score

    return {"worker_process_setup_hook": replace_score}
