"""The books of a run that gets goals while it trains."""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rllib_vlm_reward.curriculum.admission import REASONS, Verdict
from rllib_vlm_reward.curriculum.curriculum import Curriculum, Outcome
from rllib_vlm_reward.curriculum.learning_progress import progress_of
from rllib_vlm_reward.curriculum.proposer import Proposer

__all__ = ["Growth"]

_LOG = logging.getLogger(__name__)
_MOST_REFUSED = 1_000  # texts that are remembered


class Growth:
    """Asks a proposer from time to time, and keeps what is known of all goals.

    Args:
        proposer: who proposes goals.

    Attributes:
        proposer: as given.
        counts: how many texts were refused so far, by reason.
        refused: the last texts that would be refused again, with the reason.

    Example:
        >>> from rllib_vlm_reward.curriculum import ProposeConfig
        >>> from rllib_vlm_reward.goals import GoalSet, Template
        >>> class Silent(Proposer):
        ...     def propose(self, record):
        ...         return 1 / 0
        >>> goals = GoalSet.from_texts(["a ball", "a key"])
        >>> growth = Growth(Silent(goals, ProposeConfig(every=2), [Template()], []))
        >>> growth.is_due(1), growth.is_due(2)
        (False, True)
        >>> growth.ask({"goals": {}}, 2) is None, growth.is_due(3)
        (True, False)
    """

    def __init__(self, proposer: Proposer) -> None:
        self.proposer = proposer
        self.counts: Counter[str] = Counter()
        self.refused: dict[str, str] = {}
        self._asked_at = 0
        self._origins: dict[str, dict[str, Any]] = {}
        self._first_success: dict[str, int] = {}

    def is_due(self, iteration: int) -> bool:
        """Return whether the proposer is to be asked in this iteration."""
        return iteration - self._asked_at >= self.proposer.config.every

    def ask(self, record: Mapping[str, Any], iteration: int) -> object:
        """Return what the proposer says of the record; None if it raises an error."""
        self._asked_at = iteration
        try:
            return self.proposer.propose({**record, "refused": dict(self.refused)})
        except Exception as error:  # code of the user: whatever it raises, training goes on
            _LOG.warning(
                "curriculum.propose: %s raised %s: %s. Training goes on with the goals that there "
                "are, and asks again in %d iterations.",
                *(type(self.proposer).__name__, type(error).__name__, error),
                self.proposer.config.every,
            )
            return None

    def note(self, verdict: Verdict, iteration: int) -> None:
        """Note which goals were admitted and refused, and say it in the log."""
        self.counts += verdict.counts
        self.refused |= verdict.refused
        for text in [*self.refused][:-_MOST_REFUSED]:
            del self.refused[text]
        origin = {"proposed_by": self.proposer.config.kind, "since": iteration}
        self._origins |= dict.fromkeys(verdict.admitted, origin)
        refusals = [f"{number} ({REASONS[reason]})" for reason, number in verdict.counts.items()]
        _LOG.info(
            "curriculum.propose: %d goals admitted: %s. Refused: %s.",
            *(len(verdict.admitted), list(verdict.admitted), "; ".join(refusals) or "none"),
        )

    def observe(self, outcomes: Iterable[Outcome], goals: Sequence[str], env_steps: int) -> None:
        """Note at how many env steps each goal was first reached."""
        for outcome in outcomes:
            if outcome.vlm_success:
                self._first_success.setdefault(goals[outcome.goal], env_steps)

    def record(self, curriculum: Curriculum, text: str) -> dict[str, Any]:
        """Return what is known of a goal beside the record of the curriculum."""
        values = curriculum.values[curriculum.goals.index(text)]
        return {
            "progress": progress_of(values),
            "first_success": self._first_success.get(text),
            **self._origins.get(text, {"proposed_by": "configuration", "since": 0}),
        }

    def get_state(self) -> dict[str, Any]:
        """Return the state in types that JSON has."""
        return {
            "asked_at": self._asked_at,
            "counts": dict(self.counts),
            "refused": dict(self.refused),
            "origins": dict(self._origins),
            "first_success": dict(self._first_success),
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Replace the state by one that :meth:`get_state` returned."""
        self._asked_at = state["asked_at"]
        self.counts = Counter(state["counts"])
        self.refused = dict(state["refused"])
        self._origins = dict(state["origins"])
        self._first_success = dict(state["first_success"])
