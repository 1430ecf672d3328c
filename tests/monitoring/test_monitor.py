"""What the driver makes of the statistics that env runners log."""

import logging
import pickle

import pytest

from rllib_vlm_reward.errors import AlarmError, RewardError
from rllib_vlm_reward.monitoring.monitor import RewardMonitor
from rllib_vlm_reward.monitoring.score_statistics import ScoreStatistics
from rllib_vlm_reward.monitoring.scored_steps import truth_of

ACTOR = {"encoder_fingerprint": "a" * 64, "precision": "fp32"}
OTHER = {**ACTOR, "encoder_fingerprint": "b" * 64}


def result_of(*chunks, agent=None):
    """Return an iteration's result with the statistics of each chunk, as RLlib hands it over."""
    items = [(agent, chunk.pack()) for chunk in chunks]
    logged = {"vlm_reward": {"score_statistics": items if len(items) > 1 else items[0]}}
    return {"training_iteration": 1, "env_runners": logged}


def steps(*rows):
    scores, fired, truths = zip(*rows, strict=True)
    return ScoreStatistics.of(["e"] * len(rows), scores, fired, [truth_of(it) for it in truths])


SOME = steps((0.9, True, True), (0.001, False, False), (0.7, True, False), (0.2, False, True))
SAME = steps(*[(0.05, False, None)] * 300)


def test_one_fragment_and_several_come_to_the_same(vlm_config):
    for chunks in ([SOME], [SOME, SOME]):
        result = result_of(*chunks)
        monitor = RewardMonitor(vlm_config(threshold=0.5))
        monitor.update(result, [ACTOR])
        logged = result["env_runners"]["vlm_reward"]
        assert (logged["precision"], logged["recall"], logged["fires_share"]) == (0.5, 0.5, 0.5)
        assert monitor.statistics[None].steps == 4 * len(chunks)
        assert not any(logged["alarm"].values())


def test_an_alarm_is_logged_and_a_metric(vlm_config, caplog):
    result = result_of(SAME)
    monitor = RewardMonitor(vlm_config())
    with caplog.at_level(logging.WARNING, logger="rllib_vlm_reward"):
        monitor.update(result, [ACTOR])
    assert "reward alarm, constant" in caplog.text
    assert result["env_runners"]["vlm_reward"]["alarm"]["constant"] == 1.0
    assert monitor.in_force == ["constant"]


def test_it_is_an_error_if_so_configured(vlm_config):
    result = result_of(SAME)
    with pytest.raises(AlarmError, match="hardly depend on the frame") as raised:
        RewardMonitor(vlm_config(alarms="error")).update(result, [ACTOR])
    assert isinstance(raised.value, RewardError)
    assert result["env_runners"]["vlm_reward"]["alarm"]["constant"] == 1.0


def test_an_agent_with_a_reward_of_its_own_is_monitored_apart(vlm_config, caplog):
    vlm = vlm_config(agents={"a1": {"threshold": 0.5}, "a2": None})
    result = result_of(SAME, agent="a1")
    RewardMonitor(vlm).update(result, [ACTOR])
    logged = result["env_runners"]["vlm_reward"]
    assert logged["agents"]["a1"]["alarm"]["constant"] == 1.0
    assert logged["alarm"]["constant"] == 0.0
    assert "of agent 'a1', constant" in caplog.text


def test_another_model_is_a_drift_until_the_first_is_back(vlm_config):
    monitor = RewardMonitor(vlm_config())
    seen = []
    other_precision = {**ACTOR, "precision": "bf16"}
    for actors in ([ACTOR], [ACTOR, ACTOR], [ACTOR, OTHER], [], [other_precision], [OTHER]):
        monitor.update(result_of(SOME), actors)
        seen.append(monitor.in_force)
    assert seen == [[], [], ["drift"], [], [], ["drift"]]


def test_the_model_of_the_start_is_kept_in_a_checkpoint(vlm_config):
    before, restored = (RewardMonitor(vlm_config(agents={"a1": {}})) for _ in range(2))
    before.update(result_of(SAME, agent="a1"), [ACTOR])
    restored.set_state(pickle.loads(pickle.dumps(before.get_state())))
    restored.update(result_of(SOME), [OTHER])
    assert restored.in_force == ["constant", "drift"]
    restored.set_state({})
    restored.update(result_of(SOME), [OTHER])
    assert restored.in_force == []


def test_rewards_do_not_depend_on_it(vlm_config):
    assert vlm_config(alarms="off").reward_settings == vlm_config().reward_settings


EXPERTS = {"large": {"encoder": "base"}, "small": {"encoder": "small"}}


def heard_of(*fragments):
    """Return a result with what the experts answered in fragments of 10 frames."""
    result = result_of(SOME)
    rows = [(None, 10, [("large", 10), ("small", answered)]) for answered in fragments]
    result["env_runners"]["vlm_reward"]["expert_answers"] = rows if len(rows) > 1 else rows[0]
    return result


def test_an_expert_that_did_not_answer_is_an_alarm_until_it_does(vlm_config, caplog):
    monitor = RewardMonitor(vlm_config(experts=EXPERTS))
    actors = [{**ACTOR, "expert": "large"}, {**OTHER, "expert": "small"}]  # two encoders
    for fragments, expected in ([(10, 10), 0.0], [(10, 7), 1.0], [(0,), 1.0], [(10,), 0.0]):
        result = heard_of(*fragments)
        monitor.update(result, actors)
        group = result["env_runners"]["vlm_reward"]
        assert group["alarm"]["expert"] == expected
        assert group["alarm"]["drift"] == 0.0
        assert "expert_answers" not in group
    assert caplog.text.count("of 20 frames, some experts answered fewer in time ('small' 17)") == 1


def test_other_weights_of_one_expert_are_a_drift_that_names_it(vlm_config, caplog):
    monitor = RewardMonitor(vlm_config(experts=EXPERTS))
    actors = [{**ACTOR, "expert": "large"}, {**OTHER, "expert": "small"}]
    monitor.update(heard_of(10), actors)
    again = RewardMonitor(vlm_config(experts=EXPERTS))
    again.set_state(monitor.get_state())
    again.update(heard_of(10), [actors[0], {**ACTOR, "expert": "small"}])
    assert again.in_force == ["drift"]
    assert "scores of expert 'small' come from another model" in caplog.text
