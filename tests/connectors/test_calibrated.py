import pytest
import ray

from rllib_vlm_reward.config import Calibration
from rllib_vlm_reward.errors import LabelError
from rllib_vlm_reward.plugin import add_vlm_reward
from rllib_vlm_reward.reward_model.clip import CLIPEncoder
from rllib_vlm_reward.reward_model.heads import head_summary

FIGURE = {"value": 0.4, "low": 0.3, "high": 0.5}


def calibrated(config, weights):
    goals = config.goal_set
    return Calibration(
        version=2,
        encoder="another",
        weights=weights,
        encoder_precision="fp32",
        frame_source=config.frames.source,
        head=head_summary(config.head),
        head_sha256=config.head.digest(),
        temperature=config.head.temperature,
        goals=goals.texts,
        statements=goals.statements,
        goals_sha256=goals.fingerprint,
        threshold=FIGURE,
        target={"precision": 0.9},
        precision=FIGURE,
        recall=FIGURE,
        false_positives=FIGURE,
        frames=1,
        successes=1,
        episodes=1,
    )


def test_a_calibration_of_other_weights_stops_the_build(vlm_config, ppo, cluster):
    plain = vlm_config()
    other = plain.model_copy(update={"calibration": calibrated(plain, "0" * 64)})
    with pytest.raises(LabelError, match="calibrate again"):
        add_vlm_reward(ppo(), other).build_algo()


def test_a_calibration_of_the_same_weights_pays_by_its_threshold(vlm_config, ppo, cluster, caplog):
    plain = vlm_config()
    own = calibrated(plain, CLIPEncoder.load(plain.encoder).fingerprint)
    own = own.model_copy(update={"unseen_goals": plain.goal_set.texts[:1]})
    config = plain.model_copy(update={"calibration": own})
    assert config.threshold_in_force == 0.4
    algorithm = add_vlm_reward(ppo(), config).build_algo()
    told = [each for each in caplog.messages if "had no labelled frame" in each]
    assert told == [own.caveat]
    algorithm.train()
    algorithm.stop()
    assert ray.is_initialized()
