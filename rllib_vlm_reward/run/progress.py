"""What is known after each iteration; a line of ``progress.jsonl``."""

import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ray.rllib.algorithms.algorithm import Algorithm

from rllib_vlm_reward.connectors.callbacks import callbacks_of
from rllib_vlm_reward.connectors.curriculum_progress import curriculum_progress
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

FIGURES = (names.VLM_RETURN, names.GROUND_TRUTH_RETURN, names.GROUND_TRUTH_SUCCESS)
"""What is known of the episodes, under the names of the metrics in TensorBoard."""

Figures = dict[str, float | None]
"""A value for each of :data:`FIGURES`; None where it is not known."""

_SAMPLED = (names.ENV_RUNNERS, "num_env_steps_sampled_lifetime")


@dataclasses.dataclass(frozen=True, slots=True)
class Progress:
    """The state of a run after an iteration; means are over the last 100 episodes.

    Attributes:
        iteration: from 1.
        env_steps: sampled since the start of the run.
        wall_seconds: of training, resumed parts added up.
        vlm_return_mean: what the VLM paid an episode; None before the first one ended.
        ground_truth_return_mean: the env's own return.
        ground_truth_success: share of episodes with success; None if the env reports none.
        env_steps_per_second: sampled in this iteration.
        curriculum: what it has come to, see :func:`.curriculum_progress`; None without one.
        alarms: kinds of the reward's alarms that hold, see :mod:`.monitoring.alarms`.
        agents: the three figures of each agent, by its name; empty with a single agent.
    """

    iteration: int
    env_steps: int
    wall_seconds: float
    vlm_return_mean: float | None
    ground_truth_return_mean: float | None
    ground_truth_success: float | None
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
        """Return the figures of all episodes, or an agent's; None where one is not known."""
        if agent is None:
            return {name: getattr(self, name) for name in FIGURES}
        return self.agents.get(agent, dict.fromkeys(FIGURES))


def figures_of(runners: Mapping[str, Any]) -> tuple[Figures, dict[str, Figures]]:
    """Read :data:`FIGURES` from the env runners' part of an RLlib result.

    Args:
        runners: ``result["env_runners"]``, of training or of RLlib's evaluation.

    Returns:
        those of all episodes, and those of each agent by its name. An agent that keeps the env's
        reward has that alone.

    Example:
        >>> seen = {"agents": {"a": {"vlm_return_mean": 2}}, "vlm_return_mean": 2}
        >>> _, agents = figures_of({"vlm_reward": seen, "agent_episode_returns_mean": {"b": 1}})
        >>> agents["a"]["vlm_return_mean"], agents["b"]["ground_truth_return_mean"]
        (2.0, 1.0)
    """
    reward = runners.get("vlm_reward", {})
    # RLlib 2.60 logs this of multi-agent envs alone; here are those without a VLM reward too.
    unpaid = {
        str(agent): {names.GROUND_TRUTH_RETURN: value}
        for agent, value in runners.get("agent_episode_returns_mean", {}).items()
    }
    rewarded = {str(agent): seen for agent, seen in reward.get("agents", {}).items()}
    several = {**unpaid, **rewarded}
    return _figures(reward), {agent: _figures(several[agent]) for agent in sorted(several)}


def _figures(seen: Mapping[str, Any]) -> Figures:
    values = {name: seen.get(name) for name in FIGURES}
    return {name: None if value is None else float(value) for name, value in values.items()}


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
