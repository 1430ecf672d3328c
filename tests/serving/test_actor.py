"""What a reward actor does before it scores, in this process."""

import numpy as np
import pytest

from rllib_vlm_reward.config import ServingConfig
from rllib_vlm_reward.serving.actor import RewardActor


@pytest.mark.parametrize(("given", "sizes"), [(None, [2**i for i in range(4, 11)]), (24, [24])])
def test_it_measures_the_batch_size_unless_it_is_given(given, sizes, cluster, tiny_clip):
    actor = RewardActor(tiny_clip, ServingConfig(max_batch_size=given), num_cpus=1)
    assert actor.describe()["batch_size"] in sizes
    assert np.allclose(np.linalg.norm(actor.embed_texts(["a ball"]), axis=1), 1.0)
