"""Goal-conditioned policies that learn from a replay buffer: for DQN and SAC."""

import math
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
from ray.rllib.algorithms.dqn.dqn_catalog import DQNCatalog
from ray.rllib.algorithms.dqn.torch.default_dqn_torch_rl_module import DefaultDQNTorchRLModule
from ray.rllib.algorithms.sac.sac_catalog import SACCatalog
from ray.rllib.algorithms.sac.torch.default_sac_torch_rl_module import DefaultSACTorchRLModule
from ray.rllib.core.models.catalog import Catalog
from torch import nn

from rllib_vlm_reward.errors import ConfigError
from rllib_vlm_reward.policies.film import FilmEncoder
from rllib_vlm_reward.policies.goal_conditioned import is_flat_box
from rllib_vlm_reward.policies.memory import has_memory
from rllib_vlm_reward.policies.sizes import Sizes
from rllib_vlm_reward.policies.spatial import SpatialHead, grid_of, num_other_actions

__all__ = ["GoalConditionedQModule", "GoalConditionedSACModule"]


class _FilmCatalog(Catalog):  # type: ignore[misc]
    """Builds a :class:`FilmEncoder` where RLlib's modules need an encoder."""

    def _determine_components_hook(self) -> None:
        # Does not call super(), since RLlib 2.60 has no encoder for Dict observations.
        hidden, grid = Sizes.of(self._model_config_dict).hidden, grid_of(self._model_config_dict)
        self.latent_dims = (hidden + (0 if grid is None else math.prod(grid)),)

    def build_encoder(self, framework: str) -> FilmEncoder:
        return FilmEncoder(self.observation_space, self._model_config_dict)


class _FilmDQNCatalog(_FilmCatalog, DQNCatalog):  # type: ignore[misc]
    def build_af_head(self, framework: str) -> nn.Module:
        grid = grid_of(self._model_config_dict)
        if grid is None:
            head: nn.Module = super().build_af_head(framework)
            return head
        others = num_other_actions(grid, self.action_space)
        dense = self._get_head_config(others).build(framework=framework) if others else None
        return SpatialHead(math.prod(grid), dense)


class _FilmSACCatalog(_FilmCatalog, SACCatalog):  # type: ignore[misc]
    def build_qf_encoder(self, framework: str) -> FilmEncoder:
        # With continuous actions, SAC's Q network takes an action as input; with discrete actions
        # it returns a value for each action.
        continuous = isinstance(self.action_space, gym.spaces.Box)
        action_dim = self.action_space.shape[0] if continuous else 0
        return FilmEncoder(self.observation_space, self._model_config_dict, action_dim=action_dim)


class GoalConditionedQModule(DefaultDQNTorchRLModule):  # type: ignore[misc]
    """A policy for many goals: RLlib's DQN module with a :class:`FilmEncoder`.

    Dueling heads, double Q, distributional Q and target networks are RLlib's; set them with
    DQNConfig. The observation is ``{"observation": uint8 [H, W, C], "goal": float32 [D]}``, as
    :class:`~rllib_vlm_reward.connectors.GoalEmbedding` gives it. The action space is ``Discrete``.
    ``model_config`` takes the settings of :class:`~rllib_vlm_reward.policies.film.FilmEncoder`,
    ``stacked_frames``, ``goal_code``, and RLlib's settings for the heads. With ``spatial_actions``,
    the scores of places are the Q values (or advantages) of the first actions.

    Raises:
        ConfigError: the action space is not discrete, ``memory`` is set, ``goal_code`` is not
            supported, or ``spatial_actions`` does not fit the actions, the patches or
            ``num_atoms``.

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
        # Checked before super(), which creates the catalog: RLlib 2.60 hides errors in a catalog.
        _check_memory(type(self).__name__, kwargs)
        space = kwargs.get("action_space")
        if not isinstance(space, gym.spaces.Discrete):
            raise ConfigError(
                f"GoalConditionedQModule: got the action space {space}, expected Discrete, since "
                "DQN compares the values of all actions. Use SAC with GoalConditionedSACModule, or "
                "PPO with GoalConditionedModule, for continuous actions."
            )
        _check_spatial_actions(kwargs.get("model_config") or {}, space)
        kwargs["catalog_class"] = kwargs.get("catalog_class") or _FilmDQNCatalog
        super().__init__(*args, **kwargs)


class GoalConditionedSACModule(DefaultSACTorchRLModule):  # type: ignore[misc]
    """A policy for many goals: RLlib's SAC module with a :class:`FilmEncoder` in each network.

    The action space is ``Discrete``, or a bounded ``Box`` of floats ``[A]``. For the observation
    and ``model_config`` see :class:`GoalConditionedQModule`. With ``goal_code``, each network has a
    code of its own; that of a goal is the actor's.

    Raises:
        ConfigError: the action space or ``goal_code`` is not supported, or ``memory`` or
            ``spatial_actions`` is set.

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
        _check_memory(type(self).__name__, kwargs)
        if "spatial_actions" in (kwargs.get("model_config") or {}):
            raise ConfigError(
                "GoalConditionedSACModule: got spatial_actions, which its heads do not read. "
                "Remove it, or use PPO, APPO, IMPALA or DQN."
            )
        space = kwargs.get("action_space")
        bounded = isinstance(space, gym.spaces.Box) and space.is_bounded() and is_flat_box(space)
        if not (isinstance(space, gym.spaces.Discrete) or bounded):
            raise ConfigError(
                f"GoalConditionedSACModule: got the action space {space}, expected Discrete or a "
                "bounded, one-dimensional Box of floats. Bound or flatten the actions in the env, "
                "or write your own RLModule."
            )
        kwargs["catalog_class"] = kwargs.get("catalog_class") or _FilmSACCatalog
        super().__init__(*args, **kwargs)


def _check_memory(name: str, kwargs: dict[str, Any]) -> None:
    if has_memory(kwargs.get("model_config") or {}):
        raise ConfigError(
            f"{name}: got memory 'lstm', expected no memory, because RLlib 2.60's prioritised "
            "replay buffer samples single steps and its SAC learner does not pass states on. Set "
            "stacked_frames, or use PPO, APPO or IMPALA."
        )


def _check_spatial_actions(model_config: Mapping[str, Any], space: gym.Space[Any]) -> None:
    grid = grid_of(model_config)
    if grid is None:
        return
    num_other_actions(grid, space)  # raises an error if they do not fit
    num_atoms = model_config.get("num_atoms", 1)
    if num_atoms > 1:
        raise ConfigError(
            f"spatial_actions: got it with num_atoms {num_atoms}, expected 1, since a place has "
            "one score. Set training: {num_atoms: 1}, or remove spatial_actions."
        )
