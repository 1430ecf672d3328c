"""The output folder of a run, from which the run can be resumed."""

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydantic
from ray.rllib.algorithms.algorithm import Algorithm
from torch.utils.tensorboard import SummaryWriter

from rllib_vlm_reward.errors import ConfigError
from rllib_vlm_reward.files import FolderLock, write_text
from rllib_vlm_reward.frames import Frames
from rllib_vlm_reward.monitoring import metric_names as names
from rllib_vlm_reward.run.experiment import Experiment
from rllib_vlm_reward.run.manifest import check_files, list_files
from rllib_vlm_reward.run.progress import Progress, read_progress, write_progress
from rllib_vlm_reward.settings import messages

__all__ = ["RunFolder"]

# RLlib's settings of how a run is distributed, which may change when it is resumed.
ELSEWHERE = {
    "num_env_runners",
    "num_cpus_per_env_runner",
    "num_gpus_per_env_runner",
    "sample_timeout_s",
    "num_learners",
    "num_cpus_per_learner",
    "num_gpus_per_learner",
}

_REWARD = f"{names.ENV_RUNNERS}/{names.GROUP}"
# Where the metrics of the first groups come from.
_ORIGINS = {
    names.FIRST_GROUP: _REWARD,
    names.FIRST_OF_AGENTS: f"{_REWARD}/{names.AGENTS}",
    names.FIRST_OF_EVALUATION: f"{names.EVALUATION}/{_REWARD}",
}


class RunFolder:
    """The output folder: ``config.yaml``, ``checkpoint/``, ``progress.jsonl``, events and results.

    Args:
        path: the folder; created if it does not exist. Until :meth:`close`, no other process can
            open it.
        experiment: the settings of the run.
        resume: whether to resume from the checkpoint in the folder.

    Attributes:
        path: the folder.
        checkpoint: path of the checkpoint.
        history: the progress of all iterations so far.

    Raises:
        FileExistsError: the folder contains a run, and ``resume`` is off; or another process is
            writing it.
        FileNotFoundError: ``resume`` is on, and there is no checkpoint.
        ConfigError: ``resume`` is on, and the run in the folder has other settings, or none that
            can be read.
        CheckpointError: ``resume`` is on, and the checkpoint is damaged.
    """

    def __init__(self, path: Path, experiment: Experiment, *, resume: bool) -> None:
        self.path = path
        self.checkpoint = path / "checkpoint"
        self._config = path / "config.yaml"
        self._progress = path / "progress.jsonl"
        self._old, self._fresh = path / "checkpoint.old", path / "checkpoint.new"
        self.history: list[Progress] = []
        if resume and not path.is_dir():
            raise self._nothing_to_resume()
        self._lock = FolderLock(path)
        try:
            self._open(experiment, resume=resume)
        except BaseException:
            self._lock.release()
            raise

    def _open(self, experiment: Experiment, *, resume: bool) -> None:
        self._finish_save()
        if resume:
            self._check_resumable(experiment)
            self.history = read_progress(self.checkpoint / "progress.jsonl")
        elif self.checkpoint.exists():
            raise FileExistsError(
                f"output: {self.path} contains a run, expected an empty folder. Use --resume to "
                "continue it, or choose another --output."
            )
        write_text(self._config, experiment.to_yaml())
        if not isinstance(threading.excepthook, _OtherThreads):
            threading.excepthook = _OtherThreads(threading.excepthook)
        self._board = SummaryWriter(str(self.path), purge_step=self._next_step())

    def _nothing_to_resume(self) -> FileNotFoundError:
        return FileNotFoundError(
            f"resume: got no checkpoint in {self.path}, expected {self.checkpoint}. Start the "
            "run without --resume."
        )

    def _next_step(self) -> int | None:
        return self.history[-1].env_steps + 1 if self.history else None

    def _check_resumable(self, experiment: Experiment) -> None:
        if not self.checkpoint.exists():
            raise self._nothing_to_resume()
        check_files(self.checkpoint)
        before, reward = self._settings_before(), experiment.vlm_reward
        # A resumed run may train longer and on other machines; all else must stay the same.
        changed = _changes(_fixed(before.to_dict()), _fixed(experiment.to_dict()))
        rewards, remedy = [], ""
        if not reward.may_change:
            settings = before.vlm_reward.reward_settings, reward.reward_settings
            rewards = _changes(*settings, "vlm_reward.")
        if rewards:
            remedy = " To change the reward, set vlm_reward: {may_change: true}."
        if changed := changed + rewards:
            raise ConfigError(
                f"resume: got other settings than the run in {self.path}: {', '.join(changed)}; "
                "expected the same settings. Restore the old settings, or start a new run in "
                f"another --output.{remedy}"
            )

    def _settings_before(self) -> Experiment:
        """Return the settings of the run in the folder."""
        remedy = "Restore this file, such as from a copy of the run's YAML, or start a new run."
        if not self._config.is_file():
            raise ConfigError(
                f"resume: {self._config} is missing, expected the settings of the run. {remedy}"
            )
        try:
            return Experiment.from_file(self._config)
        except (pydantic.ValidationError, ConfigError) as error:
            found = messages(error) if isinstance(error, pydantic.ValidationError) else [str(error)]
            raise ConfigError(f"resume: {self._config}: {'; '.join(found)} {remedy}") from error

    def save_checkpoint(self, algorithm: Algorithm) -> None:
        """Save the algorithm and the progress so far; replace the old checkpoint as a whole."""
        self._finish_save()
        if self._fresh.exists():  # of a save that failed
            shutil.rmtree(self._fresh)
        algorithm.save_to_path(str(self._fresh.resolve()))
        write_progress(self._fresh / "progress.jsonl", self.history)
        list_files(self._fresh)
        if self.checkpoint.exists():
            self.checkpoint.rename(self._old)
        self._fresh.rename(self.checkpoint)
        shutil.rmtree(self._old, ignore_errors=True)

    def _finish_save(self) -> None:
        """Do what is left of a save that was interrupted between its renames.

        Only then there is an old checkpoint without a present one, and the new one is complete.
        """
        if not self._old.exists():
            return
        if not self.checkpoint.exists():
            (self._fresh if self._fresh.exists() else self._old).rename(self.checkpoint)
        shutil.rmtree(self._old, ignore_errors=True)

    def log(self, progress: Progress, result: dict[str, Any]) -> None:
        """Add an iteration to the progress, and all numbers of RLlib's result to TensorBoard."""
        self.history.append(progress)
        write_progress(self._progress, self.history)
        first = result.get(names.FIRST_GROUP, {})
        speed = {names.ENV_STEPS_PER_SECOND: progress.env_steps_per_second}
        self._log_scalars({**result, names.FIRST_GROUP: {**first, **speed}})

    def log_evaluation(self, result: dict[str, Any]) -> None:
        """Add all numbers of the evaluation at the end of the run to TensorBoard."""
        whole = {names.EVALUATION: result}
        names.add_first_group(whole)
        self._log_scalars(whole)

    def _log_scalars(self, result: dict[str, Any]) -> None:
        for name, value in _scalars(result).items():
            self._board.add_scalar(name, value, self.history[-1].env_steps)

    def log_frames(self, name: str, frames: Frames, env_steps: int) -> None:
        """Add a picture, uint8 ``[H, W, 3]``, to the group that TensorBoard shows first."""
        tag = f"{names.FIRST_GROUP}/{name}"
        self._board.add_image(tag, frames, env_steps, dataformats="HWC")

    def log_scores(
        self,
        name: str,
        counts: npt.NDArray[np.int64],
        env_steps: int,
        *,
        bounds: tuple[float, float],
    ) -> None:
        """Add a histogram of scores to TensorBoard.

        Args:
            name: name of the histogram.
            counts: int64 ``[N]``: the number of scores in each of N equal bins.
            env_steps: number of env steps so far.
            bounds: the scores at which the first bin begins and the last bin ends.
        """
        edges = np.linspace(*bounds, len(counts) + 1)
        middles = (edges[:-1] + edges[1:]) / 2
        self._board.add_histogram_raw(
            f"{names.SCORES}/{name}",
            min=bounds[0],
            max=bounds[1],
            num=int(counts.sum()),
            sum=float(counts @ middles),
            sum_squares=float(counts @ middles**2),
            bucket_limits=edges[1:].tolist(),
            bucket_counts=counts.tolist(),
            global_step=env_steps,
        )

    def save_summary(self, summary: dict[str, Any]) -> None:
        """Write ``summary.json``."""
        write_text(self.path / "summary.json", json.dumps(summary, indent=2) + "\n")

    def close(self) -> None:
        """Write all remaining TensorBoard events, and let other processes open the folder."""
        try:
            self._board.close()
        finally:
            self._lock.release()


class _OtherThreads:
    """Reports failed threads, but not the one that writes TensorBoard's file.

    The writer's next call raises that error, or the ``flush`` with which its ``close`` begins. The
    thread may fail after that, so this stays in place when the folder is closed.
    """

    def __init__(self, report: Callable[[threading.ExceptHookArgs], Any]) -> None:
        self._report = report

    def __call__(self, failed: threading.ExceptHookArgs) -> None:
        """Be ``threading.excepthook``."""
        if not type(failed.thread).__module__.startswith("tensorboard."):
            self._report(failed)


def _fixed(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that may not change when a run is resumed, without the reward's."""
    return {
        section: {key: value for key, value in values.items() if key not in ELSEWHERE}
        if isinstance(values, dict)
        else values
        for section, values in settings.items()
        if section not in ("stop", "vlm_reward", "fault_tolerance", "reporting", "evaluation")
    }


def _changes(was: dict[str, Any], now: dict[str, Any], place: str = "") -> list[str]:
    """Return each key whose value differs, with the value that it had and that it has now."""
    found: list[str] = []
    for key in sorted(was.keys() | now.keys()):
        before, after = was.get(key), now.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            found += _changes(before, after, f"{place}{key}.")
        elif before != after:
            found.append(f"{place}{key} (was {before!r}, now {after!r})")
    return found


def _scalars(result: dict[str, Any]) -> dict[str, float]:
    """Return the numbers of a result by their TensorBoard tags.

    Metrics of the first groups are not repeated where they come from. RLlib's metrics without a
    group are put into the group ``rllib``; otherwise TensorBoard would make a group for each.
    """
    found = _numbers(result)
    for group, origin in _ORIGINS.items():
        for name in [name for name in found if name.startswith(f"{group}/")]:
            found.pop(origin + name.removeprefix(group), None)
    return {name if "/" in name else f"rllib/{name}": value for name, value in found.items()}


def _numbers(result: dict[str, Any], prefix: str = "") -> dict[str, float]:
    found: dict[str, float] = {}
    for key, value in result.items():
        if key in ("config", "hist_stats"):
            continue
        if isinstance(value, dict):
            found |= _numbers(value, f"{prefix}{key}/")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            found[f"{prefix}{key}"] = float(value)
    return found
