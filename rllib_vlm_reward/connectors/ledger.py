"""Which reward belongs to which step of which episode, until a fragment is paid out."""

import warnings
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.connectors.custom_data import ENV_REWARD
from rllib_vlm_reward.connectors.episode_metrics import add_rewards, log_scores
from rllib_vlm_reward.errors import RewardError
from rllib_vlm_reward.monitoring.scored_steps import ScoredSteps

__all__ = ["Ledger"]

Floats = npt.NDArray[np.float32]
_NO_ROWS = np.zeros(0, np.int64)


class Ledger:
    """Observes a fragment's steps, writes their rewards, and closes the fragment.

    Args:
        config: the reward of the episodes.
    """

    def __init__(self, config: VLMRewardConfig) -> None:
        self._config = config
        self._steps: list[ScoredSteps] = []
        # By episode object: one position in the vector env sees several episodes in a fragment,
        # and one id several chunks.
        self._held: dict[SingleAgentEpisode, int] = {}

    def __len__(self) -> int:
        return sum(self._held.values())

    def held(self, episode: SingleAgentEpisode) -> int:
        """Return how many steps of a chunk are held."""
        return self._held.get(episode, 0)

    def hold(self, episodes: Sequence[SingleAgentEpisode]) -> None:
        """Withhold the env's reward of each episode's last step, until its score is here.

        Until then the step holds what is known, ``env_reward_weight`` times the env's reward, so
        that no piece behind this one shows the policy the env's own.
        """
        for episode in episodes:
            self._held[episode] = self._held.get(episode, 0) + 1
            # The buffer's list: set_rewards() checks the reward's space, 10 microseconds each.
            episode.rewards.data[-1] = self._weighted(episode)

    def observe(self, steps: ScoredSteps) -> None:
        """Take note of steps whose rewards are known."""
        self._steps.append(steps)

    def pay(self, steps: ScoredSteps) -> None:
        """Write the rewards of the vector step that was just observed."""
        weighted = np.array([self._weighted(episode) for episode in steps.episodes], np.float32)
        for episode, reward in zip(
            steps.episodes, (weighted + steps.rewards).tolist(), strict=True
        ):
            episode.rewards.data[-1] = reward

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
            RewardError: a chunk of which not every step was observed.
        """
        steps = ScoredSteps.join(self._steps)
        rows_of = steps.rows_by_episode()
        log_scores(metrics, steps.frame_scores[steps.scored])
        successors = {episode.id_: episode for episode in ongoing}
        for chunk in samples:
            if not len(chunk):
                continue
            rows, successor = rows_of.get(chunk, _NO_ROWS), successors.get(chunk.id_)
            if len(rows) != len(chunk):
                raise RewardError(
                    f"episode {chunk.id_}: {len(rows)} of its {len(chunk)} steps were seen, "
                    "expected all. Don't step the env outside of the env runner's sample()."
                )
            if self._config.mode == "deferred":
                weighted = np.asarray(chunk.get_rewards(), np.float32)
                _write(chunk, successor, steps.rewards[rows] + weighted)
            add_rewards(
                metrics, chunk, successor, steps.paid[rows], self._config.threshold_in_force
            )
        # Abandoned episodes go too: RLlib drops them when it resets all envs.
        self._steps, self._held = [], {}

    def _weighted(self, episode: SingleAgentEpisode) -> float:
        weight = self._config.env_reward_weight
        return weight * float(episode.infos.data[-1][ENV_REWARD]) if weight else 0.0


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
