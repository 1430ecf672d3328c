"""The course of a curriculum: from an iteration's outcomes to the goals of the next."""

from statistics import fmean
from typing import Any

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.impala import IMPALA
from ray.rllib.env.env_runner import EnvRunner

from rllib_vlm_reward.connectors.goal_weights import OUTCOMES, GoalWeights
from rllib_vlm_reward.connectors.preflight import own_pipeline, weights_piece
from rllib_vlm_reward.connectors.series import take_items
from rllib_vlm_reward.curriculum import Outcome

__all__ = ["advance", "course_of"]


def advance(algorithm: Algorithm, result: dict[str, Any]) -> None:
    """Let the curriculum observe an iteration's outcomes, and tell every env runner its weights.

    The outcomes leave ``result``; each family's weight, episodes in all and mean of the signal
    enter it as ``result["curriculum"]``, and the stage if there is one.

    Args:
        algorithm: with or without a curriculum.
        result: of the iteration.

    Raises:
        ConfigError, RewardError: see :meth:`.Curriculum.observe`.
    """
    own = _own_piece(algorithm)
    if own is None:
        return
    own.observe([Outcome(*outcome) for outcome in take_items(result, OUTCOMES)])
    _tell(algorithm, own)
    result["curriculum"] = _in_brief(own, _course(own))


def course_of(algorithm: Algorithm) -> dict[str, Any] | None:
    """Return what a curriculum has come to, for JSON; None without one.

    ``goals`` has the ``weight``, ``episodes`` and ``mean`` of each goal's text, beside what
    :meth:`.Curriculum.record` says.
    """
    own = _own_piece(algorithm)
    return None if own is None else _course(own)


def _course(own: GoalWeights) -> dict[str, Any]:
    record = own.curriculum.record()
    known = zip(record["goals"].items(), own.weights, strict=True)
    goals = {text: {"weight": weight, **its} for (text, its), weight in known}
    return {**record, "goals": goals}


def _own_piece(algorithm: Algorithm) -> GoalWeights | None:
    """Return the algorithm's own piece, which holds its curriculum."""
    pipeline = own_pipeline(algorithm)
    return None if pipeline is None else weights_piece(pipeline)


def _in_brief(own: GoalWeights, course: dict[str, Any]) -> dict[str, Any]:
    """Return a course whose goals are summed up by family, so that 10,000 goals fit in a log."""
    each = list(course["goals"].values())
    families: dict[str, dict[str, float]] = {}
    for family, members in own.curriculum.goals.families.items():
        its = [each[goal] for goal in members]
        means = [goal["mean"] for goal in its if goal["mean"] is not None]
        families[family] = {
            "weight": sum(goal["weight"] for goal in its),
            "episodes": sum(goal["episodes"] for goal in its),
            **({"mean": fmean(means)} if means else {}),
        }
    return {**{key: it for key, it in course.items() if key != "goals"}, "families": families}


def _tell(algorithm: Algorithm, own: GoalWeights) -> None:
    """Tell the remote env runners, whom RLlib 2.60 syncs before this iteration's outcomes.

    Not waited for: an env runner hears of it before it samples again, or, if it hangs, not at all.
    Those of IMPALA and APPO fetch the own piece's state before each sample.
    """
    if isinstance(algorithm, IMPALA):
        return
    state = own.merge_states([])

    def tell(env_runner: EnvRunner) -> None:
        piece = weights_piece(env_runner._env_to_module)
        assert piece is not None
        piece.set_state(state)

    algorithm.env_runner_group.foreach_env_runner_async_fetch_ready(tell, tag="goal_weights")
