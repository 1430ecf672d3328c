"""What a reward actor does before it scores, in this process."""

import numpy as np
import pytest

from rllib_vlm_reward.serving.actor import RewardActor


@pytest.mark.parametrize(("given", "sizes"), [(None, [2**i for i in range(4, 11)]), (24, [24])])
def test_it_measures_the_batch_size_unless_it_is_given(given, sizes, cluster, tiny_clip):
    actor = RewardActor(
        tiny_clip, precision="fp32", max_batch_size=given, cache_frames=0, num_cpus=1
    )
    assert actor.describe()["batch_size"] in sizes
    assert np.allclose(np.linalg.norm(actor.embed_texts(["a ball"]), axis=1), 1.0)
