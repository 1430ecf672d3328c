"""Ends an episode early, from outside the env, and really resets it."""

from typing import Any, SupportsFloat

import gymnasium as gym

__all__ = ["ExternalReset"]


class ExternalReset(gym.Wrapper[Any, Any, Any, Any]):
    """Resets the env at the next step when told to through ``external_reset``.

    RLlib ends an episode whose ``is_terminated`` a connector sets, but the env knows nothing of
    it: without this wrapper its next observation would pass for a reset one. A flagged step
    resets instead of stepping and pays nothing, exactly what gymnasium's NEXT_STEP autoreset
    does after an end of the env's own.

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
