"""One episode, step by step: played in a run's env, or taken from labelled frames."""

import dataclasses
from typing import Any

import numpy as np

from rllib_vlm_reward.connectors.collector import collect_frames, episode_goal
from rllib_vlm_reward.errors import GoalError, LabelError
from rllib_vlm_reward.evaluation.labelled import LabelledFrames
from rllib_vlm_reward.frames import Frames
from rllib_vlm_reward.run.experiment import Experiment
from rllib_vlm_reward.run.world import make_world

__all__ = ["Trajectory", "play"]


@dataclasses.dataclass(frozen=True)
class Trajectory:
    """T steps towards one goal.

    Attributes:
        episode: its name.
        player: who played it.
        goal: the goal's text.
        frames: what is seen after each action, uint8 ``[T, H, W, 3]``.
        steps: the number of each action in its episode, from 1.
        success: whether each frame shows the goal; None where the env does not tell.
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
            LabelError: no such episode, or one with several goals.

        Example:
            >>> from rllib_vlm_reward.evaluation.labelled import encode
            >>> black = encode(np.zeros((8, 8, 3), np.uint8))
            >>> frames = LabelledFrames.of([black] * 2, ["lift"] * 2, [False, True])
            >>> Trajectory.of(frames, "1").success
            (True,)
        """
        rows = [row for row, name in enumerate(frames.episodes) if name == episode]
        rows.sort(key=lambda row: int(frames.steps[row]))
        goals = {frames.goals[row] for row in rows}
        if len(goals) != 1:
            known = list(dict.fromkeys(frames.episodes))[:5]
            raise LabelError(
                f"episode {episode!r}: got {len(rows)} frames of {len(goals)} goals, expected some "
                f"of one goal. The episodes are {known} ..."
            )
        return cls(
            episode,
            frames.players[rows[0]],
            goals.pop(),
            frames.frames(rows),
            tuple(int(frames.steps[row]) for row in rows),
            tuple(bool(frames.labels[row]) for row in rows),
        )


def play(
    experiment: Experiment, *, player: str | None = None, seed: int = 0, goal: str | None = None
) -> Trajectory:
    """Play one episode of a run's env, until the env ends it.

    Args:
        experiment: the run.
        player: ``random``, or ``expert``, the env's ``expert_action()``; None takes the expert
            where there is one.
        seed: of the layout and of random play.
        goal: posed by ``reset(options={"goal": goal})``; None leaves the choice to the env.

    Raises:
        GoalError: the env names no goal of the run, or another than the one posed.
        FrameError: the env gives no frame.
        LabelError: an unknown player, or an env without an expert.
    """
    config = experiment.vlm_reward
    world = make_world(experiment)
    try:
        env = world.envs[0]
        act = _actor(env, player)
        options = None if goal is None else {"goal": goal}
        observation, info = env.reset(seed=seed, options=options)
        told = config.goal_set[episode_goal(config, observation, info, evaluation=True)].text
        if goal not in (None, told):
            raise GoalError(
                f"goal {goal!r}: the env chose {told!r}. Leave --goal out, or let the env honour "
                "reset(options={'goal': ...})."
            )
        env.action_space.seed(seed)
        frames, success, done = [], [], False
        while not done:
            observation, _, terminated, truncated, info = env.step(act())
            seen = collect_frames(config.frame_source, world, [0], [observation], [info])
            frames.append(np.array(seen[0]))
            success.append(info.get(config.success_key))
            done = terminated or truncated
    finally:
        world.close()
    return Trajectory(
        f"seed {seed}",
        player or ("expert" if env.has_wrapper_attr("expert_action") else "random"),
        told,
        np.stack(frames),
        tuple(range(1, len(frames) + 1)),
        None if None in success else tuple(map(bool, success)),
    )


def _actor(env: Any, player: str | None) -> Any:
    advised = env.has_wrapper_attr("expert_action")
    known = ["random", *(["expert"] if advised else [])]
    if player not in (None, *known):
        raise LabelError(
            f"player {player!r}: got an env whose players are {known}, expected one of these. An "
            "expert is a method expert_action() of the env that returns its action."
        )
    if player == "random" or not advised:
        return env.action_space.sample
    return env.get_wrapper_attr("expert_action")
