from types import SimpleNamespace

import painted
import pytest
from ray.rllib.algorithms.ppo import PPOConfig

from rllib_vlm_reward.connectors import pipeline

MAIN = RUNNER = {"CPU": 1.0}
REWARD = {"CPU": 0.5, "GPU": 0.5}


@pytest.mark.parametrize(
    ("bundles", "is_ours"),
    [
        ([MAIN, RUNNER, RUNNER, REWARD, REWARD], True),
        ([MAIN, RUNNER, RUNNER], False),  # as RLlib asks: its last two are no reward actors'
        ([MAIN, RUNNER, RUNNER, REWARD], False),
        (None, False),  # not in a group
    ],
)
def test_a_group_is_ours_with_a_bundle_more_for_each_actor(bundles, is_ours, monkeypatch):
    group = bundles and SimpleNamespace(bundle_specs=bundles)
    monkeypatch.setattr(pipeline, "get_current_placement_group", lambda: group)
    config = PPOConfig().environment(painted.PaintedEnv).env_runners(num_env_runners=2)
    found = pipeline.trial_group(config, 2)
    assert found is (group if is_ours else None)
