"""The YAML file of a run: RLlib's settings under RLlib's names, and the reward."""

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import gymnasium as gym
from pydantic import Field, model_validator
from ray import tune
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.registry import ALGORITHMS
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.tune.registry import get_trainable_cls

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.connectors.pipeline import registered_env
from rllib_vlm_reward.curriculum import CurriculumConfig
from rllib_vlm_reward.errors import ConfigError
from rllib_vlm_reward.plugin import add_vlm_reward
from rllib_vlm_reward.rllib_settings import arguments, check_setting
from rllib_vlm_reward.run.progress import Progress
from rllib_vlm_reward.settings import (
    Section,
    assign_settings,
    dump_settings,
    excerpt,
    find_config,
    key_hint,
    load_object,
    parse_settings,
    read_settings,
    shipped_configs,
)

__all__ = ["Experiment", "Policy", "Stop"]

Settings = dict[str, Any]
# The order matters: the default evaluation depends on whether there are several agents.
SECTIONS = (
    "environment",
    "env_runners",
    "training",
    "learners",
    "multi_agent",
    "evaluation",
    "callbacks",
    "fault_tolerance",
    "framework",
    "reporting",
)
# Arguments that are classes or functions, which YAML gives as import paths. All arguments of
# callbacks are too.
_OBJECTS = {
    "env_runners": {"env_to_module_connector", "module_to_env_connector"},
    "multi_agent": {"policy_mapping_fn", "policies_to_train"},
    "evaluation": {"custom_evaluation_function"},
}
_VERSIONED = re.compile(r"-v\d+$")  # how a gymnasium id ends
# What RLlib raises for wrong settings; ImportError for a framework that is not installed.
_REFUSALS = (
    *(TypeError, ValueError, AttributeError, AssertionError),
    *(ImportError, LookupError, NotImplementedError),
)
# The evaluation interval, in iterations, of a run that is evaluated only at its end.
_NEVER = 10**9
_EVALUATION_SEED = 1_000_003  # added to the run's seed, so that evaluation has other layouts


class Stop(Section, place="stop"):
    """When training ends: as soon as one of these limits is reached.

    Attributes:
        env_steps: number of env steps of all env runners.
        wall_seconds: duration of the training iterations in seconds; None sets no limit.
    """

    env_steps: Annotated[int, Field(gt=0)]
    wall_seconds: Annotated[float, Field(gt=0)] | None = None

    def is_reached(self, progress: Progress) -> bool:
        """Return whether a limit is reached."""
        late = self.wall_seconds is not None and progress.wall_seconds >= self.wall_seconds
        return late or progress.env_steps >= self.env_steps


class Policy(Section, place="policy"):
    """The RLModule.

    Attributes:
        module: import path of the class. None takes the one that a run without the section
            ``policy`` has, with ``model_config``.
        model_config_: the ``model_config``, a mapping that the class reads. The classes of this
            package read ``hidden``, ``patch_size``, ``channels``, ``stacked_frames`` and
            ``goal_code``; ``GoalConditionedModule`` also reads ``memory``, ``lstm_size`` and
            ``max_seq_len``, and it and ``GoalConditionedQModule`` read ``spatial_actions``.
    """

    module: str | None = "rllib_vlm_reward.policies.GoalConditionedModule"
    model_config_: Settings = Field(default_factory=dict, alias="model_config")


class Experiment(Section, place="the top level of a run"):
    """The settings of a run of ``rllib-vlm-reward train``.

    Every run is evaluated at its end, without exploration unless ``evaluation`` sets
    ``evaluation_config: {explore: true}``. Use ``evaluation`` also to add RLlib's own evaluation
    during training, with results in TensorBoard. With several agents, RLlib's evaluation is also
    the one at the end.

    Attributes:
        algorithm: RLlib's name of the algorithm: PPO, APPO, IMPALA, DQN, SAC.
        seed: seed of envs, policy and learner, from 0 to 2³¹ - 1.
        environment: keyword arguments for ``AlgorithmConfig.environment`` of RLlib. ``env`` is a
            gymnasium id, or the import path of an env class or of a function that takes
            ``env_config`` and returns an env.
        env_runners, training, learners, fault_tolerance, framework, reporting: keyword arguments
            for the method with this name of RLlib's ``AlgorithmConfig``.
        multi_agent, evaluation, callbacks: keyword arguments for these methods. Give functions and
            classes, such as ``policy_mapping_fn``, ``callbacks_class`` and ``on_episode_end``, as
            import paths. ``evaluation: {evaluation_config: {explore: true}}`` draws the actions of
            the evaluation at the end at random, as in training; by default they are the best ones.
        policy: the RLModule. Without this section it is RLlib's default for the observation space,
            or, for uint8 frames, which RLlib's modules do not take, one of this package.
        vlm_reward: the reward, see :class:`~rllib_vlm_reward.config.VLMRewardConfig`.
        curriculum: draws the goal of each episode, see :class:`.CurriculumConfig`; None lets the
            env choose.
        stop: when training ends.
        evaluation_episodes: number of episodes of each evaluation at the end: of the trained agent,
            of random actions and of the goal-blind agent. With several agents, only the trained
            agents are evaluated.
        checkpoint_every: number of iterations between checkpoints.

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
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    environment: Settings
    env_runners: Settings = Field(default_factory=dict)
    training: Settings = Field(default_factory=dict)
    learners: Settings = Field(default_factory=dict)
    multi_agent: Settings = Field(default_factory=dict)
    evaluation: Settings = Field(default_factory=dict)
    callbacks: Settings = Field(default_factory=dict)
    fault_tolerance: Settings = Field(default_factory=dict)
    framework: Settings = Field(default_factory=dict)
    reporting: Settings = Field(default_factory=dict)
    policy: Policy | None = None
    vlm_reward: VLMRewardConfig
    curriculum: CurriculumConfig | None = None
    stop: Stop
    evaluation_episodes: Annotated[int, Field(ge=1)] = 100
    checkpoint_every: Annotated[int, Field(ge=1)] = 10

    @model_validator(mode="before")
    @classmethod
    def _place_rllib_keys(cls, given: Any) -> Any:
        """Say in which section an unknown key belongs if it is one of RLlib's settings."""
        keys = cls.keys()
        unknown = [key for key in given if key not in keys] if isinstance(given, dict) else []
        algorithm = given.get("algorithm", "PPO") if unknown else None
        if isinstance(algorithm, str) and algorithm in ALGORITHMS:
            config = type(_algorithm(algorithm).get_default_config())
            for key in unknown:
                if place := _rllib_place(config, key):
                    raise ValueError(f"unknown key {key!r}. {place}")
        return given

    @classmethod
    def from_yaml(cls, text: str) -> "Experiment":
        """Read the experiment from YAML text.

        Raises:
            ConfigError: the text is not valid YAML or not a mapping, or a mapping repeats a key.
        """
        return cls._of(parse_settings(text), "experiment")

    @classmethod
    def from_file(cls, path: Path | str, assignments: Sequence[str] = ()) -> "Experiment":
        """Read the experiment from a YAML file.

        Args:
            path: path of the file, or the name of a shipped run, such as ``quickstart``; see
                :func:`.find_config`.
            assignments: texts ``key=value``, which replace values of the file, see
                :func:`.assign_settings`.

        Raises:
            ConfigError: there is no such file or name, or an assignment is wrong; or see
                :meth:`from_yaml`, with the name of the file.
        """
        file = find_config(path)
        return cls._of(assign_settings(read_settings(file), assignments), str(file))

    @classmethod
    def _of(cls, settings: Any, where: str) -> "Experiment":
        if not isinstance(settings, dict):
            raise ConfigError(
                f"{where}: got {type(settings).__name__}, expected a mapping with the keys "
                f"environment, vlm_reward and stop. See {shipped_configs()['quickstart']}."
            )
        return cls.model_validate(settings)

    @property
    def evaluation_explores(self) -> bool:
        """Whether the trained policy draws its actions at random where it is evaluated."""
        return bool((self.evaluation.get("evaluation_config") or {}).get("explore", False))

    def to_dict(self) -> Settings:
        """Return the given settings, without defaults, with the types and keys of YAML."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)

    def to_yaml(self) -> str:
        """Return the given settings, without defaults, as YAML text."""
        return dump_settings(self.to_dict())

    def to_algorithm_config(self) -> AlgorithmConfig:
        """Return RLlib's configuration, with the reward added.

        Raises:
            ConfigError: RLlib does not know or accept a setting, or an import path does not exist.
            CheckpointError, FrameError, GoalError, RewardError: see
                :func:`~rllib_vlm_reward.plugin.add_vlm_reward`.
        """
        config: AlgorithmConfig = _algorithm(self.algorithm).get_default_config()
        for section in SECTIONS:
            if section == "evaluation" and config.is_multi_agent:
                self._evaluate_several_agents(config)
            _apply(config, section, getattr(self, section))
        if config.is_multi_agent:
            _check_several_agents(config, self.multi_agent)
        config.debugging(seed=self.seed)
        if self.policy is not None:
            _set_policy(config, self.policy)
        add_vlm_reward(config, self.vlm_reward, self.curriculum)
        with _refusals("experiment", self.model_dump(include=set(SECTIONS), exclude_unset=True)):
            config.validate()
        return config

    def _evaluate_several_agents(self, config: AlgorithmConfig) -> None:
        """Set the defaults of RLlib's evaluation for several agents.

        The evaluation has one sub-env: with several, the first episodes to end are the short ones.
        """
        config.evaluation(
            evaluation_interval=_NEVER,  # RLlib 2.60 needs it to create evaluation env runners
            evaluation_duration=self.evaluation_episodes,
            evaluation_duration_unit="episodes",
            evaluation_config={
                "explore": False,
                "num_envs_per_env_runner": 1,
                "seed": self.seed + _EVALUATION_SEED,
            },
        )


def _algorithm(name: str) -> type[Algorithm]:
    if name not in ALGORITHMS:
        raise ConfigError(
            f"algorithm: got {name!r}, expected one of RLlib's algorithms: {sorted(ALGORITHMS)}. "
            "Correct the name."
        )
    algorithm: type[Algorithm] = get_trainable_cls(name)
    return algorithm


def _set_policy(config: AlgorithmConfig, policy: Policy) -> None:
    """Set the RLModule.

    The model_config is not part of the spec, since RLlib 2.60 would then ignore the settings of the
    algorithm, such as DQN's double_q.
    """
    if policy.module is not None:
        spec = RLModuleSpec(module_class=load_object(policy.module, "policy.module"))
        config.rl_module(rl_module_spec=spec)
    config.rl_module(model_config=policy.model_config_)


def _check_several_agents(config: AlgorithmConfig, given: Settings) -> None:
    """Refuse settings with which RLlib 2.60 fails only in the first episode, or at the end."""
    if "policy_mapping_fn" not in given:
        raise ConfigError(
            f"multi_agent: got the policies {sorted(config.policies)} without policy_mapping_fn, "
            "expected the import path of a function (agent, episode, **kwargs) -> policy name. "
            "Add policy_mapping_fn: package.module.function."
        )
    if config.evaluation_duration == "auto":
        raise ConfigError(
            "evaluation: got evaluation_duration 'auto' with several agents, expected a number, "
            "since the evaluation at the end does not run in parallel with training. Set "
            "evaluation_duration to a number."
        )
    if not config.evaluation_interval:
        config.evaluation(evaluation_interval=_NEVER)


def _apply(config: AlgorithmConfig, section: str, settings: Settings) -> None:
    method = getattr(config, section)
    names = arguments(type(config), section)
    for name in settings:
        if name not in names:
            hint = _rllib_place(type(config), name) or key_hint(name, sorted(names), section)
            raise ConfigError(
                f"{section}: got the unknown setting {name!r}, expected an argument of "
                f"{type(config).__name__}.{section}(). {hint}"
            )
    for name, value in settings.items():
        check_setting(section, name, value, names[name])
    loaded = {name: _loaded(section, name, value) for name, value in settings.items()}
    with _refusals(section, settings):
        method(**loaded)


def _rllib_place(config: type[AlgorithmConfig], name: Any) -> str:
    """Return a sentence that says in which sections RLlib has a setting; empty if in none."""
    places = [section for section in SECTIONS if name in arguments(config, section)]
    return f"It belongs in {' or '.join(places)}. Move it there." if places else ""


def _loaded(section: str, name: str, value: Any) -> Any:
    """Return the value of an RLlib argument; import paths become the objects that they name."""
    if (section, name) == ("environment", "env"):
        return _env(value)
    if section != "callbacks" and name not in _OBJECTS.get(section, ()):
        return value
    what = f"{section}.{name}"
    if isinstance(value, list):
        # A list in policies_to_train contains policy names, not import paths.
        return [load_object(path, what) for path in value] if section == "callbacks" else value
    return load_object(value, what) if isinstance(value, str) else value


def _env(env: Any) -> Any:
    """Return the env for RLlib: an id unchanged, or the class that an import path names.

    RLlib 2.60 does not accept a function, so a function is registered with Tune under its path.
    """
    is_path = (
        isinstance(env, str)
        and "." in env
        and not {*":/"} & {*env}
        and not _VERSIONED.search(env)
        and env not in gym.registry
        and registered_env(env) is None
    )
    if not isinstance(env, str) and not callable(env):
        raise ConfigError(
            f"environment.env: got {excerpt(env)}, expected a gymnasium id, such as CartPole-v1, "
            "or the import path of an env class or function. Correct it."
        )
    made = load_object(env, "environment.env") if is_path else env
    if not is_path or isinstance(made, type):
        return made
    if not callable(made):
        raise ConfigError(
            f"environment.env: got {env!r}, which is {made!r}, expected an env class or a function "
            "that returns an env. Correct the path."
        )
    tune.register_env(env, made)
    return env


@contextlib.contextmanager
def _refusals(section: str, settings: Settings) -> Iterator[None]:
    """Raise an error that names the settings if RLlib refuses them; RLlib often names none."""
    try:
        yield
    except _REFUSALS as error:
        raise ConfigError(
            f"{section}: RLlib refuses {excerpt(settings)} ({type(error).__name__}: {error}), "
            "expected valid arguments for its AlgorithmConfig. Correct their types and values."
        ) from error
