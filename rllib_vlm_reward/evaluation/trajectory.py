"""One episode, step by step: played in a run's env, or taken from labelled frames."""

import dataclasses
import difflib

import numpy as np

from rllib_vlm_reward.connectors.episode_metrics import success_of
from rllib_vlm_reward.errors import LabelError
from rllib_vlm_reward.evaluation.labelled import LabelledFrames
from rllib_vlm_reward.evaluation.players import PlayedEnv
from rllib_vlm_reward.frames import Frames
from rllib_vlm_reward.run.experiment import Experiment
from rllib_vlm_reward.settings import excerpt

__all__ = ["Trajectory", "play"]

_EXPERT_EPISODES = 16


@dataclasses.dataclass(frozen=True)
class Trajectory:
    """T steps towards one goal.

    Attributes:
        episode: name of the episode.
        player: who played: ``random``, ``expert`` or the folder of a run.
        goal: the goal's text.
        frames: the frame after each action, uint8 ``[T, H, W, 3]``.
        steps: the number of each action in the episode, from 1.
        success: whether each frame shows the goal; None where the env has no ground truth.
    """

    episode: str
    player: str
    goal: str
    frames: Frames
    steps: tuple[int, ...]
    success: tuple[bool, ...] | None

    @classmethod
    def of(cls, frames: LabelledFrames, episode: str) -> "Trajectory":
        """Return an episode of labelled frames.

        Raises:
            LabelError: the episode does not exist, has several goals, or several frames of a step.

        Example:
            >>> from rllib_vlm_reward.evaluation.images import encode
            >>> black = encode(np.zeros((8, 8, 3), np.uint8))
            >>> frames = LabelledFrames.of([black] * 2, ["lift"] * 2, [False, True])
            >>> Trajectory.of(frames, "1").success
            (True,)
        """
        rows = [row for row, name in enumerate(frames.episodes) if name == episode]
        rows.sort(key=lambda row: int(frames.steps[row]))
        if not rows:
            raise LabelError(_unknown(episode, [*dict.fromkeys(frames.episodes)]))
        goals = {frames.goals[row] for row in rows}
        if len(goals) != 1:
            raise LabelError(
                f"episode {episode!r}: got {len(rows)} frames of {len(goals)} goals, expected one "
                "goal to score against. Choose another episode, or split this one."
            )
        steps = tuple(int(frames.steps[row]) for row in rows)
        if len(set(steps)) < len(steps):
            raise LabelError(
                f"episode {episode!r}: got {len(rows)} frames with the steps {excerpt(steps)}, "
                "expected another step for each frame, since they are drawn in this order. Number "
                "them in the column 'step'."
            )
        return cls(
            episode,
            frames.players[rows[0]],
            goals.pop(),
            frames.frames(rows),
            steps,
            tuple(bool(frames.labels[row]) for row in rows),
        )


def _unknown(episode: str, names: list[str]) -> str:
    close = difflib.get_close_matches(episode, names, n=1)
    hint = f"Did you mean {close[0]!r}?" if close else f"The first are {names[:3]}."
    return f"episode {episode!r}: unknown, expected one of the {len(names)} episodes. {hint}"


def play(
    experiment: Experiment,
    *,
    player: str | None = None,
    seed: int | None = None,
    goal: str | None = None,
) -> Trajectory:
    """Play one episode of a run's env until the env ends it.

    Args:
        experiment: the run.
        player: ``random``, or ``expert``, which calls the env's ``expert_action()``; None takes
            the expert if the env has one.
        seed: seed of the layout and of random actions. With None, random actions use seed 0; the
            expert plays an episode with each seed from 0 to 15, and the longest that reaches its
            goal is returned, because it shows the most.
        goal: passed to ``reset(options={"goal": goal})``; None leaves the choice to the env.

    Raises:
        GoalError: the env names no goal of the run, or another goal than the requested one.
        FrameError: the env gives no frame.
        LabelError: the player is unknown, or the env has no expert.
        RewardError: the env's success is neither a bool nor 0 or 1.
    """
    with PlayedEnv(experiment) as played:
        player = player or ("expert" if "expert" in played.acts else "random")
        chosen = seed is not None or player != "expert"
        seeds = [seed or 0] if chosen else range(_EXPERT_EPISODES)
        each = (_play(played, experiment, player, number, goal) for number in seeds)
        return max(each, key=lambda it: len(it.steps) if any(it.success or ()) else 0)


def _play(
    played: PlayedEnv, experiment: Experiment, player: str, seed: int, goal: str | None
) -> Trajectory:
    frames, success = [], []
    act, goal = played.act(player), played.reset(seed=seed, goal=goal)
    for frame, info in played.play(act, seed=seed):
        frames.append(frame.copy())
        success.append(success_of(info, experiment.vlm_reward.success_key))
    return Trajectory(
        f"seed {seed}",
        player,
        goal,
        np.stack(frames),
        tuple(range(1, len(frames) + 1)),
        None if None in success else tuple(map(bool, success)),
    )
