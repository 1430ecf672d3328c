"""A run's env, in which episodes are played one after another."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rllib_vlm_reward.connectors.collector import collect_frames, episode_goal
from rllib_vlm_reward.errors import GoalError, LabelError
from rllib_vlm_reward.frames import Frames
from rllib_vlm_reward.run.experiment import Experiment
from rllib_vlm_reward.run.world import make_world

__all__ = ["Act", "PlayedEnv"]

Act = Callable[[], Any]
"""Returns the next action."""


class PlayedEnv:
    """A run's env; close it, or use it in ``with``.

    Args:
        experiment: the run.

    Attributes:
        acts: how each player acts that needs no checkpoint: ``random``, and ``expert`` where the
            env has a method ``expert_action()``.
        steps_to_go: the env's own method; without one, returns None.

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
        self._world, self._config = make_world(experiment), experiment.vlm_reward
        env: Any = self._world.envs[0]
        self._env = env
        self.acts: dict[str, Act] = {"random": env.action_space.sample}
        if env.has_wrapper_attr("expert_action"):
            self.acts["expert"] = env.get_wrapper_attr("expert_action")
        tells = env.has_wrapper_attr("steps_to_go")
        self.steps_to_go: Act = env.get_wrapper_attr("steps_to_go") if tells else lambda: None

    def __enter__(self) -> "PlayedEnv":
        return self

    def __exit__(self, *_: object) -> None:
        self._world.close()

    def act(self, player: str) -> Act:
        """Return how a player acts.

        Raises:
            LabelError: no such player.
        """
        if player not in self.acts:
            raise LabelError(
                f"player {player!r}: got an env whose players are {[*self.acts]}, and no folder of "
                "a run with checkpoint/, expected one of these (only `collect` takes a folder). An "
                "expert is a method expert_action() of the env that returns the expert's action."
            )
        return self.acts[player]

    def reset(self, *, seed: int, goal: str | None = None) -> str:
        """Begin an episode and return its goal's text.

        Args:
            seed: of the layout.
            goal: posed by ``reset(options={"goal": goal})``; None leaves the choice to the env.

        Raises:
            GoalError: the env names no goal of the run, or another than the one posed.
        """
        options = None if goal is None else {"goal": goal}
        observation, info = self._env.reset(seed=seed, options=options)
        goals = self._config.goal_set
        told = goals[episode_goal(self._config, observation, info, evaluation=True)].text
        if goal not in (None, told):
            raise GoalError(
                f"goal {goal!r}: the env chose its own, {told!r}. Let it honour "
                "reset(options={'goal': ...}), or leave the choice to it."
            )
        return told

    def play(self, act: Act, *, seed: int) -> Iterator[tuple[Frames, Mapping[str, Any]]]:
        """Step until the env ends the episode; yield what is seen after each action, and its info.

        Args:
            act: see :meth:`act`.
            seed: of random actions.

        Yields:
            A frame, uint8 ``[H, W, 3]``, which the next one may overwrite, and the step's info.

        Raises:
            FrameError: the env gives no frame.
        """
        self._env.action_space.seed(seed)
        done, source = False, self._config.frame_source
        while not done:
            observation, _, terminated, truncated, info = self._env.step(act())
            (frame,) = collect_frames(source, self._world, [0], [observation], [info])
            yield frame, info
            done = terminated or truncated
