"""Wrong rewards are distinguished from a good one while an agent trains."""

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from wrong_rewards import blind, mixed, save_clip, shuffled

from rllib_vlm_reward.errors import AlarmError, RewardError
from rllib_vlm_reward.monitoring.alarms import KINDS
from rllib_vlm_reward.run import Experiment, train
from rllib_vlm_reward.run.progress import read_progress

pytestmark = pytest.mark.usefixtures("cluster")
FIND = """
environment:
  env: rllib_vlm_reward/Find-v0
  env_config: {room_size: 5, num_objects: 3, max_steps: 20}
vlm_reward:
  encoder: small
  goals: ["go to the {red|green|blue|purple|yellow|grey} {ball|box|key}"]
  templates:
    - goal: go to {}
      prompt: the agent is facing {}
      nothing: the agent is facing nothing
  threshold: 0.5
  frames: {source: obs}
  goal_embedding: true
policy: {module: rllib_vlm_reward.policies.GoalConditionedModule}
env_runners: {num_env_runners: 0, num_envs_per_env_runner: 16}
training: {train_batch_size_per_learner: 512, minibatch_size: 512, num_epochs: 1}
stop: {env_steps: 1536}
evaluation_episodes: 2
"""


def find(**reward):
    experiment = Experiment.from_yaml(FIND)
    vlm = experiment.vlm_reward.model_copy(update=reward)
    return experiment.model_copy(update={"vlm_reward": vlm})


def test_random_weights_raise_the_alarm_within_three_iterations(tmp_path):
    out = tmp_path / "run"
    summary = train(find(encoder=save_clip("small", mixed("small", 0), tmp_path)), out)
    assert {"constant", "blind", "contrary"} & set(summary["alarms"])
    rows = read_progress(out / "progress.jsonl")
    assert summary["alarms"] == sorted({kind for row in rows for kind in row.alarms})
    assert len(rows) == 3
    events = EventAccumulator(str(out)).Reload()
    for kind in KINDS:
        values = [it.value for it in events.Scalars(f"env_runners/vlm_reward/alarm/{kind}")]
        assert values == [float(kind in row.alarms) for row in rows]
    values = [it.value for it in events.Scalars("VLM_reward/alarms")]
    assert values == [len(row.alarms) for row in rows]


def test_a_constant_scorer_is_an_error(cluster, tmp_path):
    encoder = save_clip("small", blind("small"), tmp_path)
    algorithm = find(encoder=encoder).to_algorithm_config().build_algo()
    with pytest.raises(RewardError, match="for each of"):
        algorithm.train()
    algorithm.stop()


def test_a_good_reward_is_silent_and_shows_its_scores(tmp_path):
    summary = train(find(), tmp_path / "run")
    assert summary["alarms"] == []
    events = EventAccumulator(str(tmp_path / "run"), {"histograms": 0}).Reload()
    assert "VLM_reward/highest_scores" in events.Tags()["images"]
    assert {"VLM_reward_scores/success", "VLM_reward_scores/failure"} <= set(
        events.Tags()["histograms"]
    )
    counted = [
        event.histogram_value.num for event in events.Histograms("VLM_reward_scores/failure")
    ]
    assert len(counted) == 3
    recall = events.Scalars("VLM_reward/recall")[-1].value
    assert recall > 0.5


def test_shuffled_goals_end_a_run_that_asked_for_it_and_lose_nothing(tmp_path):
    said = []
    wrong = find(alarms="error", goals=shuffled(find().vlm_reward, 0).goals)
    with pytest.raises(AlarmError, match="scores rank successes"):
        train(wrong, tmp_path / "run", report=said.append)
    assert any("saving a checkpoint" in str(news) for news in said)
    checkpoint = tmp_path / "run" / "checkpoint"
    assert len(read_progress(checkpoint / "progress.jsonl")) < 3

    warned = wrong.model_copy(
        update={"vlm_reward": wrong.vlm_reward.model_copy(update={"alarms": "warn"})}
    )
    summary = train(warned, tmp_path / "run", resume=True)
    assert 1536 <= summary["env_steps"] < 1536 + 512
