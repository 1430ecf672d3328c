"""How a curriculum goes on: from the outcomes of an iteration to the goals of the next."""

from statistics import fmean
from typing import Any

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.impala import IMPALA
from ray.rllib.env.env_runner import EnvRunner

from rllib_vlm_reward.connectors.goal_weights import GoalWeights
from rllib_vlm_reward.connectors.pipeline import driver_pieces, weights_piece
from rllib_vlm_reward.curriculum import Outcome
from rllib_vlm_reward.monitoring.metric_names import CURRICULUM, OUTCOMES, take_items

__all__ = ["advance", "curriculum_progress"]


def advance(algorithm: Algorithm, result: dict[str, Any]) -> None:
    """Let the curriculum observe an iteration's outcomes, and send its weights to env runners.

    The outcomes leave ``result``; each family's weight, episodes in all and mean of the signal
    enter it as ``result["curriculum"]``, and the stage if there is one.

    Args:
        algorithm: with or without a curriculum.
        result: the result of the iteration.

    Raises:
        ConfigError, RewardError: see :meth:`.Curriculum.observe`.
    """
    for piece in driver_pieces(algorithm, GoalWeights):
        piece.observe([Outcome(*outcome) for outcome in take_items(result, OUTCOMES)])
        _send(algorithm, piece)
        result[CURRICULUM] = _in_brief(piece, _progress(piece))


def curriculum_progress(algorithm: Algorithm) -> dict[str, Any] | None:
    """Return what a curriculum has come to, for JSON; None without one.

    ``goals`` has the ``weight``, ``episodes`` and ``mean`` of each goal's text, beside what
    :meth:`.Curriculum.record` says.
    """
    piece = next(driver_pieces(algorithm, GoalWeights), None)
    return None if piece is None else _progress(piece)


def _progress(piece: GoalWeights) -> dict[str, Any]:
    record = piece.curriculum.record()
    known = zip(record["goals"].items(), piece.weights, strict=True)
    goals = {text: {"weight": weight, **rest} for (text, rest), weight in known}
    return {**record, "goals": goals}


def _in_brief(piece: GoalWeights, progress: dict[str, Any]) -> dict[str, Any]:
    """Return progress with its goals summed up by family, so that 10,000 goals fit in a log."""
    goals = list(progress["goals"].values())
    families: dict[str, dict[str, float]] = {}
    for family, members in piece.curriculum.goals.families.items():
        each = [goals[goal] for goal in members]
        means = [goal["mean"] for goal in each if goal["mean"] is not None]
        families[family] = {
            "weight": sum(goal["weight"] for goal in each),
            "episodes": sum(goal["episodes"] for goal in each),
            **({"mean": fmean(means)} if means else {}),
        }
    return {**{key: it for key, it in progress.items() if key != "goals"}, "families": families}


def _send(algorithm: Algorithm, piece: GoalWeights) -> None:
    """Send weights to remote env runners, which RLlib 2.60 syncs before this iteration's outcomes.

    Nobody waits: an env runner has them before it samples again, or, if it hangs, not at all.
    Those of IMPALA and APPO fetch the driver's state before each sample.
    """
    if isinstance(algorithm, IMPALA):
        return
    state = piece.merge_states([])

    def take_over(env_runner: EnvRunner) -> None:
        remote = weights_piece(env_runner)
        assert remote is not None
        remote.set_state(state)

    algorithm.env_runner_group.foreach_env_runner_async_fetch_ready(take_over, tag="goal_weights")
