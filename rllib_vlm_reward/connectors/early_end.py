"""Ends an episode early from outside the env, and resets the env."""

from collections.abc import Sequence
from typing import Any, SupportsFloat

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

__all__ = ["ExternalReset", "end_early"]


class ExternalReset(gym.Wrapper[Any, Any, Any, Any]):
    """Resets the env at the next step when ``external_reset`` is set.

    RLlib ends an episode if a connector sets its ``is_terminated``, but RLlib does not reset the
    env then. Without this wrapper, RLlib would take the next observation for a reset observation.
    A step with the flag set resets the env instead of stepping it, and its reward is 0. This is
    what gymnasium's NEXT_STEP autoreset does after the env itself has ended an episode.

    Set the flag with ``vec_env.set_attr("external_reset", [bool] * num_envs)``, which also works
    for the processes of an ``AsyncVectorEnv``. Make this the outermost wrapper, so that a reset
    also resets the wrappers that count steps.

    Example:
        >>> env = ExternalReset(gym.make("CartPole-v1"))
        >>> _ = env.reset(seed=0)
        >>> env.external_reset = True
        >>> observation, reward, terminated, truncated, info = env.step(1)
        >>> reward, terminated, truncated, env.external_reset
        (0.0, False, False, False)
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self.external_reset = False

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step the env, or reset it if ``external_reset`` is set."""
        if not self.external_reset:
            return self.env.step(action)
        observation, info = self.reset()
        return observation, 0.0, False, False, info

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset the env and clear ``external_reset``."""
        self.external_reset = False
        return self.env.reset(seed=seed, options=options)


def end_early(
    env: gym.vector.VectorEnv[Any, Any, Any],
    rows: Sequence[int],
    episodes: Sequence[SingleAgentEpisode],
    fired: npt.NDArray[np.bool_],
) -> None:
    """End the episodes whose reward fired, and have their sub-envs reset.

    Args:
        env: the vector env, with an :class:`ExternalReset` around each sub-env.
        rows: the index of each episode's sub-env.
        episodes: the B episodes that were just stepped.
        fired: bool ``[B]``: which rewards fired.
    """
    if not fired.any():
        return
    reset = [False] * env.num_envs
    for row, episode, end in zip(rows, episodes, fired, strict=True):
        if end:
            reset[row] = not episode.is_done  # if the env ended the episode, it resets by itself
            episode.is_terminated = True
    env.unwrapped.set_attr("external_reset", reset)
