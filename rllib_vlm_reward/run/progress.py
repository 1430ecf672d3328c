"""The progress of a run after each iteration, which is a line of ``progress.jsonl``."""

import dataclasses
import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ray.rllib.algorithms.algorithm import Algorithm

from rllib_vlm_reward.connectors.callbacks import callbacks_of
from rllib_vlm_reward.connectors.curriculum_progress import curriculum_progress
from rllib_vlm_reward.errors import CheckpointError
from rllib_vlm_reward.files import write_text
from rllib_vlm_reward.monitoring import metric_names as names

__all__ = [
    "FIGURES",
    "Figures",
    "Progress",
    "figures_of",
    "iterate",
    "read_progress",
    "write_progress",
]

FIGURES = (
    names.VLM_RETURN,
    names.GROUND_TRUTH_RETURN,
    names.GROUND_TRUTH_SUCCESS,
    names.FALSE_POSITIVES,
)
"""The figures of the episodes, under their metric names in TensorBoard."""

Figures = dict[str, float | None]
"""A value for each of :data:`FIGURES`; None if there is no value."""

_SAMPLED = (names.ENV_RUNNERS, "num_env_steps_sampled_lifetime")


@dataclasses.dataclass(frozen=True, slots=True)
class Progress:
    """The state of a run after an iteration.

    Means of returns are over the episodes that ended in the iteration, of each env runner at most
    the last 100.

    Attributes:
        iteration: number of the iteration, from 1.
        env_steps: number of env steps since the start of the run.
        wall_seconds: duration of training in seconds, including resumed parts.
        vlm_return_mean: mean VLM return of an episode; None before the first episode has ended.
        ground_truth_return_mean: mean return of the env's own rewards.
        ground_truth_success: share of the episodes with a success; None if the env reports none.
        false_positives_per_episode: mean number of steps in an episode whose reward fired without
            a success, over the last 3 iterations; None if the env reports no success, the reward
            has no threshold, or alarms are off.
        env_steps_per_second: env steps per second in this iteration.
        curriculum: the state of the curriculum, see :func:`.curriculum_progress`; None without one.
        alarms: kinds of the reward's alarms that are on, see :mod:`.monitoring.alarms`.
        agents: the figures of each agent, by its name; empty with a single agent.
    """

    iteration: int
    env_steps: int
    wall_seconds: float
    vlm_return_mean: float | None
    ground_truth_return_mean: float | None
    ground_truth_success: float | None
    false_positives_per_episode: float | None
    env_steps_per_second: float
    curriculum: dict[str, Any] | None = None
    alarms: list[str] = dataclasses.field(default_factory=list)
    agents: dict[str, Figures] = dataclasses.field(default_factory=dict)

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
        """Read the progress from an RLlib result.

        Args:
            result: the result of ``algorithm.train()``.
            seconds: duration of the iteration.
            sampled_before: number of env steps when the iteration began. It is more than
                ``before.env_steps`` if an iteration in between was interrupted.
            before: the progress after the previous iteration; None in the first one.
            curriculum: see the class.
            alarms: see the class.
        """
        # With IMPALA and APPO, an iteration may end before an env runner has sent any samples.
        runners = result.get(names.ENV_RUNNERS, {})
        together, agents = figures_of(runners)
        env_steps = int(runners.get("num_env_steps_sampled_lifetime", sampled_before))
        return cls(
            iteration=before.iteration + 1 if before else 1,
            env_steps=env_steps,
            wall_seconds=round((before.wall_seconds if before else 0.0) + seconds, 3),
            env_steps_per_second=round((env_steps - sampled_before) / seconds, 1),
            curriculum=curriculum,
            alarms=list(alarms),
            agents=agents,
            **together,
        )

    def figures(self, agent: str | None = None) -> Figures:
        """Return the figures of all episodes, or of one agent; None where there is no value."""
        if agent is None:
            return {name: getattr(self, name) for name in FIGURES}
        return self.agents.get(agent, dict.fromkeys(FIGURES))


def figures_of(runners: Mapping[str, Any]) -> tuple[Figures, dict[str, Figures]]:
    """Read :data:`FIGURES` from the env runners' part of an RLlib result.

    Args:
        runners: ``result["env_runners"]``, of training or of RLlib's evaluation.

    Returns:
        The figures of all episodes, and those of each agent by its name. An agent without a VLM
        reward has only the return of the env's rewards.

    Example:
        >>> reward = {"agents": {"a": {"vlm_return_mean": 2}}, "vlm_return_mean": 2}
        >>> _, agents = figures_of({"vlm_reward": reward, "agent_episode_returns_mean": {"b": 1}})
        >>> agents["a"]["vlm_return_mean"], agents["b"]["ground_truth_return_mean"]
        (2.0, 1.0)
        >>> figures_of({"vlm_reward": {"vlm_return_mean": float("nan")}})[0]["vlm_return_mean"]
    """
    reward = runners.get("vlm_reward", {})
    # RLlib 2.60 logs this for multi-agent envs only. It includes agents without a VLM reward.
    unpaid = {
        str(agent): {names.GROUND_TRUTH_RETURN: value}
        for agent, value in runners.get("agent_episode_returns_mean", {}).items()
    }
    rewarded = {str(agent): seen for agent, seen in reward.get("agents", {}).items()}
    several = {**unpaid, **rewarded}
    return _figures(reward), {agent: _figures(several[agent]) for agent in sorted(several)}


def _figures(seen: Mapping[str, Any]) -> Figures:
    # RLlib 2.60 reports NaN where nothing was sampled.
    values = {name: seen.get(name) for name in FIGURES}
    return {
        name: None if value is None or math.isnan(value) else float(value)
        for name, value in values.items()
    }


def iterate(algorithm: Algorithm, before: Progress | None) -> tuple[Progress, dict[str, Any]]:
    """Train for one iteration; return the progress and RLlib's result."""
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


def write_progress(path: Path, history: list[Progress]) -> None:
    """Write the progress as one JSON object per line."""
    lines = [json.dumps(dataclasses.asdict(row)) for row in history]
    write_text(path, "".join(f"{line}\n" for line in lines))


def read_progress(path: Path) -> list[Progress]:
    """Read the file that :func:`write_progress` wrote.

    Raises:
        CheckpointError: the file is missing or damaged.

    Example:
        >>> import tempfile
        >>> row = Progress(1, 2048, 1.5, None, None, None, None, 1365.3)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_progress(Path(folder, "p.jsonl"), [row])
        ...     read_progress(Path(folder, "p.jsonl")) == [row]
        True
    """
    try:
        return [Progress(**json.loads(line)) for line in path.read_text().splitlines()]
    except (FileNotFoundError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"{path}: cannot be read as the progress of a run ({type(error).__name__}: {error}), "
            "expected one JSON object a line. Copy the run's folder again, restore the file from a "
            "backup, or start a new run."
        ) from error
