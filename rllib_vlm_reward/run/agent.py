"""A trained policy that acts outside of training."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import ray.cloudpickle
from ray.rllib.connectors.env_to_module import EnvToModulePipeline
from ray.rllib.connectors.module_to_env import ModuleToEnvPipeline
from ray.rllib.core import (
    COMPONENT_ENV_RUNNER,
    COMPONENT_ENV_TO_MODULE_CONNECTOR,
    COMPONENT_LEARNER,
    COMPONENT_LEARNER_GROUP,
    COMPONENT_MODULE_TO_ENV_CONNECTOR,
    COMPONENT_RL_MODULE,
    DEFAULT_MODULE_ID,
)
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.connectors.custom_data import FRAMES, GOAL_TEXT
from rllib_vlm_reward.connectors.goal_embedding import GoalEmbedding
from rllib_vlm_reward.connectors.pipeline import find_piece
from rllib_vlm_reward.connectors.reward import VLMReward
from rllib_vlm_reward.errors import (
    ERRORS,
    CheckpointError,
    ConfigError,
    FrameError,
    GoalError,
)
from rllib_vlm_reward.frames import Frames
from rllib_vlm_reward.policies.goal_code import find_goal_code
from rllib_vlm_reward.run.manifest import check_files
from rllib_vlm_reward.settings import excerpt, home_path

__all__ = ["Agent"]

# At least so many steps of an episode are kept, for connectors that read earlier steps.
_KEPT = 64
# After so many steps, the schedules of exploration (DQN's epsilon) have their last value.
_LATE = 10**12


class Agent:
    """A trained policy that acts, without Ray, reward actors or an env.

    Create it with :meth:`load`. It takes the same actions as RLlib's env runner, because it uses
    the connectors and the RLModule of the checkpoint. An agent plays one episode at a time. To play
    several episodes at once, load several agents.

    A policy that was trained with ``goal_embedding: true`` needs a goal, as a text for
    :meth:`act`. A goal that was not in the training is embedded by the CLIP in this process. With
    ``goal_map: true``, the CLIP in this process makes the map of each frame.

    Args:
        env_to_module: RLlib's pipeline from episodes to the RLModule's input.
        module: the RLModule.
        module_to_env: RLlib's pipeline from the RLModule's output to actions.

    Attributes:
        observation_space: of the env.
        action_space: of the env.

    Example:
        >>> agent = Agent.load("runs/quickstart")  # doctest: +SKIP
        >>> observation, info = env.reset()  # doctest: +SKIP
        >>> agent.act(observation, goal="pick up the red ball")  # doctest: +SKIP
        2
    """

    def __init__(
        self,
        env_to_module: EnvToModulePipeline,
        module: RLModule,
        module_to_env: ModuleToEnvPipeline,
    ) -> None:
        self._before, self._behind = env_to_module, module_to_env
        self._module = module
        self.observation_space: gym.Space[Any] = env_to_module.input_observation_space
        self.action_space: gym.Space[Any] = env_to_module.input_action_space
        reward = find_piece(env_to_module, VLMReward)
        self._reward: VLMRewardConfig | None = None if reward is None else reward.config
        self._embedding = find_piece(env_to_module, GoalEmbedding)
        self.reset()

    @classmethod
    def load(cls, run: Path | str) -> "Agent":
        """Load the policy of a run.

        Args:
            run: the folder of a run of ``rllib-vlm-reward train``, or a checkpoint that RLlib's
                ``save_to_path`` wrote. RLlib's checkpoints contain pickles: load none that you do
                not trust.

        Raises:
            CheckpointError: the folder has no policy, or no connector pipelines; or a file is
                missing or damaged, or names a class that cannot be imported.
            ConfigError: the folder has several policies.
        """
        folder = home_path(run).resolve()
        checkpoint = folder / "checkpoint" if (folder / "checkpoint").is_dir() else folder
        check_files(checkpoint)
        modules = checkpoint / COMPONENT_LEARNER_GROUP / COMPONENT_LEARNER / COMPONENT_RL_MODULE
        policies = sorted(path.name for path in modules.glob("*") if path.is_dir())
        if policies and policies != [DEFAULT_MODULE_ID]:
            raise ConfigError(
                f"{run}: got the policies {policies}, expected that of a single agent. Restore "
                "several with RLlib's RLModule.from_checkpoint and EnvToModulePipeline."
                "from_checkpoint; the reward does nothing in that pipeline."
            )
        # Without an env runner in the algorithm's process, its pipelines are in the top folder.
        runner = checkpoint / COMPONENT_ENV_RUNNER
        pipelines = runner if runner.is_dir() else checkpoint
        before = pipelines / COMPONENT_ENV_TO_MODULE_CONNECTOR
        behind = pipelines / COMPONENT_MODULE_TO_ENV_CONNECTOR
        if not (policies and before.is_dir() and behind.is_dir()):
            raise CheckpointError(
                f"{run}: got a folder without RLlib's {COMPONENT_LEARNER_GROUP}/ and "
                f"{COMPONENT_ENV_RUNNER}/, expected the folder of a run, which holds checkpoint/, "
                "or a checkpoint of Algorithm.save_to_path. Correct the path, or train first."
            )
        return cls(
            _restore(EnvToModulePipeline, before),
            _restore(RLModule, modules / DEFAULT_MODULE_ID),
            _restore(ModuleToEnvPipeline, behind),
        )

    @property
    def goals(self) -> tuple[str, ...]:
        """The goals of the run: of training, then held out; empty without a VLM reward."""
        return () if self._reward is None else self._reward.goal_set.texts

    @property
    def takes_goal(self) -> bool:
        """Whether the policy has an input for the goal that :meth:`act` takes."""
        return self._embedding is not None

    @property
    def sees_map(self) -> bool:
        """Whether the policy sees a map of where the goal is."""
        return self._embedding is not None and self._embedding.shows_map

    def read_map(self, frame: Frames, goal: str) -> npt.NDArray[np.float32]:
        """Return the map of a goal in a frame, float32 ``[h, w, 1]``, as the policy sees it.

        Args:
            frame: uint8 ``[H, W, 3]``, as the run's ``frames.source`` gives it.
            goal: text of the goal.

        Raises:
            GoalError: the policy was trained without ``goal_map``; or see :meth:`act`.
            CheckpointError, FrameError: see :meth:`act`.
        """
        if self._embedding is None or not self.sees_map:
            raise GoalError(
                "read_map: this policy sees no map. Train one with vlm_reward: {goal_map: true}."
            )
        return self._embedding.read_map(frame, goal)

    def goal_code(self, goal: str) -> str:
        """Return the discrete code by which the policy sees a goal, such as ``7-0-31-4``.

        Args:
            goal: text of the goal, which may be a new one.

        Raises:
            ConfigError: the policy was trained without ``goal_code``.
            GoalError: no template fits the text, or its prompt is too long for the CLIP.
            CheckpointError: the goal is new, and the CLIP is missing or has other weights.
        """
        code = find_goal_code(self._module)
        if code is None or self._embedding is None:
            raise ConfigError(
                "Agent.goal_code: got a policy without codes, expected one that was trained with "
                "policy: {model_config: {goal_code: {groups: 4, codes: 32}}}, and goal_embedding."
            )
        return code.names(self._embedding.embed(goal)[None])[0]

    def reset(self) -> None:
        """Begin an episode: the policy forgets its observations and its goal.

        Call it whenever the env resets. Otherwise a policy with an LSTM or stacked frames acts as
        if the old episode continued.
        """
        self._episode = SingleAgentEpisode(
            observation_space=self.observation_space, action_space=self.action_space
        )
        self._last: tuple[Any, dict[str, Any]] | None = None

    def act(
        self,
        observation: Any,
        goal: str | None = None,
        *,
        frame: Frames | None = None,
        explore: bool = False,
    ) -> Any:
        """Return the action for an observation.

        Args:
            observation: one observation as the env returned it, without a batch axis. It has the
                shape and dtype of :attr:`observation_space`; a frame is uint8 ``[H, W, 3]``.
            goal: text of the goal. It may change within an episode. None keeps the goal of the
                previous call, or takes the only goal of the run.
            frame: uint8 ``[H, W, 3]``, as the run's ``frames.source`` gives it. Only a policy with
                a map needs it, and only if the frame is not in the observation.
            explore: draw a random action, as at the end of training, instead of the best one.

        Returns:
            One action as the env takes it, without a batch axis. The run's ``normalize_actions``
            and ``clip_actions`` are applied, so a ``Box`` action is within its bounds.

        Raises:
            ConfigError: the observation has another shape or dtype.
            GoalError: the policy has no input for a goal, or needs one and got none; no template
                fits the text, or its prompt is too long for the CLIP.
            FrameError: the policy sees a map, and the frame is missing or no frame.
            CheckpointError: the goal is new or the policy sees a map, and the CLIP is missing or
                has other weights.
        """
        self._pursue(goal)
        if frame is None:
            self._check_no_frame()
        self._add(_checked(observation, self.observation_space))
        shared: dict[str, Any] = {} if frame is None else {FRAMES: {self._episode.id_: frame}}
        given = {"episodes": [self._episode], "rl_module": self._module, "shared_data": shared}
        batch = self._before(batch={}, explore=explore, **given)
        if explore:
            out = self._module.forward_exploration(batch, t=_LATE)
        else:
            out = self._module.forward_inference(batch)
        out = self._behind(batch=out, explore=explore, **given)
        actions = out.pop(Columns.ACTIONS)
        (action,) = out.pop(Columns.ACTIONS_FOR_ENV, actions)
        # The rest contains the state of an LSTM, which the next call reads from the episode.
        self._last = actions[0], {name: values[0] for name, values in out.items()}
        return action

    def _add(self, observation: Any) -> None:
        """Add an observation to the episode, with the action before it."""
        if self._last is None:
            self._episode.add_env_reset(observation)
            return
        action, extra = self._last
        if len(self._episode) >= _KEPT:
            self._episode = self._episode.cut(len_lookback_buffer=_KEPT)
        self._episode.add_env_step(observation, action, reward=0.0, extra_model_outputs=extra)

    def _check_no_frame(self) -> None:
        """Raise a FrameError if the policy sees a map of frames that are not its observations."""
        source = "" if self._reward is None else self._reward.frames.source
        if self.sees_map and source.partition(":")[0] in ("render", "info"):
            raise FrameError(
                "frame: got none, but this policy sees a map of the frames of frames.source "
                f"{source!r}, which are not in its observations. Pass one: act(observation, goal, "
                "frame=frame)."
            )

    def _pursue(self, goal: str | None) -> None:
        """Set the goal of the episode, or raise a GoalError."""
        if goal is not None and not isinstance(goal, str):
            raise GoalError(f"goal: got {excerpt(goal)}, expected a text. Pass the goal in words.")
        if self._embedding is None:
            if goal is not None and self.goals != (goal,):
                raise GoalError(
                    f"goal {goal!r}: this policy has no input for a goal, so it cannot pursue "
                    f"another than in training ({_listed(self.goals)}). Leave the goal out, or "
                    "train a policy with vlm_reward: {goal_embedding: true}."
                )
            return
        known = self._episode.custom_data
        if goal is None and GOAL_TEXT not in known and len(self.goals) == 1:
            goal = self.goals[0]
        if goal is not None:
            self._embedding.embed(goal)  # raises its errors before the episode changes
            known[GOAL_TEXT] = goal
        elif GOAL_TEXT not in known and not self._embedding.config.goal_source.startswith("obs:"):
            raise GoalError(
                f"goal: got none for a policy of {len(self.goals)} goals, expected the text of one "
                f"at an episode's first step: act(observation, goal={self.goals[0]!r})."
            )


def _restore(kind: Any, folder: Path) -> Any:
    """Restore a pipeline or a module.

    Raises:
        CheckpointError: a file is missing or damaged, or names a class that cannot be imported.
    """
    try:
        # RLlib 2.60 only logs a class that cannot be imported, and makes an empty pipeline.
        ray.cloudpickle.loads((folder / kind.CLASS_AND_CTOR_ARGS_FILE_NAME).read_bytes())
        return kind.from_checkpoint(folder)
    except ERRORS:
        raise
    except Exception as error:  # a damaged pickle may raise any error
        raise CheckpointError(
            f"{folder}: cannot be restored ({type(error).__name__}: {error}), expected what RLlib "
            "saved, and the modules of its classes. If a module is missing, install it, or add its "
            "folder to PYTHONPATH; if a file is missing or damaged, copy the run again."
        ) from error


def _checked(observation: Any, space: gym.Space[Any]) -> Any:
    """Return a copy of an observation in the dtype of its space.

    The bounds of a Box are not checked, since gymnasium's vector envs do not check them either.

    Raises:
        ConfigError: the observation does not belong to the space.
    """
    if not isinstance(space, gym.spaces.Box):
        if not space.contains(observation):
            raise ConfigError(
                f"observation: got {observation!r}, expected one of {space}. Give what the env "
                "returned, without a batch axis."
            )
        return observation
    dtype = np.dtype(space.dtype)
    try:
        array = np.asarray(observation)
    except ValueError:  # lists of different lengths
        array = np.empty((), object)
    if array.shape != space.shape or not np.can_cast(array.dtype, dtype, "same_kind"):
        raise ConfigError(
            f"observation: got {array.dtype} {list(array.shape)}, expected {dtype} "
            f"{list(space.shape)}. Give what the env returned, one observation at a time."
        )
    return array.astype(dtype)


def _listed(goals: Sequence[str]) -> str:
    if not goals:
        return "no goals in words"
    more = f" and {len(goals) - 3} more" if len(goals) > 3 else ""
    return ", ".join(map(repr, goals[:3])) + more
