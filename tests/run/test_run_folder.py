from pathlib import Path

import pytest

from rllib_vlm_reward.errors import ConfigError
from rllib_vlm_reward.run import Experiment
from rllib_vlm_reward.run.progress import Progress, write_progress
from rllib_vlm_reward.run.run_folder import RunFolder

ROW = Progress(1, 100, 1.0, None, None, None, 9.0)
EXPERIMENT = Experiment.from_file(Path(__file__).parents[2] / "configs" / "quickstart.yaml")


class Saved:
    """Stands for an algorithm: saves one file."""

    def __init__(self, content):
        self.content = content

    def save_to_path(self, path):
        Path(path).mkdir(parents=True)
        Path(path, "state").write_text(self.content)


def test_a_checkpoint_is_replaced_as_a_whole(tmp_path):
    folder = RunFolder(tmp_path / "run", EXPERIMENT, resume=False)
    for content in ("first", "second"):
        folder.save_checkpoint(Saved(content))
    assert (folder.checkpoint / "state").read_text() == "second"
    left = {path.name for path in folder.path.iterdir() if path.is_dir()}
    assert left == {"checkpoint"}


def test_a_run_that_ended_before_its_first_checkpoint_starts_anew(tmp_path):
    first = RunFolder(tmp_path, EXPERIMENT, resume=False)
    first.log(ROW, {"a": 1.0})
    assert RunFolder(tmp_path, EXPERIMENT, resume=False).history == []


def test_a_kill_between_the_renames_loses_nothing(tmp_path):
    folder = RunFolder(tmp_path, EXPERIMENT, resume=False)
    folder.history.append(ROW)
    folder.save_checkpoint(Saved("only"))
    folder.checkpoint.rename(tmp_path / "checkpoint.old")
    again = RunFolder(tmp_path, EXPERIMENT, resume=True)
    assert (again.checkpoint / "state").read_text() == "only"
    assert again.history == [ROW]


def test_a_resumed_run_may_be_longer_and_nothing_else(tmp_path):
    folder = RunFolder(tmp_path, EXPERIMENT, resume=False)
    folder.save_checkpoint(Saved("x"))
    write_progress(folder.checkpoint / "progress.jsonl", [ROW])
    longer = EXPERIMENT.model_copy(
        update={"stop": EXPERIMENT.stop.model_copy(update={"env_steps": 10**9})}
    )
    assert RunFolder(tmp_path, longer, resume=True).history == [ROW]
    with pytest.raises(ConfigError, match="seed"):
        RunFolder(tmp_path, EXPERIMENT.model_copy(update={"seed": 9}), resume=True)


def test_a_resumed_run_may_compute_its_rewards_elsewhere_but_no_others(tmp_path):
    def with_reward(**changes):
        vlm = EXPERIMENT.vlm_reward.model_copy(update=changes)
        return EXPERIMENT.model_copy(update={"vlm_reward": vlm})

    RunFolder(tmp_path, EXPERIMENT, resume=False).save_checkpoint(Saved("x"))
    write_progress(tmp_path / "checkpoint" / "progress.jsonl", [ROW])
    RunFolder(
        tmp_path, with_reward(serving={"num_actors": 8, "num_gpus_per_actor": 0.5}), resume=True
    )
    fewer = {**EXPERIMENT.env_runners, "num_env_runners": 0}
    RunFolder(tmp_path, EXPERIMENT.model_copy(update={"env_runners": fewer}), resume=True)
    with pytest.raises(
        ConfigError, match=r"vlm_reward\.threshold \(was 0\.5, now 0\.9\).*may_change"
    ):
        RunFolder(tmp_path, with_reward(threshold=0.9), resume=True)
    RunFolder(tmp_path, with_reward(threshold=0.9, may_change=True), resume=True)
