"""Policies that are told their goal in words and learn from replay: for DQN and discrete SAC."""

from typing import Any

import gymnasium as gym
from ray.rllib.algorithms.dqn.dqn_catalog import DQNCatalog
from ray.rllib.algorithms.dqn.torch.default_dqn_torch_rl_module import DefaultDQNTorchRLModule
from ray.rllib.algorithms.sac.sac_catalog import SACCatalog
from ray.rllib.algorithms.sac.torch.default_sac_torch_rl_module import DefaultSACTorchRLModule
from ray.rllib.core.models.catalog import Catalog

from rllib_vlm_reward.errors import GoalError
from rllib_vlm_reward.policies.film import HIDDEN, FilmEncoder

__all__ = ["GoalConditionedQModule", "GoalConditionedSACModule"]


class _FilmCatalog(Catalog):  # type: ignore[misc]
    """Gives RLlib's modules a :class:`FilmEncoder` where they ask for an encoder."""

    def _determine_components_hook(self) -> None:
        # Not super()'s: RLlib 2.60 has no encoder for Dict observations.
        self.latent_dims = (self._model_config_dict.get("hidden", HIDDEN),)

    def build_encoder(self, framework: str) -> FilmEncoder:
        return FilmEncoder(self.observation_space, self._model_config_dict)


class _FilmDQNCatalog(_FilmCatalog, DQNCatalog):  # type: ignore[misc]
    pass


class _FilmSACCatalog(_FilmCatalog, SACCatalog):  # type: ignore[misc]
    pass


class GoalConditionedQModule(DefaultDQNTorchRLModule):  # type: ignore[misc]
    """One agent for many goals: RLlib's DQN module on a :class:`FilmEncoder`'s features.

    Dueling heads, double Q, distributional Q and target networks are RLlib's, as DQNConfig sets
    them. Observation: ``{"observation": uint8 [H, W, 3], "goal": float32 [D]}``, as
    :class:`~rllib_vlm_reward.connectors.GoalEmbedding` makes it. ``model_config``: the settings
    of :class:`~rllib_vlm_reward.policies.film.FilmEncoder`, and RLlib's own of heads.

    Example:
        >>> from ray.rllib.algorithms.dqn import DQNConfig
        >>> from ray.rllib.core.rl_module.rl_module import RLModuleSpec
        >>> config = DQNConfig().rl_module(
        ...     rl_module_spec=RLModuleSpec(module_class=GoalConditionedQModule)
        ... )
        >>> config.rl_module_spec.module_class.__name__
        'GoalConditionedQModule'
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["catalog_class"] = kwargs.get("catalog_class") or _FilmDQNCatalog
        super().__init__(*args, **kwargs)


class GoalConditionedSACModule(DefaultSACTorchRLModule):  # type: ignore[misc]
    """One agent for many goals: RLlib's SAC module, each network on a FilmEncoder of its own.

    Discrete actions only. Observation and ``model_config``: see :class:`GoalConditionedQModule`.

    Raises:
        GoalError: the action space is not Discrete.

    Example:
        >>> from ray.rllib.algorithms.sac import SACConfig
        >>> from ray.rllib.core.rl_module.rl_module import RLModuleSpec
        >>> config = SACConfig().rl_module(
        ...     rl_module_spec=RLModuleSpec(module_class=GoalConditionedSACModule)
        ... )
        >>> config.rl_module_spec.module_class.__name__
        'GoalConditionedSACModule'
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["catalog_class"] = kwargs.get("catalog_class") or _FilmSACCatalog
        super().__init__(*args, **kwargs)

    def setup(self) -> None:
        """Build the networks from ``self.model_config`` (RLlib's hook)."""
        if not isinstance(self.action_space, gym.spaces.Discrete):
            raise GoalError(
                f"GoalConditionedSACModule: got the action space {self.action_space}, expected a "
                "Discrete one. Set policy.module to a module of your own."
            )
        super().setup()
