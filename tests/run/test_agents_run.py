"""Several agents, from a YAML to the summary."""

import json

import numpy as np
import painted_run
import pytest
import yaml
from pages import ROOT, files_of
from painted import ENV_REWARD
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_train import run

from rllib_vlm_reward.run.progress import read_progress
from rllib_vlm_reward.sweep import ExperimentTrial

RUN = """
environment:
  env: painted_run.ReportingAgents
  env_config: {goals: {a1: [a black wall, a white wall]}}
multi_agent:
  policies: [first, others]
  policy_mapping_fn: painted_run.policy_of
  policies_to_train: [first]
callbacks:
  callbacks_class: [painted_run.Counting]
  on_episode_end: painted_run.note_episode
evaluation:
  evaluation_interval: 1
  evaluation_config:
    env_config: {remembers: true, goals: {a1: [a black wall, a white wall]}}
vlm_reward:
  encoder: small
  goals: [a red wall, a blue wall, a green wall]
  head: {kind: softmax, temperature: 0.3}
  frames: {source: info:rgb}
  agents: {a1: {goals: [a black wall, a white wall]}, a2: null}
policy: {module: null, model_config: {fcnet_hiddens: [8]}}
env_runners: {num_env_runners: 0, num_envs_per_env_runner: 2}
training: {train_batch_size_per_learner: 128, minibatch_size: 64, num_epochs: 1}
stop: {env_steps: 256}
evaluation_episodes: 4
"""
AGENTS = ("a0", "a1", "a2")


@pytest.fixture(scope="module")
def trained(tmp_path_factory, cluster):
    folder = tmp_path_factory.mktemp("run")
    config = folder / "config.yaml"
    config.write_text(RUN)
    painted_run.EVENTS.clear()
    painted_run.ReportingAgents.played.clear()
    result = run("train", config, "--output", folder / "out")
    assert result.exit_code == 0, (result.output, result.exception)
    return config, folder / "out", result.output, list(painted_run.ReportingAgents.played)


def test_the_summary_has_the_evaluations_means_by_agent(trained):
    _, out, _, played = trained
    summary = json.loads((out / "summary.json").read_text())
    assert len(played) > 4, "training was to evaluate too"
    last = played[-4:]
    assert summary["evaluation_episodes"] == 4
    agents = summary["agents"]
    assert tuple(agents) == AGENTS
    for agent in AGENTS:
        lengths = [each[agent] for each in last]
        assert agents[agent]["ground_truth_return_mean"] == pytest.approx(
            ENV_REWARD * np.mean(lengths)
        )
    even = [each["a0"] % 2 == 0 for each in last]
    assert agents["a0"]["ground_truth_success"] == pytest.approx(np.mean(even))
    assert agents["a1"]["ground_truth_success"] is None
    for agent in ("a0", "a1"):  # a softmax's scores lie between 0 and 1
        lengths = [each[agent] for each in last]
        assert 0 < agents[agent]["vlm_return_mean"] < np.mean(lengths)
    assert agents["a2"]["vlm_return_mean"] is None
    paid = [agents[agent]["vlm_return_mean"] for agent in ("a0", "a1")]
    assert summary["vlm_return_mean"] == pytest.approx(np.mean(paid))


def test_progress_and_console_report_by_agent(trained):
    _, out, output, _ = trained
    rows = read_progress(out / "progress.jsonl")
    assert tuple(rows[-1].agents) == AGENTS
    seen = rows[-1].agents["a0"]
    assert seen["ground_truth_return_mean"] < 0 < seen["vlm_return_mean"]
    line = f"agent a0  vlm return mean {seen['vlm_return_mean']:.3f}"
    assert line in output
    assert "agent a2  vlm return mean -" in output
    assert '"agents"' in output


def test_tensorboard_has_both_evaluations_and_no_episode(trained):
    _, out, _, _ = trained
    events = EventAccumulator(str(out)).Reload()
    assert "VLM_reward/highest_scores" in events.Tags()["images"]
    assert "VLM_reward/episode" not in events.Tags()["images"]
    tag = "evaluation/env_runners/vlm_reward/agents/a0/vlm_return_mean"
    values = [event.value for event in events.Scalars(tag)]
    summary = json.loads((out / "summary.json").read_text())
    assert len(values) == len(read_progress(out / "progress.jsonl")) + 1
    assert values[-1] == pytest.approx(summary["agents"]["a0"]["vlm_return_mean"])


def test_nothing_of_a_single_agents_evaluation_is_left(trained):
    _, out, output, _ = trained
    assert not (out / "agent.gif").exists()
    assert (out / "returns.png").exists()
    assert "agent.gif" not in output
    summary = json.loads((out / "summary.json").read_text())
    assert not {"goal_blind_success", "random_policy_success", "held_out_success"} & {*summary}


def test_the_users_callbacks_are_called(trained):
    assert painted_run.EVENTS.count("algorithm") >= 1
    assert painted_run.EVENTS.count("episode") > 4


def test_a_run_of_several_agents_goes_on(trained):
    config, out, _, _ = trained
    before = read_progress(out / "progress.jsonl")
    config.write_text(yaml.safe_dump(yaml.safe_load(RUN) | {"stop": {"env_steps": 384}}))
    result = run("train", config, "--output", out, "--resume")
    assert result.exit_code == 0, (result.output, result.exception)
    after = read_progress(out / "progress.jsonl")
    assert after[: len(before)] == before
    assert len(after) == len(before) + 1


def test_a_command_that_plays_one_agent_refuses_several(trained, tmp_path):
    config, *_ = trained
    result = run("collect", config, "--output", tmp_path / "frames.parquet")
    assert "expected a run with a single agent" in str(result.exception)


def test_the_documented_yaml_trains(cluster, tmp_path, monkeypatch):
    for name, text in files_of(ROOT / "docs" / "multi-agent.md").items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))  # as the program does with the working directory
    small = ["stop.env_steps=128", "training.train_batch_size_per_learner=128"]
    small += ["training.num_epochs=1", "evaluation_episodes=2", "vlm_reward.encoder=small"]
    result = run(
        "train", "run.yaml", "--output", "out", *(w for it in small for w in ("--set", it))
    )
    assert result.exit_code == 0, (result.output, result.exception)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["evaluation_episodes"] == 2
    assert {*summary["agents"]} == {"seeker", "lifter"}
    for figures in summary["agents"].values():
        assert figures["ground_truth_success"] in (0, 0.5, 1)
        assert figures["vlm_return_mean"] is not None


def test_a_trial_of_a_search_reports_by_agent(cluster, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))  # Tune makes an empty folder there
    remote = {"num_env_runners": 1, "num_envs_per_env_runner": 2}
    changes = {"stop": {"env_steps": 128}, "env_runners": remote}
    trial = ExperimentTrial(yaml.safe_load(RUN) | changes)
    try:
        painted_run.ReportingAgents.played.clear()
        report = trial.train()
        last = painted_run.ReportingAgents.played[-4:]
    finally:
        trial.stop()
    even = [each["a0"] % 2 == 0 for each in last]
    assert report["objective"] == report["ground_truth_success"] == pytest.approx(np.mean(even))
    assert tuple(report["agents"]) == AGENTS
    assert report["done"]
