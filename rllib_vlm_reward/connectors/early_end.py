"""Ends an episode early, from outside the env, and really resets it."""

from collections.abc import Sequence
from typing import Any, SupportsFloat

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

__all__ = ["ExternalReset", "end_early"]


class ExternalReset(gym.Wrapper[Any, Any, Any, Any]):
    """Resets the env at the next step when ``external_reset`` is set.

    RLlib ends an episode whose ``is_terminated`` a connector sets, but the env knows nothing of
    it: without this wrapper its next observation would pass for a reset one. A flagged step
    resets instead of stepping and pays nothing, exactly what gymnasium's NEXT_STEP autoreset
    does after the env itself has ended an episode.

    Set the flag through ``vec_env.set_attr("external_reset", [bool] * num_envs)``, which reaches
    the processes of an ``AsyncVectorEnv`` too. It must be the outermost wrapper, so that those
    that count steps are reset with it.

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
        """Step the env, or reset it when flagged."""
        if not self.external_reset:
            return self.env.step(action)
        observation, info = self.reset()
        return observation, 0.0, False, False, info

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset the env and take the flag down."""
        self.external_reset = False
        return self.env.reset(seed=seed, options=options)


def end_early(
    env: gym.vector.VectorEnv[Any, Any, Any],
    rows: Sequence[int],
    episodes: Sequence[SingleAgentEpisode],
    fired: npt.NDArray[np.bool_],
) -> None:
    """End the episodes that fired; setting ``is_terminated`` alone would corrupt the data.

    Args:
        env: the vector env, each of whose sub-envs is in an :class:`ExternalReset`.
        rows: the sub-env of each episode.
        episodes: the B that were just stepped.
        fired: which rewards fired, bool ``[B]``.
    """
    if not fired.any():
        return
    reset = [False] * env.num_envs
    for row, episode, end in zip(rows, episodes, fired, strict=True):
        if end:
            reset[row] = not episode.is_done  # an env that ended by itself resets by itself
            episode.is_terminated = True
    env.unwrapped.set_attr("external_reset", reset)
