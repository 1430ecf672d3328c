"""Which score belongs to which step of which episode, until a fragment is paid out."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.connectors.totals import add_rewards, log_scores
from rllib_vlm_reward.errors import RewardError
from rllib_vlm_reward.reward_model.scorer import pay

__all__ = ["Ledger"]

Floats = npt.NDArray[np.float32]


class Ledger:
    """Keeps a fragment's scores, pays them, and closes the fragment.

    Args:
        config: of the run: threshold, mode and ``env_reward_weight`` say what a score pays.
    """

    def __init__(self, config: VLMRewardConfig) -> None:
        self._config = config
        # By episode object: one position in the vector env sees several episodes in a fragment,
        # and one id several chunks.
        self._scores: dict[SingleAgentEpisode, list[float]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._scores.values()))

    def enter(self, episodes: Sequence[SingleAgentEpisode], scores: Floats) -> list[int]:
        """Note the score of each episode's next unscored step; return the steps' t, from 1."""
        for episode, score in zip(episodes, scores.tolist(), strict=True):
            self._scores.setdefault(episode, []).append(score)
        return [episode.t_started + len(self._scores[episode]) for episode in episodes]

    def pay_last_steps(self, episodes: Sequence[SingleAgentEpisode], scores: Floats) -> None:
        """Write the rewards of a vector step that was just taken."""
        env_rewards = [episode.get_rewards(-1) for episode in episodes]
        rewards = self._rewards(scores, env_rewards).tolist()
        for episode, reward in zip(episodes, rewards, strict=True):
            episode.set_rewards(new_data=reward, at_indices=-1)

    def close(
        self,
        samples: Sequence[SingleAgentEpisode],
        ongoing: Sequence[SingleAgentEpisode],
        metrics: MetricsLogger,
    ) -> None:
        """Pay what is not paid yet, log the episodes that ended, and start anew.

        Args:
            samples: the chunks about to leave the env runner.
            ongoing: the episodes that go on in the next fragment.
            metrics: the env runner's logger.

        Raises:
            RewardError: a chunk of which not every step was scored.
        """
        log_scores(metrics, [score for scores in self._scores.values() for score in scores])
        successors = {episode.id_: episode for episode in ongoing}
        for chunk in samples:
            if not len(chunk):
                continue
            successor, scores = successors.get(chunk.id_), self._take(chunk)
            if self._config.mode == "deferred":
                _write(chunk, successor, self._rewards(scores, chunk.get_rewards()))
            threshold = self._config.threshold
            add_rewards(metrics, chunk, successor, pay(scores, threshold), threshold)
        self._scores.clear()  # of abandoned episodes, which RLlib drops when it resets all envs

    def _take(self, chunk: SingleAgentEpisode) -> Floats:
        scores = np.array(self._scores.get(chunk, []), np.float32)
        if len(scores) != len(chunk):
            raise RewardError(
                f"episode {chunk.id_}: {len(scores)} of its {len(chunk)} steps were scored, "
                "expected all. Don't step the env outside of the env runner's sample()."
            )
        return scores

    def _rewards(self, scores: Floats, env_rewards: Any) -> Floats:
        weight = np.float32(self._config.env_reward_weight)
        paid = pay(scores, self._config.threshold)
        return paid + weight * np.asarray(env_rewards, np.float32) if weight else paid


def _write(
    chunk: SingleAgentEpisode, successor: SingleAgentEpisode | None, rewards: Floats
) -> None:
    """Write a chunk's rewards, and those that ``cut()`` copied into the next one's lookback."""
    with warnings.catch_warnings():
        # RLlib 2.60 checks a float32 scalar against a Box, of which gymnasium warns.
        warnings.simplefilter("ignore", UserWarning)
        chunk.set_rewards(new_data=rewards)
    if successor is None:
        return
    for back in range(1, min(successor.rewards.lookback, len(rewards)) + 1):
        successor.set_rewards(
            new_data=float(rewards[-back]), at_indices=-back, neg_index_as_lookback=True
        )
