import pytest
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.run.evaluation import _false_positives


def config(**changes):
    return VLMRewardConfig(
        encoder="small", goals=["a ball", "a key"], **{"threshold": 0.5, **changes}
    )


def episode(*steps, env_reward=-7.0, weight=0.0):
    """Steps of (fired, success); success None is not told."""
    made = SingleAgentEpisode()
    made.add_env_reset(0.0, {})
    for fired, success in steps:
        info = {"env_reward": env_reward} | ({} if success is None else {"success": success})
        made.add_env_step(0.0, 0, float(fired) + weight * env_reward, info)
    return made


EPISODES = [((1, False), (1, True), (0, False)), ((1, False), (1, False)), ((0, True),)]


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_what_fired_without_success_is_counted_an_episode(weight):
    played = [episode(*steps, weight=weight) for steps in EPISODES]
    assert _false_positives(played, config(env_reward_weight=weight)) == pytest.approx(3 / 3)


def test_where_the_env_is_mute_or_nothing_fires_there_is_no_count():
    assert _false_positives([episode((1, None))], config()) is None
    assert _false_positives([episode((1, False))], config(threshold=None)) is None
