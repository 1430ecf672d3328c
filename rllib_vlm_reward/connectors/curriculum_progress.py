"""Updates a curriculum from the outcomes of an iteration, and reports its progress."""

import functools
from collections.abc import Callable
from statistics import fmean
from typing import Any

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.impala import IMPALA
from ray.rllib.env.env_runner import EnvRunner

from rllib_vlm_reward.connectors.goal_growth import EncoderAndEnv, add_goals
from rllib_vlm_reward.connectors.goal_weights import GoalWeights, outcomes_of
from rllib_vlm_reward.connectors.pipeline import driver_pieces, weights_piece
from rllib_vlm_reward.monitoring.metric_names import CURRICULUM, ENV_RUNNERS, OUTCOMES, take_items

__all__ = ["advance", "curriculum_progress"]

_SAMPLED = (ENV_RUNNERS, "num_env_steps_sampled_lifetime")


def advance(
    algorithm: Algorithm, result: dict[str, Any], make_judge: Callable[[], EncoderAndEnv | None]
) -> None:
    """Let the curriculum observe an iteration's outcomes, and send its weights to env runners.

    Removes the outcomes from ``result``, and adds ``result["curriculum"]``: for each family of
    goals its weight, its number of episodes so far and the mean of the signal; the stage if there
    is one; and with ``propose`` how many goals there are, and how many were refused and why.

    Args:
        algorithm: the algorithm, with or without a curriculum.
        result: the result of the iteration; changed in place.
        make_judge: returns who judges goals that are proposed; None if the reward has no single
            pool.

    Raises:
        ConfigError, RewardError: see :meth:`.Curriculum.observe`.
    """
    for piece in driver_pieces(algorithm, GoalWeights):
        outcomes = outcomes_of(take_items(result, OUTCOMES), piece.known.training)
        piece.observe(outcomes)
        judge = None if piece.growth is None else make_judge()
        if piece.growth is not None and judge is not None:
            env_steps = int(algorithm.metrics.peek(_SAMPLED, default=0))
            piece.growth.observe(outcomes, piece.known.training.texts, env_steps)
            iteration = int(result["training_iteration"])
            record = functools.partial(_progress, piece)
            add_goals(piece, piece.growth, judge, record, iteration)
        _send(algorithm, piece)
        result[CURRICULUM] = _by_family(piece, _progress(piece))


def curriculum_progress(algorithm: Algorithm) -> dict[str, Any] | None:
    """Return the state of the curriculum for JSON; None without a curriculum.

    The dictionary is that of :meth:`.Curriculum.record`. Its ``goals`` maps each goal's text to
    ``weight``, ``episodes`` and ``mean``; with ``propose`` also to what :meth:`.Growth.record`
    returns, and the dictionary has ``growth``: the numbers of goals.
    """
    piece = next(driver_pieces(algorithm, GoalWeights), None)
    return None if piece is None else _progress(piece)


def _progress(piece: GoalWeights) -> dict[str, Any]:
    record, growth = piece.curriculum.record(), piece.growth
    weighted = zip(record["goals"].items(), piece.weights, strict=True)
    goals = {text: {"weight": weight, **rest} for (text, rest), weight in weighted}
    if growth is None:
        return {**record, "goals": goals}
    known = piece.known
    numbers = {
        "goals": len(known.training),
        "added": sum(map(len, known.added)),
        "refused": dict(growth.counts),
    }
    goals = {text: {**row, **growth.record(piece.curriculum, text)} for text, row in goals.items()}
    return {**record, "goals": goals, "growth": numbers}


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
