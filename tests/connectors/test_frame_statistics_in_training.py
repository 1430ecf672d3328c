"""What env runners log about their frames reaches the monitor; a still scene is not looked at."""

import logging

import pytest

from rllib_vlm_reward.errors import AlarmError
from rllib_vlm_reward.monitoring.monitor import RewardMonitor


def logged(runner):
    runner.sample()
    group = runner.metrics.peek(("vlm_reward",), default={})
    return [*group.get("frame_statistics", ())]


def result_of(items):
    return {
        "training_iteration": 1,
        "env_runners": {"vlm_reward": {"frame_statistics": items if len(items) > 1 else items[0]}},
    }


@pytest.mark.parametrize("mode", ["deferred", "synchronous"])
def test_blank_frames_of_an_env_runner_raise_an_alarm(mode, vlm_config, env_runner, caplog):
    """Every frame of the painted env has one colour."""
    vlm = vlm_config(mode=mode)
    runner = env_runner(vlm)
    (item,) = logged(runner)
    agent, _, rows = item
    assert agent is None
    assert [row[0] for row in rows] == [0, 1, 2]
    assert all(frames == blank > 10 for _, frames, blank, _, _ in rows)
    monitor, result = RewardMonitor(vlm), result_of([item])
    with caplog.at_level(logging.WARNING, logger="rllib_vlm_reward"):
        monitor.update(result, [])
    assert monitor.in_force == ["blank"]
    assert "sub-env 2 of env runner" in caplog.text
    assert "frame_statistics" not in result["env_runners"]["vlm_reward"]
    with pytest.raises(AlarmError, match="one colour"):
        RewardMonitor(vlm_config(alarms="error")).update(result_of([item]), [])


@pytest.mark.parametrize("keys", [{"alarms": "off"}, {"frames": {"still": True}}])
def test_a_still_scene_can_be_declared(keys, vlm_config, env_runner):
    assert logged(env_runner(vlm_config(**keys))) == []
