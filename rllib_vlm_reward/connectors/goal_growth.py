"""Asks a proposer for goals between two iterations, and adds those that are admitted."""

import contextlib
import dataclasses
import functools
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.env.env_runner import EnvRunner

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.connectors.goal_weights import GoalWeights
from rllib_vlm_reward.connectors.single_env import single_env
from rllib_vlm_reward.curriculum import Growth, Rules, Verdict, admit
from rllib_vlm_reward.errors import GoalError, PoolError, RewardError
from rllib_vlm_reward.frames import Frames
from rllib_vlm_reward.goals import GoalSet
from rllib_vlm_reward.reward_model.heads.cosine import Cosine
from rllib_vlm_reward.reward_model.scorer import Scorer, Scores
from rllib_vlm_reward.serving.pool import RewardPool

__all__ = ["EncoderAndEnv", "add_goals", "posed_goals"]

_LOG = logging.getLogger(__name__)
_RESETS = 2  # with each goal, since a layout may lack what another one has


def add_goals(
    piece: GoalWeights,
    growth: Growth,
    judge: "EncoderAndEnv",
    record: Callable[[], dict[str, Any]],
    iteration: int,
) -> None:
    """Ask the proposer, if it is due, and add what is admitted to the driver's goals.

    Until a frame was scored highly enough to be looked at, nothing is asked.

    Args:
        piece: the driver's.
        growth: the books.
        judge: what encoder and env know.
        record: returns what is known of the goals, see :meth:`.Proposer.propose`.
        iteration: the number of the iteration.
    """
    if not growth.is_due(iteration) or not len(judge.frames):
        return
    config, proposing = judge.config, growth.proposer.config
    held_out = config.goal_set.goals[len(config.training_goals) :]
    rules = Rules(
        templates=config.goal_templates,
        held_out=held_out,
        grow=functools.partial(_grow, config),
        threshold=config.threshold_in_force,
        at_once=proposing.at_once,
        at_most=proposing.at_most,
        most_alike=proposing.most_alike,
    )
    said = growth.ask(record(), iteration)
    try:
        verdict = admit(said, piece.known.training, rules, judge, growth.refused)
    except (PoolError, RewardError) as error:
        _LOG.warning(
            "curriculum.propose: the goals that were proposed in iteration %d cannot be checked "
            "(%s). Training goes on, and asks again in %d iterations.",
            *(iteration, error, proposing.every),
        )
        verdict = Verdict((), Counter(unchecked=1), {})
    if verdict.admitted:
        piece.add(verdict.admitted)
    growth.note(verdict, iteration)


def _grow(config: VLMRewardConfig, goals: GoalSet, texts: Sequence[str]) -> GoalSet:
    """Return a grown set, each of whose goals the head can score.

    Raises:
        GoalError: see :meth:`.GoalSet.grow`; or the head needs negatives, and a goal has none.
    """
    grown = config.grow(goals, texts)
    for goal in grown.goals[len(goals) :] if config.head_in_force.needs_negatives else ():
        if not goal.negatives:
            raise GoalError(f"goal {goal.text!r} has no negatives. Add others of its template.")
    return grown


class EncoderAndEnv:
    """What the encoder, through the pool, and the env, in an env runner, know of new goals.

    Args:
        algorithm: the algorithm, whose first healthy env runner is asked.
        pool: the pool.
        scorer: the run's, with the precision that was chosen for it.
        config: the reward.
        frames: recent frames; those of the size of the first one are read.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        pool: RewardPool,
        scorer: Scorer,
        config: VLMRewardConfig,
        frames: Sequence[Frames],
    ) -> None:
        self.config = config
        self.frames = [frame for frame in frames if frame.shape == frames[0].shape]
        self._algorithm, self._pool, self._scorer = algorithm, pool, scorer

    def embed(self, texts: Sequence[str]) -> Scores:
        """See :class:`.Judge`."""
        return self._pool.embed_texts(list(texts))

    def cosines(self, goals: GoalSet, indices: Sequence[int]) -> Scores:
        """See :class:`.Judge`."""
        return self._score(dataclasses.replace(self._scorer, goals=goals, head=Cosine()), indices)

    def scores(self, goals: GoalSet, indices: Sequence[int]) -> Scores:
        """See :class:`.Judge`."""
        return self._score(dataclasses.replace(self._scorer, goals=goals), indices)

    def posed(self, texts: Sequence[str]) -> Sequence[bool]:
        """See :class:`.Judge`.

        Raises:
            RewardError: no env runner answers.
        """
        group = self._algorithm.env_runner_group
        first = group.healthy_env_runner_ids()[:1]
        pose = functools.partial(posed_goals, texts=list(texts))
        found = group.foreach_env_runner(pose, remote_worker_ids=first, local_env_runner=not first)
        for answer in found:
            if answer is not None:
                return list(answer)
        raise RewardError("no env runner answers whether its env can be reset with a goal")

    def _score(self, scorer: Scorer, indices: Sequence[int]) -> Scores:
        """Return the score of each frame for each goal, float32 ``[F, G]``."""
        shape = len(self.frames), len(indices)
        frames = [frame for frame in self.frames for _ in indices]
        goals = np.tile(np.array(indices, np.int64), shape[0])
        try:
            return self._pool.score(np.stack(frames), goals, scorer).reshape(shape)
        finally:
            self._pool.forget(scorer)


def posed_goals(env_runner: EnvRunner, texts: Sequence[str]) -> list[bool] | None:
    """Return for each goal whether a new env, beside those of the env runner, can be reset with it.

    Nothing is raised, since RLlib would restart a remote env runner.

    Args:
        env_runner: the env runner, whose envs play on.
        texts: the goals.

    Returns:
        The answers; None if the env cannot be made.
    """
    try:
        env = single_env(env_runner.config, env_runner.worker_index)
    except Exception as error:
        _LOG.warning("curriculum.propose: no second env can be made to try goals (%r)", error)
        return None
    posed = []
    with contextlib.closing(env):
        for text in texts:
            try:
                for _ in range(_RESETS):
                    env.reset(options={"goal": text})
            except Exception:  # of whatever kind, the env does not pose this goal
                posed.append(False)
            else:
                posed.append(True)
    return posed
