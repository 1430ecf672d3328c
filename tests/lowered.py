"""``small`` as it is on devices of other fastest precisions, where the actors find it."""

from unittest import mock

import ray

from rllib_vlm_reward.reward_model import precision
from rllib_vlm_reward.reward_model.clip import CLIPEncoder


class Lowered(CLIPEncoder):
    """As on a device whose fastest precision is bf16."""

    def __init__(self, device="cpu"):
        with mock.patch.object(precision, "best_precision", return_value=self.fastest()):
            self.__dict__.update(CLIPEncoder.load("small", device=device).__dict__)

    def fastest(self):
        return "bf16"


class Uneven(Lowered):
    """As in a pool whose first actor alone runs on such a device."""

    def fastest(self):
        return "bf16" if ray.get_runtime_context().get_actor_name().endswith("/0") else "fp32"
