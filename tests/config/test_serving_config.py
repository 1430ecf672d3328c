import pytest
from pydantic import ValidationError

from rllib_vlm_reward.config import ServingConfig


def test_the_device_decides_unless_told():
    config = ServingConfig()
    assert (config.precision, config.max_batch_size) == ("auto", None)
    assert ServingConfig(precision="bf16", max_batch_size=1, cache_frames=0).cache_frames == 0


@pytest.mark.parametrize(
    "setting", [{"precision": "int8"}, {"max_batch_size": 0}, {"cache_frames": -1}]
)
def test_what_cannot_be_served_is_refused(setting):
    with pytest.raises(ValidationError, match=next(iter(setting))):
        ServingConfig(**setting)
