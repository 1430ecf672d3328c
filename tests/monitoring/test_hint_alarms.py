"""Which hints are reported: those that never hold, and those that always hold from the start."""

import logging
import pickle

import pytest

from rllib_vlm_reward.errors import AlarmError
from rllib_vlm_reward.monitoring.hint_alarms import HintAlarms
from rllib_vlm_reward.monitoring.monitor import RewardMonitor
from rllib_vlm_reward.monitoring.score_statistics import ScoreStatistics

NAMES = ["lift {}: at {0}", "lift {}: near {0}", "find {}: far"]


def text_of(alarms):
    (alarm,) = alarms
    assert alarm.kind == "hints"
    return alarm.text


def test_a_hint_that_holds_nowhere_in_500_episodes_is_named():
    alarms = HintAlarms(NAMES)
    for _ in range(4):
        assert alarms.update([(0, 100, 0, 0), (1, 100, 3, 0)]) == []
    assert alarms.update([(0, 99, 0, 0), (1, 99, 99, 98)]) == []
    text = text_of(alarms.update([(0, 1, 0, 0), (2, 1, 0, 0)]))
    assert "held in no frame: 'lift {}: at {0}'." in text
    assert "near" not in text
    assert "far" not in text
    assert alarms.update([(0, 10, 1, 0)]) == []  # it holds at last


def test_a_hint_that_holds_at_each_reset_of_100_episodes_is_named():
    alarms = HintAlarms(NAMES)
    assert alarms.update([(1, 99, 99, 99)]) == []
    assert "first frame already: 'lift {}: near {0}'." in text_of(alarms.update([(1, 1, 1, 1)]))
    assert alarms.update([]) != []  # until an episode says otherwise
    assert alarms.update([(1, 50, 50, 49)]) == []
    both = alarms.update([(1, 100, 100, 100), (0, 500, 0, 0)])
    assert "held in no frame: 'lift {}: at {0}'; and in each of 100" in text_of(both)


def test_of_many_hints_five_are_named():
    alarms = HintAlarms([f"lift {{}}: {n}" for n in range(9)])
    text = text_of(alarms.update([(n, 500, 0, 0) for n in range(9)]))
    assert "'lift {}: 4' and 4 more" in text


def test_a_restored_run_goes_on_counting():
    before, after = HintAlarms(NAMES), HintAlarms(NAMES)
    before.update([(0, 300, 0, 0), (1, 60, 60, 60)])
    after.set_state(pickle.loads(pickle.dumps(before.get_state())))
    assert "'lift {}: at {0}'" in text_of(after.update([(0, 200, 0, 0), (1, 39, 39, 39)]))
    after.set_state([])
    assert after.update([(0, 200, 0, 0)]) == []


def result_of(*rows, agent=None):
    items = [(agent, rows), (agent, [])]
    statistics = [(agent, ScoreStatistics().pack())] * 2
    logged = {"vlm_reward": {"hint_episodes": items, "score_statistics": statistics}}
    return {"training_iteration": 1, "env_runners": logged}


def test_the_monitor_logs_it_once_and_keeps_it_in_its_state(vlm_config, caplog):
    given = {"goals": {"a {} wall": ["some {0} paint"]}, "weight": 1.0, "threshold": 0.5}
    vlm = vlm_config(hints=given, agents={"a1": {"hints": {"weight": 2.0}}, "a2": {"hints": None}})
    monitor = RewardMonitor(vlm)
    with caplog.at_level(logging.WARNING, logger="rllib_vlm_reward"):
        for _ in range(2):
            result = result_of((0, 250, 0, 0), agent="a1")
            monitor.update(result, [])
            monitor.update(result_of((0, 10, 0, 0)), [])
    assert caplog.text.count("reward alarm of agent 'a1', hints: some hints pay nothing") == 1
    assert "'a {} wall: some {0} paint'" in caplog.text
    assert result["env_runners"]["vlm_reward"]["agents"]["a1"]["alarm"]["hints"] == 1.0
    assert "hint_episodes" not in result["env_runners"]["vlm_reward"]
    assert monitor.in_force == ["hints"]
    restored = RewardMonitor(vlm.model_copy(update={"alarms": "error"}))
    restored.set_state(pickle.loads(pickle.dumps(monitor.get_state())))
    with pytest.raises(AlarmError, match="some hints pay nothing"):
        restored.update(result_of(agent="a1"), [])
