"""Finds hints that never hold, or always, over the episodes of a run."""

from collections.abc import Iterable, Mapping, Sequence

from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

from rllib_vlm_reward.monitoring import metric_names as names
from rllib_vlm_reward.monitoring.alarms import MOST_SILENT, Alarm

__all__ = ["MOST_AT_RESET", "HintAlarms", "log_hint_episodes"]

MOST_AT_RESET = 100  # episodes
_MOST_NAMED = 5  # hints


def log_hint_episodes(
    metrics: MetricsLogger,
    agent: str | int | None,
    episodes: Mapping[int, Sequence[tuple[int, bool]]],
) -> None:
    """Log of the episodes of a fragment which hints held.

    Args:
        metrics: the env runner's logger.
        agent: the agent; None for all agents without their own settings.
        episodes: for the index of a hint, for each episode whose goal has it: how often it was
            paid, and whether it held in the frame of the reset.
    """
    rows = []
    for hint, seen in episodes.items():
        held = sum(at_reset or fires > 0 for fires, at_reset in seen)
        rows.append((hint, len(seen), held, sum(at_reset for _, at_reset in seen)))
    names.log_item(metrics, names.HINT_EPISODES, (agent, rows))


class HintAlarms:
    """Counts for each hint the last episodes in which it never held, or always from the start.

    Args:
        names: the names of the hints of the run.

    Example:
        >>> alarms = HintAlarms(["lift {}: facing {0}"])
        >>> alarms.update([(0, 499, 0, 0)])
        []
        >>> [alarm.kind for alarm in alarms.update([(0, 1, 0, 0)])]
        ['hints']
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self.set_state(())

    def update(self, rows: Iterable[tuple[int, int, int, int]]) -> list[Alarm]:
        """Add the episodes of an iteration, and return an alarm if a hint pays nothing.

        Args:
            rows: the index of a hint, the number of episodes whose goal has it, and in how many of
                these it held at all, and in the frame of the reset.
        """
        for hint, episodes, held, at_reset in rows:
            self._without[hint] = 0 if held else self._without[hint] + episodes
            always = at_reset == episodes
            self._from_start[hint] = self._from_start[hint] + episodes if always else 0
        never = self._named(self._without, MOST_SILENT)
        always_named = self._named(self._from_start, MOST_AT_RESET)
        if not never and not always_named:
            return []
        found = []
        if never:
            found.append(f"in {MOST_SILENT} or more episodes, these held in no frame: {never}")
        if always_named:
            found.append(
                f"in each of {MOST_AT_RESET} or more episodes, these held in the first frame "
                f"already: {always_named}"
            )
        text = (
            f"some hints pay nothing. Of the last episodes whose goal has them, "
            f"{'; and '.join(found)}. Expected hints that an agent reaches on its way. Score a "
            "frame in which the hint should hold: `rllib-vlm-reward score FRAME --goal STATEMENT`. "
            "Write words that the encoder knows, change hints.threshold, or remove these hints."
        )
        return [Alarm("hints", text)]

    def get_state(self) -> list[list[int]]:
        """Return the state for a checkpoint."""
        return [self._without, self._from_start]

    def set_state(self, state: Sequence[Sequence[int]]) -> None:
        """Set the state; an empty one is that of a new run."""
        zeros = [0] * len(self._names)
        without, from_start = state or (zeros, zeros)
        self._without, self._from_start = [*without], [*from_start]

    def _named(self, episodes: Sequence[int], most: int) -> str:
        found = [
            repr(name) for name, number in zip(self._names, episodes, strict=True) if number >= most
        ]
        more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
        return ", ".join(found[:_MOST_NAMED]) + more
