"""The goals that a process knows: those of the configuration, and those that were added later."""

from collections.abc import Iterable, Sequence

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.goals import GoalSet

__all__ = ["Added", "KnownGoals"]

Added = tuple[tuple[str, ...], ...]
"""The texts that were added, those of one time together."""


class KnownGoals:
    """The goals of a run, as far as this process knows them.

    The pieces of a pipeline share one. The driver's decides; the others follow it. Only texts
    travel: prompts and negatives are drawn from the configuration, alike in every process.

    A goal has two indices. In :attr:`all`, by which frames and episodes refer to it, the added
    goals stand behind the held-out ones, so no index ever changes. In :attr:`training`, which is
    that of a curriculum, there are no held-out goals.

    Args:
        config: the reward of the run.

    Attributes:
        config: as given.
        added: the texts that were added so far.
        training: the training goals; the added ones are last.
        all: ``config.goal_set``, and then the added goals.

    Example:
        >>> goals = {"goals": ["a {red|blue} ball"], "evaluation_goals": ["a grey ball"]}
        >>> known = KnownGoals(VLMRewardConfig(encoder="small", **goals))
        >>> known.follow((("a red key", "a blue key"),))
        True
        >>> known.all.texts[2:], known.training.texts[2:]
        (('a grey ball', 'a red key', 'a blue key'), ('a red key', 'a blue key'))
        >>> known.spread([0.5, 0.0, 0.5, 0.0])
        [0.5, 0.0, 0.0, 0.5, 0.0]
    """

    def __init__(self, config: VLMRewardConfig) -> None:
        self.config = config
        self._held_out = range(len(config.training_goals), len(config.goal_set))
        self.added: Added = ()
        self.training, self.all = config.training_goals, config.goal_set

    def follow(self, added: Iterable[Iterable[str]], *, exactly: bool = False) -> bool:
        """Know the goals that the driver knows.

        Args:
            added: what the driver has added.
            exactly: forget goals that are not among these. Otherwise an older state, which arrives
                late, changes nothing.

        Returns:
            Whether every index means the goal that it meant before. If not, as after the restore of
            another run's checkpoint, episodes in progress have lost their goal.

        Raises:
            GoalError: a text cannot be a goal of this configuration.
        """
        given = tuple(map(tuple, added))
        before = self.added
        if given == before or (not exactly and given == before[: len(given)]):
            return True
        self._set(given)
        return before == given[: len(before)]

    def add(self, texts: Sequence[str]) -> None:
        """Add goals; only the driver does.

        Raises:
            GoalError: see :meth:`follow`.
        """
        self._set((*self.added, tuple(texts)))

    def is_training(self, index: int) -> bool:
        """Return whether the goal with an index in :attr:`all` is a training goal."""
        return not self._held_out.start <= index < self._held_out.stop

    def spread(self, weights: Sequence[float]) -> list[float]:
        """Return the weight of each of all goals.

        Args:
            weights: those of the training goals, or of those that there were some time ago.
        """
        first = self._held_out.start
        spread = [*weights[:first], *([0.0] * len(self._held_out)), *weights[first:]]
        return spread + [0.0] * (len(self.all) - len(spread))

    def _set(self, added: Added) -> None:
        config, known = self.config, self.added
        if added[: len(known)] == known:
            training, new = self.training, added[len(known) :]
        else:
            training, new = config.training_goals, added
        for texts in new:
            training = config.grow(training, texts)
        grown = training.goals[len(config.training_goals) :]
        self.all = GoalSet(config.goal_set.goals + grown) if grown else config.goal_set
        self.added, self.training = added, training
