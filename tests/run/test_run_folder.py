import contextlib
import copy
import dataclasses
import queue
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from remedies import assert_helps
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer import event_file_writer

from rllib_vlm_reward.errors import CheckpointError, ConfigError
from rllib_vlm_reward.monitoring import metric_names as names
from rllib_vlm_reward.monitoring.metric_names import add_first_group
from rllib_vlm_reward.run import Experiment, loop
from rllib_vlm_reward.run.console import COLUMNS
from rllib_vlm_reward.run.progress import FIGURES, Progress, read_progress, write_progress
from rllib_vlm_reward.run.run_folder import RunFolder, _changes

ROW = Progress(1, 100, 1.0, None, None, None, None, 9.0)
EXPERIMENT = Experiment.from_file(Path(__file__).parents[2] / "configs" / "quickstart.yaml")


def opened(path, experiment=EXPERIMENT, *, resume=False):
    return contextlib.closing(RunFolder(path, experiment, resume=resume))


class Saved:
    """Stands for an algorithm: saves one file."""

    def __init__(self, content):
        self.content = content

    def save_to_path(self, path):
        Path(path).mkdir(parents=True)
        Path(path, "state").write_text(self.content)


def test_a_checkpoint_is_replaced_as_a_whole(tmp_path):
    with opened(tmp_path / "run") as folder:
        for content in ("first", "second"):
            folder.save_checkpoint(Saved(content))
    assert (folder.checkpoint / "state").read_text() == "second"
    left = {path.name for path in folder.path.iterdir() if path.is_dir()}
    assert left == {"checkpoint"}


def test_a_run_that_ended_before_its_first_checkpoint_starts_anew(tmp_path):
    with opened(tmp_path) as first:
        first.log(ROW, {"a": 1.0})
    with opened(tmp_path) as second:
        assert second.history == []


class Fails:
    """Stands for an algorithm: the disk is full when it saves."""

    def save_to_path(self, path):
        Path(path).mkdir(parents=True)
        raise OSError("No space left on device")


def killed_between_the_renames(path, *, newer):
    """A run folder whose last save did not get to its second rename."""
    with opened(path) as folder:
        folder.history.append(ROW)
        folder.save_checkpoint(Saved("older"))
    folder.checkpoint.rename(path / "checkpoint.old")
    if newer:
        Saved("newer").save_to_path(path / "checkpoint.new")
        write_progress(path / "checkpoint.new" / "progress.jsonl", [ROW])


@pytest.mark.parametrize("newer", [True, False])
def test_a_kill_between_the_renames_loses_nothing(tmp_path, newer):
    killed_between_the_renames(tmp_path, newer=newer)
    with opened(tmp_path, resume=True) as again:
        assert (again.checkpoint / "state").read_text() == ("newer" if newer else "older")
        assert again.history == [ROW]


def test_a_save_that_fails_after_an_interrupted_one_leaves_a_checkpoint(tmp_path):
    with opened(tmp_path) as folder:
        folder.history.append(ROW)
        folder.save_checkpoint(Saved("first"))
        folder.checkpoint.rename(tmp_path / "checkpoint.old")  # interrupted here
        with pytest.raises(OSError, match="No space"):
            folder.save_checkpoint(Fails())
    with opened(tmp_path, resume=True) as again:
        assert (again.checkpoint / "state").read_text() == "first"
        again.save_checkpoint(Saved("second"))
    assert not (tmp_path / "checkpoint.new").exists()


def test_resume_on_a_full_disk_keeps_the_settings(tmp_path, monkeypatch):
    with opened(tmp_path) as folder:
        folder.history.append(ROW)
        folder.save_checkpoint(Saved("x"))
    before = (tmp_path / "config.yaml").read_text()

    def full(*_):
        raise OSError("No space left on device")

    longer = EXPERIMENT.model_copy(
        update={"stop": EXPERIMENT.stop.model_copy(update={"env_steps": 10**9})}
    )
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with opened(tmp_path, resume=True):
            pass  # the same settings are not written
        with pytest.raises(OSError, match="No space"):
            opened(tmp_path, longer, resume=True)
    assert (tmp_path / "config.yaml").read_text() == before
    with opened(tmp_path, longer, resume=True):  # the failure gave the lock back
        assert "1000000000" in (tmp_path / "config.yaml").read_text()


def test_two_runs_do_not_share_a_folder(tmp_path):
    with opened(tmp_path), pytest.raises(FileExistsError, match="is writing this folder"):
        opened(tmp_path)
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        opened(tmp_path / "nothing", resume=True)
    assert not (tmp_path / "nothing").exists()


def learn(folder, monkeypatch, outcomes, algorithm):
    """Run the loop with made-up iterations; return its reports."""
    steps, news = iter(outcomes), []

    def iterate(*_):
        outcome = next(steps)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome, {}

    monitor = SimpleNamespace(histograms=list, highlights=None)
    callbacks = SimpleNamespace(monitor=monitor, show_highlights=lambda _: None)
    algorithm.config = SimpleNamespace(is_multi_agent=True)  # no evaluator
    monkeypatch.setattr(loop, "callbacks_of", lambda _: callbacks)
    monkeypatch.setattr(loop, "iterate", iterate)
    with pytest.raises(type(outcomes[-1]), match=str(outcomes[-1])):
        loop._learn(algorithm, EXPERIMENT, folder, news.append)
    return news


def test_any_error_ends_with_a_checkpoint(tmp_path, monkeypatch):
    with opened(tmp_path) as folder:
        news = learn(folder, monkeypatch, [ValueError("the env's")], Saved("x"))
        assert news == ["error in the first iteration: nothing to save"]
        assert not folder.checkpoint.exists()
        news = learn(folder, monkeypatch, [ROW, ValueError("the env's")], Saved("x"))
        assert news[-1] == "saved after iteration 1: resume with --resume"
    with opened(tmp_path, resume=True) as again:
        assert again.history == [ROW]


def test_an_error_is_not_hidden_by_a_save_that_fails_too(tmp_path, monkeypatch):
    with opened(tmp_path) as folder:
        news = learn(folder, monkeypatch, [ROW, ValueError("the env's")], Fails())
    assert "cannot be saved (OSError: No space left on device): there is none" in news[-1]


def test_a_resumed_run_may_be_longer_and_nothing_else(tmp_path):
    with opened(tmp_path) as folder:
        folder.history.append(ROW)
        folder.save_checkpoint(Saved("x"))
    longer = EXPERIMENT.model_copy(
        update={"stop": EXPERIMENT.stop.model_copy(update={"env_steps": 10**9})}
    )
    with opened(tmp_path, longer, resume=True) as again:
        assert again.history == [ROW]
    with pytest.raises(ConfigError, match="seed"):
        opened(tmp_path, EXPERIMENT.model_copy(update={"seed": 9}), resume=True)


def test_a_resumed_run_may_compute_its_rewards_elsewhere_but_no_others(tmp_path):
    def with_reward(**changes):
        vlm = EXPERIMENT.vlm_reward.model_copy(update=changes)
        return EXPERIMENT.model_copy(update={"vlm_reward": vlm})

    with opened(tmp_path) as folder:
        folder.history.append(ROW)
        folder.save_checkpoint(Saved("x"))
    served = with_reward(serving={"num_actors": 8, "num_gpus_per_actor": 0.5})
    fewer = {**EXPERIMENT.env_runners, "num_env_runners": 0}
    for allowed in (served, EXPERIMENT.model_copy(update={"env_runners": fewer})):
        with opened(tmp_path, allowed, resume=True):
            pass
    with pytest.raises(
        ConfigError, match=r"vlm_reward\.threshold \(was 0\.5, now 0\.9\).*may_change"
    ):
        opened(tmp_path, with_reward(threshold=0.9), resume=True)
    with opened(tmp_path, with_reward(threshold=0.9, may_change=True), resume=True):
        pass


def test_a_reward_that_gains_or_loses_a_part_is_another_one(tmp_path):
    templates = [{"goal": "{}", "noun": "{}"}]
    changes = {
        "bonus": {"bonus": {"kind": "focal", "weight": 1.0}},
        "hints": {"hints": {"goals": {"pick up {}": ["at {0}"]}, "weight": 1.0, "threshold": 0.5}},
        "goal_map": {"goal_map": True, "mode": "synchronous"},
        "experts": {"experts": {"a": {"encoder": "small"}, "b": {"encoder": "base"}}},
    }
    for key, change in changes.items():
        plain = {"encoder": "grounded", "templates": templates, "threshold": None}
        rewards = [EXPERIMENT.vlm_reward.model_copy(update={**plain, **it}) for it in ({}, change)]
        runs = [EXPERIMENT.model_copy(update={"vlm_reward": reward}) for reward in rewards]
        for before, now in (runs, runs[::-1]):
            path = tmp_path / f"{key}-{now is runs[0]}"
            with opened(path, before) as folder:
                folder.save_checkpoint(Saved("x"))
            with pytest.raises(ConfigError, match=rf"vlm_reward\.{key}.* \(was .*may_change"):
                opened(path, now, resume=True)
            allowed = now.vlm_reward.model_copy(update={"may_change": True})
            with opened(path, now.model_copy(update={"vlm_reward": allowed}), resume=True):
                pass


TORN = {
    "a part of the checkpoint is missing": ("checkpoint/state", None, CheckpointError),
    "a file of it ends too early": ("checkpoint/state", "", CheckpointError),
    "a byte of it has changed": ("checkpoint/state", "y", CheckpointError),
    "its list ends too early": ("checkpoint/files.json", '{"state": 1', CheckpointError),
    "its list is none": ("checkpoint/files.json", "[]", CheckpointError),
    "the settings are missing": ("config.yaml", None, ConfigError),
    "they are empty": ("config.yaml", "", ConfigError),
    "they end too early": ("config.yaml", EXPERIMENT.to_yaml()[:200], ConfigError),
}


@pytest.mark.parametrize("torn", TORN)
def test_a_folder_that_is_damaged_is_not_resumed(tmp_path, torn):
    with opened(tmp_path) as folder:
        folder.save_checkpoint(Saved("x"))
    name, content, error = TORN[torn]
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(error, match=Path(name).name) as raised:
        opened(tmp_path, resume=True)
    assert_helps(raised.value)


@pytest.mark.parametrize("content", ["{", "[]\n", '{"iteration": 1}\n', None])
def test_a_progress_that_cannot_be_read_is_an_error(tmp_path, content):
    path = tmp_path / "progress.jsonl"
    if content is not None:
        path.write_text(content)
    with pytest.raises(CheckpointError, match=r"progress\.jsonl: cannot be read"):
        read_progress(path)


RESULT = {
    "env_runner_group": {"actor_manager_num_outstanding_async_reqs": 0},
    "env_runners": {
        "episode_return_mean": 0.5,
        "vlm_reward": {
            "vlm_return_mean": 0.5,
            "frames": 7,
            "alarms": 1.0,
            "alarm": {"gap": 1.0},
            "agents": {"a0": {"precision": 1.0, "frames": 3}},
        },
    },
    "evaluation": {"env_runners": {"vlm_reward": {"ground_truth_success": 1.0, "frames": 2}}},
    "time_this_iter_s": 3.0,
}


def test_tensorboard_shows_each_figure_once_and_the_useful_ones_first(tmp_path):
    result = copy.deepcopy(RESULT)
    add_first_group(result)
    with opened(tmp_path) as folder:
        folder.log(ROW, result)
    assert EventAccumulator(str(tmp_path)).Reload().Tags()["scalars"] == [
        "env_runner_group/actor_manager_num_outstanding_async_reqs",
        "env_runners/episode_return_mean",
        "env_runners/vlm_reward/frames",
        "env_runners/vlm_reward/alarm/gap",
        "env_runners/vlm_reward/agents/a0/frames",
        "evaluation/env_runners/vlm_reward/frames",
        "rllib/time_this_iter_s",
        "VLM_reward/vlm_return_mean",
        "VLM_reward/alarms",
        "VLM_reward/env_steps_per_second",
        "VLM_reward_agents/a0/precision",
        "VLM_reward_evaluation/ground_truth_success",
    ]


def test_the_first_page_of_tensorboard_has_room_for_all_that_a_run_shows_first():
    pictures = {names.EPISODE_PICTURE, names.HIGHEST_SCORES, names.CURRICULUM}
    assert len({*names.FIRST, names.ENV_STEPS_PER_SECOND, *pictures}) <= 12


def test_console_json_and_tensorboard_have_one_name_for_a_figure():
    in_json = {field.name for field in dataclasses.fields(Progress)}
    assert set(COLUMNS) <= in_json
    assert {*FIGURES, names.ENV_STEPS_PER_SECOND} < set(COLUMNS)
    assert set(FIGURES) <= set(names.FIRST)
    assert names.ALARMS in in_json
    assert names.CURRICULUM in in_json


def test_changes_name_the_key_with_what_it_was_and_is_now():
    was = {"seed": 0, "training": {"lr": 0.1, "gamma": 0.9}, "policy": {"model_config": {"a": 1}}}
    now = {"seed": 1, "training": {"lr": 0.1, "gamma": 0.8}, "policy": {"model_config": {}}}
    assert _changes(was, now) == [
        "policy.model_config.a (was 1, now None)",
        "seed (was 0, now 1)",
        "training.gamma (was 0.9, now 0.8)",
    ]


class FullDisk:
    """Where TensorBoard's thread writes."""

    def write(self, data):
        raise OSError("File too large")


def failed(thread):
    thread.start()
    thread.join()


def test_the_error_of_tensorboards_thread_is_not_shown_twice(tmp_path, monkeypatch):
    """The next call of the writer raises it; other threads' errors are shown."""
    shown = []
    monkeypatch.setattr(threading, "excepthook", shown.append)
    with opened(tmp_path / "run"):
        items = queue.Queue()
        items.put(b"event")
        writer = event_file_writer._AsyncWriterThread(items, FullDisk(), flush_secs=1)
        failed(writer)
        assert isinstance(writer.exception, OSError)
        assert not shown
        failed(threading.Thread(target=lambda: {}["of a user"]))
        assert [each.exc_type for each in shown] == [KeyError]
    failed(threading.Thread(target=lambda: {}["after it"]))
    assert len(shown) == 2
