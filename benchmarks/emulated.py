"""A reward device that is not this machine's: score() waits as long as the device would take.

Given to ray.init as a hook of its worker processes, so that what is measured is the package's own
code, of which RewardModel.score alone is replaced. The wait holds no lock of Python's and costs no
core. A device does one batch at a time: lanes that score at once wait for each other.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np


def hook(seconds_per_frame: float) -> dict[str, Callable[[], None]]:
    """Return the runtime_env for ray.init, under which reward models wait and draw scores."""

    def replace_score() -> None:  # within, so that Ray sends it whole
        from rllib_vlm_reward.reward_model.model import RewardModel

        device, rng = threading.Lock(), np.random.default_rng(0)

        def score(self: Any, frames: Any, goals: Any, scorer: Any) -> Any:
            with device:
                time.sleep(seconds_per_frame * len(goals))
                return rng.random(len(goals), np.float32)

        RewardModel.score = score

    return {"worker_process_setup_hook": replace_score}
