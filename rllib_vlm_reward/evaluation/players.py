"""Plays episodes in a run's env, at random or with the env's expert."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rllib_vlm_reward.connectors.episode_goal import episode_goal
from rllib_vlm_reward.connectors.frame_source import collect_frames
from rllib_vlm_reward.connectors.known_goals import KnownGoals
from rllib_vlm_reward.errors import GoalError, LabelError
from rllib_vlm_reward.frames import Frames
from rllib_vlm_reward.run.experiment import Experiment
from rllib_vlm_reward.run.run_env import make_env

__all__ = ["Act", "PlayedEnv"]

Act = Callable[[], Any]
"""Returns the next action."""


class PlayedEnv:
    """A run's env, in which a player plays one episode after another; a context manager.

    Args:
        experiment: the run.

    Attributes:
        acts: the players that need no checkpoint: ``random``, and ``expert`` where the env has a
            method ``expert_action()``; each is a function that returns the next action.
        steps_to_go: the env's method ``steps_to_go()``; if it has none, a function that returns
            None.

    Example:
        >>> experiment = Experiment.from_yaml('''
        ... environment: {env: rllib_vlm_reward/Find-v0, env_config: {colors: [red]}}
        ... vlm_reward: {encoder: small, goals: ["go to the red {ball|box|key}"]}
        ... stop: {env_steps: 1}
        ... ''')
        >>> with PlayedEnv(experiment) as played:
        ...     goal = played.reset(seed=0, goal="go to the red key")
        ...     infos = [info for _, info in played.play(played.act("expert"), seed=0)]
        >>> goal, infos[-1]["success"]
        ('go to the red key', True)
    """

    def __init__(self, experiment: Experiment) -> None:
        self._vector_env, self._config = make_env(experiment), experiment.vlm_reward
        env: Any = self._vector_env.envs[0]
        self._env = env
        self.acts: dict[str, Act] = {"random": env.action_space.sample}
        if env.has_wrapper_attr("expert_action"):
            self.acts["expert"] = env.get_wrapper_attr("expert_action")
        has_oracle = env.has_wrapper_attr("steps_to_go")
        self.steps_to_go: Act = env.get_wrapper_attr("steps_to_go") if has_oracle else lambda: None

    def __enter__(self) -> "PlayedEnv":
        return self

    def __exit__(self, *_: object) -> None:
        self._vector_env.close()

    def act(self, player: str) -> Act:
        """Return the function that returns a player's next action.

        Raises:
            LabelError: the player is unknown.
        """
        if player not in self.acts:
            raise LabelError(
                f"player {player!r}: unknown, expected one of {[*self.acts]}, or for `collect` "
                "the folder of a run that has checkpoint/. To add an expert, give the env a method "
                "expert_action() that returns the next action."
            )
        return self.acts[player]

    def reset(self, *, seed: int, goal: str | None = None) -> str:
        """Begin an episode and return its goal's text.

        Args:
            seed: seed of the layout.
            goal: passed to ``reset(options={"goal": goal})``; None leaves the choice to the env.

        Raises:
            GoalError: the env names no goal of the run, or another goal than the requested one.
        """
        options = None if goal is None else {"goal": goal}
        observation, info = self._env.reset(seed=seed, options=options)
        known = KnownGoals(self._config)
        chosen = known.all[episode_goal(known, observation, info, evaluation=True)].text
        if goal not in (None, chosen):
            raise GoalError(
                f"goal {goal!r}: the env chose {chosen!r}. Make the env follow "
                "reset(options={'goal': ...}), or leave the choice to the env."
            )
        return chosen

    def play(self, act: Act, *, seed: int) -> Iterator[tuple[Frames, Mapping[str, Any]]]:
        """Step until the env ends the episode; yield the frame and the info after each action.

        Args:
            act: see :meth:`act`.
            seed: seed of random actions.

        Yields:
            A frame, uint8 ``[H, W, 3]``, which the next step may overwrite, and the step's info.

        Raises:
            FrameError: the env gives no frame.
        """
        self._env.action_space.seed(seed)
        done, source = False, self._config.one_source("labelled frames")
        while not done:
            observation, _, terminated, truncated, info = self._env.step(act())
            (frame,) = collect_frames(source, self._vector_env, [0], [observation], [info])
            yield frame, info
            done = terminated or truncated
