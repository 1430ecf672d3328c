"""A run in YAML: RLlib's own settings under RLlib's own names, and the reward."""

import contextlib
import difflib
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.registry import ALGORITHMS
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.tune.registry import get_trainable_cls

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.curriculum import CurriculumConfig
from rllib_vlm_reward.errors import ConfigError
from rllib_vlm_reward.plugin import add_vlm_reward
from rllib_vlm_reward.run.progress import Progress
from rllib_vlm_reward.section import Section
from rllib_vlm_reward.settings import dump_settings, parse_settings, read_settings

__all__ = ["Experiment", "Policy", "Stop"]

Settings = dict[str, Any]
SECTIONS = (
    "environment",
    "env_runners",
    "training",
    "learners",
    "fault_tolerance",
    "framework",
    "reporting",
)


class Stop(Section):
    """When training ends: at the first of these.

    Attributes:
        env_steps: of all env runners.
        wall_seconds: of training iterations; None sets no limit.
    """

    env_steps: Annotated[int, Field(gt=0)]
    wall_seconds: Annotated[float, Field(gt=0)] | None = None

    def is_reached(self, progress: Progress) -> bool:
        """Return whether training has come to its end."""
        late = self.wall_seconds is not None and progress.wall_seconds >= self.wall_seconds
        return late or progress.env_steps >= self.env_steps


class Policy(Section):
    """The RLModule.

    Attributes:
        module: import path of the class.
        model_config_: its ``model_config``, a mapping that the class reads; ours read ``hidden``,
            ``patch_size``, ``channels``, ``stacked_frames``, and where they have an LSTM
            ``memory``, ``lstm_size`` and ``max_seq_len``.
    """

    module: str = "rllib_vlm_reward.policies.GoalConditionedModule"
    model_config_: Settings = Field(default_factory=dict, alias="model_config")


class Experiment(Section):
    """What ``rllib-vlm-reward train`` runs.

    A run evaluates at its end; for RLlib's own evaluation, build the configuration in Python.

    Attributes:
        algorithm: RLlib's name of the algorithm: PPO, APPO, IMPALA, DQN, SAC.
        seed: of envs, policy and learner.
        environment, env_runners, training, learners, fault_tolerance, framework, reporting: keyword
            arguments of the method of that name of RLlib's ``AlgorithmConfig``.
        policy: the RLModule; None takes RLlib's default for the observation space.
        vlm_reward: see :class:`~rllib_vlm_reward.config.VLMRewardConfig`.
        curriculum: draws each episode's goal, see :class:`.CurriculumConfig`; None leaves the
            choice to the env.
        stop: when training ends.
        evaluation_episodes: episodes of each evaluation at the end: trained, random, goal-blind.
        checkpoint_every: iterations between checkpoints.

    Raises:
        pydantic.ValidationError: an unknown key, or a value outside its range.

    Example:
        >>> experiment = Experiment.from_yaml('''
        ... environment: {env: CartPole-v1}
        ... vlm_reward:
        ...   encoder: ViT-B-32/random
        ...   goals: [pole vertically upright on top of the cart]
        ...   negatives: [pole and cart]
        ... stop: {env_steps: 1000}
        ... ''')
        >>> experiment.to_algorithm_config().algo_class.__name__
        'PPO'
    """

    algorithm: str = "PPO"
    seed: int = 0
    environment: Settings
    env_runners: Settings = Field(default_factory=dict)
    training: Settings = Field(default_factory=dict)
    learners: Settings = Field(default_factory=dict)
    fault_tolerance: Settings = Field(default_factory=dict)
    framework: Settings = Field(default_factory=dict)
    reporting: Settings = Field(default_factory=dict)
    policy: Policy | None = None
    vlm_reward: VLMRewardConfig
    curriculum: CurriculumConfig | None = None
    stop: Stop
    evaluation_episodes: Annotated[int, Field(ge=1)] = 100
    checkpoint_every: Annotated[int, Field(ge=1)] = 10

    @classmethod
    def from_yaml(cls, text: str) -> "Experiment":
        """Read the experiment from YAML text.

        Raises:
            ConfigError: the text is no YAML or not a mapping, or a key stands twice in one.
        """
        return cls._of(parse_settings(text), "experiment")

    @classmethod
    def from_file(cls, path: Path | str) -> "Experiment":
        """Read the experiment from a YAML file.

        Raises:
            ConfigError: as :meth:`from_yaml`; the file is named.
        """
        return cls._of(read_settings(Path(path)), str(path))

    @classmethod
    def _of(cls, settings: Any, where: str) -> "Experiment":
        if not isinstance(settings, dict):
            raise ConfigError(
                f"{where}: got {type(settings).__name__}, expected a mapping with the keys "
                "environment, vlm_reward and stop. See configs/quickstart.yaml."
            )
        return cls.model_validate(settings)

    def to_dict(self) -> Settings:
        """Return the settings that were given, in YAML's types and under its keys."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)

    def to_yaml(self) -> str:
        """Return the settings that were given, as YAML text."""
        return dump_settings(self.to_dict())

    def to_algorithm_config(self) -> AlgorithmConfig:
        """Return RLlib's configuration, with the reward added.

        Raises:
            ConfigError: a setting that the AlgorithmConfig's method does not know or refuses.
        """
        config: AlgorithmConfig = _algorithm(self.algorithm).get_default_config()
        for section in SECTIONS:
            _apply(config, section, getattr(self, section))
        config.debugging(seed=self.seed)
        if self.policy is not None:
            # Not in the spec: RLlib 2.60 then forgets the algorithm's own, as DQN's double_q.
            config.rl_module(
                rl_module_spec=RLModuleSpec(module_class=_import(self.policy.module)),
                model_config=self.policy.model_config_,
            )
        add_vlm_reward(config, self.vlm_reward, self.curriculum)
        with _refusals("experiment", self.model_dump(include=set(SECTIONS), exclude_unset=True)):
            config.validate()
        return config


def _algorithm(name: str) -> type[Algorithm]:
    if name not in ALGORITHMS:
        raise ConfigError(
            f"algorithm: got {name!r}, expected one of RLlib's: {sorted(ALGORITHMS)}."
        )
    algorithm: type[Algorithm] = get_trainable_cls(name)
    return algorithm


def _apply(config: AlgorithmConfig, section: str, settings: Settings) -> None:
    method = getattr(config, section)
    names = {
        name
        for kind in type(config).__mro__
        if section in vars(kind)
        for name in inspect.signature(vars(kind)[section]).parameters
    } - {"self", "kwargs"}
    for name in settings:
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            hint = f"Did you mean {close[0]!r}?" if close else f"It knows {sorted(names)}."
            raise ConfigError(
                f"{section}: got the unknown setting {name!r}, expected an argument of "
                f"{type(config).__name__}.{section}(). {hint}"
            )
    with _refusals(section, settings):
        method(**settings)


@contextlib.contextmanager
def _refusals(section: str, settings: Settings) -> Iterator[None]:
    """Say which settings RLlib refuses; its own error often names none."""
    try:
        yield
    except (TypeError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"{section}: RLlib refuses {settings} ({type(error).__name__}: {error}), expected "
            "arguments of the AlgorithmConfig. Correct their types and values."
        ) from error


def _import(path: str) -> Any:
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"policy: cannot import {path!r} ({error}), expected package.module.Class. "
            "Install its package, or set PYTHONPATH."
        ) from error
