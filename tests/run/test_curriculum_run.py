"""A run with a curriculum through the command line, and gone on with."""

import csv
import json

import pytest
import yaml
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_train import run

from rllib_vlm_reward.run.progress import read_progress

pytestmark = pytest.mark.usefixtures("cluster")
RUN = """
environment:
  env: rllib_vlm_reward/Playroom-v0
  env_config:
    {room_size: 5, num_objects: 2, max_steps: 10, colors: [red, blue], families: [find, lift]}
vlm_reward:
  encoder: small
  goals:
    goals: ["go to the {color} {kind}", "pick up the {color} {kind}"]
    words: {color: [red, blue], kind: [ball, box, key]}
    held_out: {num_pairs: 1}
  templates:
    - goal: go to {}
      prompt: the agent is facing {}
      nothing: the agent is facing nothing
      family: find
    - goal: pick up {}
      prompt: the agent is carrying {}
      nothing: the agent is carrying nothing
      family: lift
  threshold: 0.5
  frames: {source: obs}
  goal_embedding: true
curriculum: {kind: staged, promote_at: 0.0, window: 1, signal: ground_truth_success}
policy: {module: rllib_vlm_reward.policies.GoalConditionedModule}
env_runners: {num_env_runners: 0, num_envs_per_env_runner: 8}
training: {train_batch_size_per_learner: 256, minibatch_size: 128, num_epochs: 1}
stop: {env_steps: 512}
evaluation_episodes: 3
checkpoint_every: 1
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    config = folder / "config.yaml"
    config.write_text(RUN)
    result = run("train", config, "--output", folder / "out")
    assert result.exit_code == 0, (result.output, result.exception)
    return config, folder / "out"


def test_its_progress_is_kept_drawn_and_summed_up(trained):
    _, out = trained
    rows = read_progress(out / "progress.jsonl")
    assert [row.curriculum["stage"] for row in rows] == [1, 1]
    goals = rows[-1].curriculum["goals"]
    assert len(goals) == 10
    assert sum(its["weight"] for its in goals.values()) == pytest.approx(1)
    assert Image.open(out / "curriculum.png").size[0] > 500
    summary = json.loads((out / "summary.json").read_text())
    assert 0 <= summary["held_out_success"] <= 1
    assert 0 <= summary["held_out_goal_blind_success"] <= 1
    assert summary["false_positives_per_episode"] >= 0
    events = EventAccumulator(str(out)).Reload()
    assert "VLM_reward/curriculum" in events.Tags()["images"]
    assert "curriculum/families/find/weight" in events.Tags()["scalars"]


def test_a_resumed_run_goes_on_with_its_curriculum(trained):
    config, out = trained
    before = read_progress(out / "progress.jsonl")[-1].curriculum["goals"]
    longer = yaml.safe_load(RUN) | {"stop": {"env_steps": 768}}
    config.write_text(yaml.safe_dump(longer))
    result = run("train", config, "--output", out, "--resume")
    assert result.exit_code == 0, (result.output, result.exception)
    rows = read_progress(out / "progress.jsonl")
    assert len(rows) == 3
    after = rows[-1].curriculum["goals"]
    assert all(after[text]["episodes"] >= its["episodes"] for text, its in before.items())
    assert sum(its["episodes"] for its in after.values()) > sum(
        its["episodes"] for its in before.values()
    )


def test_a_resumed_run_refuses_another_curriculum(trained):
    config, out = trained
    other = yaml.safe_load(RUN) | {"curriculum": {"kind": "uniform"}}
    config.write_text(yaml.safe_dump(other))
    result = run("train", config, "--output", out, "--resume")
    assert result.exit_code != 0
    assert "curriculum" in str(result.exception)


FEW = ["go to the red ball", "go to the blue key", "pick up the red box", "pick up the blue ball"]
HELD_OUT = ["pick up the red key"]


def test_a_run_whose_goals_grow_goes_on_with_them_and_ends_with_a_table(tmp_path):
    settings = yaml.safe_load(RUN)
    settings["vlm_reward"] |= {"goals": FEW, "evaluation_goals": HELD_OUT}
    settings["curriculum"] = {
        "kind": "learning_progress",
        "propose": {"kind": "grammar", "every": 1, "at_once": 2},
    }
    config, out = tmp_path / "config.yaml", tmp_path / "out"
    added = {}
    for env_steps, more in ((768, ()), (1280, ("--resume",))):
        config.write_text(yaml.safe_dump(settings | {"stop": {"env_steps": env_steps}}))
        result = run("train", config, "--output", out, *more)
        assert result.exit_code == 0, (result.output, result.exception)
        with (out / "goals.csv").open() as file:
            rows = {row["goal"]: row for row in csv.DictReader(file)}
        assert [*rows][:4] == FEW
        assert added.items() <= {goal: row["since"] for goal, row in rows.items()}.items()
        added = {goal: row["since"] for goal, row in rows.items() if goal not in FEW}
        assert added
        assert all(rows[goal]["proposed_by"] == "grammar" for goal in added)
        assert all(rows[goal]["proposed_by"] == "configuration" for goal in FEW)
        # The words of the goals in every combination, but for what is held out.
        assert not added.keys() & {*HELD_OUT, *FEW}
        verbs, colors, kinds = ("go to the", "pick up the"), ("red", "blue"), ("ball", "key", "box")
        assert added.keys() <= {f"{v} {c} {k}" for v in verbs for c in colors for k in kinds}
        assert not any("red key" in goal for goal in added)  # of which only a held-out goal speaks
        last = read_progress(out / "progress.jsonl")[-1].curriculum
        assert last["growth"]["added"] == len(added)
        assert last["growth"]["goals"] == len(rows)
        assert sum(int(row["episodes"]) for row in rows.values()) > 0
    assert len(added) > 2
    assert Image.open(out / "curriculum.png").size[0] > 500
    events = EventAccumulator(str(out)).Reload()
    assert "curriculum/growth/added" in events.Tags()["scalars"]
    assert f"goals: {len(rows)}, of which {len(added)} were added" in result.output
