"""Records which reward belongs to which step, until the fragment ends."""

import math
import warnings
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.connectors.custom_data import BONUS_RETURN, ENV_REWARD, HINT_RETURN
from rllib_vlm_reward.connectors.episode_metrics import add_rewards, log_scores
from rllib_vlm_reward.errors import RewardError
from rllib_vlm_reward.monitoring.scored_steps import ScoredSteps

__all__ = ["Ledger", "check_env_reward"]

Floats = npt.NDArray[np.float32]
_NO_ROWS = np.zeros(0, np.int64)


class Ledger:
    """Collects the steps of a fragment, and writes their rewards into the episodes.

    Args:
        config: the reward of the episodes.
    """

    def __init__(self, config: VLMRewardConfig) -> None:
        self._config = config
        self._steps: list[ScoredSteps] = []
        # The keys are episode objects: within a fragment, one sub-env may play several episodes,
        # and several chunks may have one id.
        self._num_steps: dict[SingleAgentEpisode, int] = {}

    def __len__(self) -> int:
        return sum(self._num_steps.values())

    def num_steps(self, episode: SingleAgentEpisode) -> int:
        """Return how many steps of a chunk were begun."""
        return self._num_steps.get(episode, 0)

    def begin(self, episodes: Sequence[SingleAgentEpisode]) -> None:
        """Write a provisional reward for each episode's last step, whose score is not known yet.

        It is ``env_reward_weight`` times the env's reward. So no later connector piece can show
        the policy the env's full reward.

        Raises:
            RewardError: the env's reward is not finite, and ``env_reward_weight`` is set.
        """
        for episode in episodes:
            self._num_steps[episode] = self._num_steps.get(episode, 0) + 1
            # Writes into the buffer's list: set_rewards() checks the reward's space, which takes
            # 10 microseconds.
            episode.rewards.data[-1] = self._weighted(episode)

    def observe(self, steps: ScoredSteps) -> None:
        """Store steps whose rewards are known."""
        self._steps.append(steps)

    def pay(self, steps: ScoredSteps) -> None:
        """Write the rewards of the vector step that was just observed."""
        weighted = np.array([self._weighted(episode) for episode in steps.episodes], np.float32)
        rewards = weighted + steps.rewards + steps.bonus + steps.hints
        for episode, reward in zip(steps.episodes, rewards.tolist(), strict=True):
            episode.rewards.data[-1] = reward

    def close(
        self,
        samples: Sequence[SingleAgentEpisode],
        ongoing: Sequence[SingleAgentEpisode],
        metrics: MetricsLogger,
    ) -> None:
        """Write the rewards of the fragment, log the episodes that ended, and forget the steps.

        Args:
            samples: the chunks that are about to leave the env runner.
            ongoing: the episodes that continue in the next fragment.
            metrics: the env runner's logger.

        Raises:
            RewardError: a step of a chunk was not observed.
        """
        steps = ScoredSteps.join(self._steps)
        rows_of = steps.rows_by_episode()
        rewards = steps.rewards + steps.bonus + steps.hints
        beside = {
            BONUS_RETURN: steps.bonus if self._config.bonus is not None else None,
            HINT_RETURN: steps.hints if self._config.hints is not None else None,
        }
        log_scores(metrics, steps.frame_scores[steps.scored])
        successors = {episode.id_: episode for episode in ongoing}
        for chunk in samples:
            if not len(chunk):
                continue
            rows, successor = rows_of.get(chunk, _NO_ROWS), successors.get(chunk.id_)
            if len(rows) != len(chunk):
                raise RewardError(
                    f"episode {chunk.id_}: the connector saw {len(rows)} of its {len(chunk)} "
                    "steps, expected all. Step the env only through the env runner's sample()."
                )
            if self._config.mode == "deferred":
                weighted = np.asarray(chunk.get_rewards(), np.float32)
                _write(chunk, successor, rewards[rows] + weighted)
            add_rewards(
                metrics,
                chunk,
                successor,
                steps.paid[rows],
                self._config.threshold_in_force,
                {key: paid[rows] for key, paid in beside.items() if paid is not None},
            )
        # This also forgets abandoned episodes, which RLlib drops when it resets all envs.
        self._steps, self._num_steps = [], {}

    def _weighted(self, episode: SingleAgentEpisode) -> float:
        weight = self._config.env_reward_weight
        if not weight:
            return 0.0
        reward = float(episode.infos.data[-1][ENV_REWARD])
        check_env_reward(reward, weight)
        return weight * reward


def check_env_reward(reward: float, weight: float) -> None:
    """Check a reward of the env that the learner would see.

    Args:
        reward: the env's reward of one step.
        weight: ``env_reward_weight``; with 0 the learner does not see the reward.

    Raises:
        RewardError: the reward is not finite, so that nothing would be learnt from then on.
    """
    if weight and not math.isfinite(reward):
        raise RewardError(
            f"env_reward_weight {weight:g}: the env returned the reward {reward}, expected a "
            "finite number, since the learner sees it. Correct the env's step(), or set "
            "env_reward_weight: 0."
        )


def _write(
    chunk: SingleAgentEpisode, successor: SingleAgentEpisode | None, rewards: Floats
) -> None:
    """Write a chunk's rewards, also into the lookback of the chunk that continues its episode."""
    with warnings.catch_warnings():
        # RLlib 2.60 checks a float32 scalar against a Box, and gymnasium warns about that.
        warnings.simplefilter("ignore", UserWarning)
        chunk.set_rewards(new_data=rewards)
    if successor is None:
        return
    for back in range(1, min(successor.rewards.lookback, len(rewards)) + 1):
        successor.set_rewards(
            new_data=float(rewards[-back]), at_indices=-back, neg_index_as_lookback=True
        )
