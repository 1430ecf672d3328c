"""Connects the algorithm's replay buffer with the goals of its reward."""

from typing import Any

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.callbacks.callbacks import RLlibCallback

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.connectors.goal_embedding import GoalEmbedding, shown
from rllib_vlm_reward.connectors.pipeline import driver_pieces
from rllib_vlm_reward.errors import RewardError
from rllib_vlm_reward.monitoring import metric_names as names
from rllib_vlm_reward.replay.hindsight import Hindsight, with_hindsight
from rllib_vlm_reward.settings import load_object

__all__ = ["HindsightCallbacks"]


class HindsightCallbacks(RLlibCallback):  # type: ignore[misc]
    """Gives the buffer the goals' embeddings, and reports how many copies were made.

    Put it after :class:`.VLMRewardCallbacks`, which embeds the goals.

    Args:
        config: the reward of the run, which has ``hindsight``.
    """

    def __init__(self, config: VLMRewardConfig) -> None:
        super().__init__()
        self._config = config

    def on_algorithm_init(self, *, algorithm: Algorithm, **kwargs: Any) -> None:
        """Replace the buffer if it is RLlib's, and pass it the embeddings.

        Raises:
            RewardError: the policy does not see the goal as an entry of its observation, it has
                memory, or the buffer makes no copies.
        """
        self._check_module(algorithm)
        buffer = algorithm.local_replay_buffer
        if not isinstance(buffer, Hindsight):
            # SAC of RLlib 2.60 accepts no other type than the names of RLlib's own buffers.
            given = with_hindsight(algorithm.config.replay_buffer_config, self._copies)
            kind = load_object(given.pop("type"), "replay_buffer_config.type")
            buffer = algorithm.local_replay_buffer = kind(**given)
        if not isinstance(buffer, Hindsight):
            raise RewardError(
                f"hindsight: got replay_buffer_config with the type {type(buffer).__name__}, "
                "expected a class that derives from "
                "rllib_vlm_reward.replay.HindsightEpisodeReplayBuffer. Correct the path."
            )
        piece = next(driver_pieces(algorithm, GoalEmbedding))
        assert self._config.holds is not None
        goals = self._config.training_goals.goals
        # Training goals come first in both, and of each prompt the first goal.
        first = zip(self._config.holds.candidates, piece.goals, strict=False)
        of_prompt = {goals[index].prompt: embedding for index, embedding in first}
        buffer.embeddings = {index: of_prompt[goal.prompt] for index, goal in enumerate(goals)}

    def on_train_result(
        self, *, algorithm: Algorithm, result: dict[str, Any], **kwargs: Any
    ) -> None:
        """Add to an iteration's result how many copies of an episode were made on average."""
        ended, copies, reached = algorithm.local_replay_buffer.take_counts()
        group = result.setdefault(names.ENV_RUNNERS, {}).setdefault(names.GROUP, {})
        metrics = group.setdefault(names.HINDSIGHT, {})
        metrics[names.GOALS_REACHED] = reached
        if ended:
            metrics[names.COPIES_PER_EPISODE] = copies / ended

    @property
    def _copies(self) -> int:
        assert self._config.hindsight is not None
        return self._config.hindsight

    def _check_module(self, algorithm: Algorithm) -> None:
        module = algorithm.get_module()
        if module is None:
            return
        if "goal" not in shown(module.observation_space):
            raise RewardError(
                f"hindsight: the policy observes {module.observation_space}, expected a Dict with "
                "the entries 'observation' and 'goal', since a copy shows another goal. Remove the "
                "env-to-module connectors that flatten it, and use a policy such as "
                "rllib_vlm_reward.policies.GoalConditionedQModule; or remove hindsight."
            )
        if module.is_stateful():
            raise RewardError(
                f"hindsight: got {type(module).__name__}, which has memory, expected a policy "
                "without, since the states in an episode belong to its own goal. Set "
                "stacked_frames instead, or remove hindsight."
            )
