"""Updates a curriculum from the outcomes of an iteration, and reports its progress."""

from statistics import fmean
from typing import Any

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.impala import IMPALA
from ray.rllib.env.env_runner import EnvRunner

from rllib_vlm_reward.connectors.goal_weights import GoalWeights, outcomes_of
from rllib_vlm_reward.connectors.pipeline import driver_pieces, weights_piece
from rllib_vlm_reward.monitoring.metric_names import CURRICULUM, OUTCOMES, take_items

__all__ = ["advance", "curriculum_progress"]


def advance(algorithm: Algorithm, result: dict[str, Any]) -> None:
    """Let the curriculum observe an iteration's outcomes, and send its weights to env runners.

    Removes the outcomes from ``result``, and adds ``result["curriculum"]``: for each family of
    goals its weight, its number of episodes so far and the mean of the signal; and the stage if
    there is one.

    Args:
        algorithm: the algorithm, with or without a curriculum.
        result: the result of the iteration; changed in place.

    Raises:
        ConfigError, RewardError: see :meth:`.Curriculum.observe`.
    """
    for piece in driver_pieces(algorithm, GoalWeights):
        piece.observe(outcomes_of(take_items(result, OUTCOMES), piece.known.training))
        _send(algorithm, piece)
        result[CURRICULUM] = _by_family(piece, _progress(piece))


def curriculum_progress(algorithm: Algorithm) -> dict[str, Any] | None:
    """Return the state of the curriculum for JSON; None without a curriculum.

    The dictionary is that of :meth:`.Curriculum.record`. Its ``goals`` maps each goal's text to
    ``weight``, ``episodes`` and ``mean``.
    """
    piece = next(driver_pieces(algorithm, GoalWeights), None)
    return None if piece is None else _progress(piece)


def _progress(piece: GoalWeights) -> dict[str, Any]:
    record = piece.curriculum.record()
    weighted = zip(record["goals"].items(), piece.weights, strict=True)
    goals = {text: {"weight": weight, **rest} for (text, rest), weight in weighted}
    return {**record, "goals": goals}


def _by_family(piece: GoalWeights, progress: dict[str, Any]) -> dict[str, Any]:
    """Return the progress by family instead of by goal, so that 10,000 goals fit in a log."""
    goals = list(progress["goals"].values())
    families: dict[str, dict[str, float]] = {}
    for family, indices in piece.curriculum.goals.families.items():
        members = [goals[index] for index in indices]
        means = [goal["mean"] for goal in members if goal["mean"] is not None]
        families[family] = {
            "weight": sum(goal["weight"] for goal in members),
            "episodes": sum(goal["episodes"] for goal in members),
            **({"mean": fmean(means)} if means else {}),
        }
    rest = {key: value for key, value in progress.items() if key != "goals"}
    return {**rest, "families": families}


def _send(algorithm: Algorithm, piece: GoalWeights) -> None:
    """Send the new weights to the remote env runners.

    RLlib 2.60 synchronises env runners before the outcomes of the iteration are known, so its own
    synchronisation would send old weights. The driver does not wait for an answer: an env runner
    receives the weights before it samples again. The env runners of IMPALA and APPO fetch the
    driver's state before each sample, so they need nothing here.
    """
    if isinstance(algorithm, IMPALA):
        return
    state = piece.merge_states([])

    def set_weights(env_runner: EnvRunner) -> None:
        remote = weights_piece(env_runner)
        assert remote is not None
        remote.set_state(state)

    algorithm.env_runner_group.foreach_env_runner_async_fetch_ready(set_weights, tag="goal_weights")
