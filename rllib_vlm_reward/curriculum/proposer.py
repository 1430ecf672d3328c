"""The base class of proposers, and the function that makes one."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rllib_vlm_reward.curriculum.curriculum_config import PROPOSERS, ProposeConfig
from rllib_vlm_reward.errors import ConfigError
from rllib_vlm_reward.goals import GoalSet, Template
from rllib_vlm_reward.settings import load_object

__all__ = ["Proposer", "make_proposer"]


class Proposer(ABC):
    """Names goals that the curriculum could draw too, while training goes on.

    A subclass implements :meth:`propose`, which may return anything: each text is admitted or
    refused, see :func:`.admit`, and an exception is counted as a refusal. The method runs in the
    process of the algorithm, and training waits for it.

    Args:
        goals: the training goals of the configuration.
        config: the section ``curriculum.propose``.
        templates: the templates of the reward; a goal must match one of them.
        held_out: texts of the goals that are held out for evaluation, and never admitted.

    Attributes:
        goals, config, templates, held_out: as given.

    Example:
        >>> class Louder(Proposer):
        ...     def propose(self, record):
        ...         mastered = [g for g, row in record["goals"].items() if row["mean"] == 1]
        ...         return [f"{goal} {goal}" for goal in mastered]
        >>> goals = GoalSet.from_texts(["a ball", "a key"])
        >>> louder = Louder(goals, ProposeConfig(), [Template()], [])
        >>> louder.propose({"goals": {"a ball": {"mean": 1}, "a key": {"mean": 0}}, "refused": {}})
        ['a ball a ball']
    """

    def __init__(
        self,
        goals: GoalSet,
        config: ProposeConfig,
        templates: Sequence[Template],
        held_out: Sequence[str],
    ) -> None:
        self.goals, self.config = goals, config
        self.templates, self.held_out = tuple(templates), tuple(held_out)

    @abstractmethod
    def propose(self, record: Mapping[str, Any]) -> Iterable[str]:
        """Return texts of new goals, the best first.

        Args:
            record: ``goals`` maps the text of each training goal to what is known of it: ``weight``
                (its chance), ``episodes``, ``mean`` (of the signal; None without an episode),
                ``progress`` (by how much the mean has changed), ``first_success`` (the env steps
                after the iteration of the first success, or None), ``proposed_by`` and ``since``
                (the iteration). ``refused`` maps texts that were refused for good to the reason.
        """


def make_proposer(
    goals: GoalSet, config: ProposeConfig, templates: Sequence[Template], held_out: Sequence[str]
) -> Proposer:
    """Make the proposer of a configuration.

    Args:
        goals: see :class:`Proposer`.
        config: the section; ``kind`` is a built-in name or an import path.
        templates: see :class:`Proposer`.
        held_out: see :class:`Proposer`.

    Raises:
        ConfigError: the class cannot be imported, is not a proposer, or has nothing to propose.
    """
    path = PROPOSERS.get(config.kind, config.kind)
    found = load_object(path, "curriculum.propose.kind")
    if not (isinstance(found, type) and issubclass(found, Proposer)):
        raise ConfigError(
            f"curriculum.propose: kind {path!r} is {found!r}, expected a class derived from "
            "rllib_vlm_reward.curriculum.Proposer. Derive it, or set another kind."
        )
    return found(goals, config, templates, held_out)
