"""What is known after each iteration; a line of ``progress.jsonl``."""

import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ray.rllib.algorithms.algorithm import Algorithm

from rllib_vlm_reward.connectors.callbacks import callbacks_of
from rllib_vlm_reward.connectors.curriculum_progress import curriculum_progress
from rllib_vlm_reward.monitoring import metric_names as names

__all__ = ["Progress", "iterate", "read_progress", "write_progress"]

_SAMPLED = (names.ENV_RUNNERS, "num_env_steps_sampled_lifetime")


@dataclasses.dataclass(frozen=True, slots=True)
class Progress:
    """The state of a run after an iteration; means are over the last 100 episodes.

    Attributes:
        iteration: from 1.
        env_steps: sampled since the start of the run.
        wall_seconds: of training, resumed parts added up.
        vlm_return: what the VLM paid an episode; None before the first one ended.
        ground_truth_return: the env's own return.
        ground_truth_success: share of episodes; None if the env is mute.
        frames_per_second: scored in this iteration.
        curriculum: what it has come to, see :func:`.curriculum_progress`; None without one.
        alarms: kinds of the reward's alarms that hold, see :mod:`.monitoring.alarms`.
    """

    iteration: int
    env_steps: int
    wall_seconds: float
    vlm_return: float | None
    ground_truth_return: float | None
    ground_truth_success: float | None
    frames_per_second: float
    curriculum: dict[str, Any] | None = None
    alarms: list[str] = dataclasses.field(default_factory=list)

    @classmethod
    def from_result(
        cls,
        result: dict[str, Any],
        *,
        seconds: float,
        sampled_before: int,
        before: "Progress | None",
        curriculum: dict[str, Any] | None = None,
        alarms: Sequence[str] = (),
    ) -> "Progress":
        """Read an RLlib result.

        Args:
            result: of ``algorithm.train()``.
            seconds: that the iteration took.
            sampled_before: env steps when it began; more than ``before`` has where an iteration
                between was interrupted.
            before: the progress of the iteration before.
            curriculum: see the class.
            alarms: see the class.
        """
        # An iteration of IMPALA's or APPO's may end before an env runner has sent anything.
        runners, reward = result.get(names.ENV_RUNNERS, {}), names.reward_metrics(result)
        env_steps = int(runners.get("num_env_steps_sampled_lifetime", sampled_before))
        return cls(
            iteration=before.iteration + 1 if before else 1,
            env_steps=env_steps,
            wall_seconds=round((before.wall_seconds if before else 0.0) + seconds, 3),
            vlm_return=_number(reward.get(names.VLM_RETURN)),
            ground_truth_return=_number(reward.get(names.GROUND_TRUTH_RETURN)),
            ground_truth_success=_number(reward.get(names.GROUND_TRUTH_SUCCESS)),
            frames_per_second=round((env_steps - sampled_before) / seconds, 1),
            curriculum=curriculum,
            alarms=list(alarms),
        )


def iterate(algorithm: Algorithm, before: Progress | None) -> tuple[Progress, dict[str, Any]]:
    """Train for an iteration; return the progress and RLlib's result."""
    sampled_before = algorithm.metrics.peek(_SAMPLED, default=0)
    begin = time.perf_counter()
    result = algorithm.train()
    seconds = time.perf_counter() - begin
    progress = Progress.from_result(
        result,
        seconds=seconds,
        sampled_before=int(sampled_before),
        before=before,
        curriculum=curriculum_progress(algorithm),
        alarms=callbacks_of(algorithm).monitor.in_force,
    )
    return progress, result


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def write_progress(path: Path, history: list[Progress]) -> None:
    """Write one JSON object a line."""
    lines = [json.dumps(dataclasses.asdict(row)) for row in history]
    path.write_text("".join(f"{line}\n" for line in lines))


def read_progress(path: Path) -> list[Progress]:
    """Read what :func:`write_progress` wrote.

    Example:
        >>> import tempfile
        >>> row = Progress(1, 2048, 1.5, None, None, None, 1365.3)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_progress(Path(folder, "p.jsonl"), [row])
        ...     read_progress(Path(folder, "p.jsonl")) == [row]
        True
    """
    return [Progress(**json.loads(line)) for line in path.read_text().splitlines()]
