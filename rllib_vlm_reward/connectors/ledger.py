"""Which score belongs to which step of which episode, until a fragment is paid out."""

import dataclasses
import warnings
from collections import deque
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.connectors.digest import Digest, Steps, lowest_score
from rllib_vlm_reward.connectors.economy import reduce_window
from rllib_vlm_reward.connectors.normalizer import RewardNormalizer
from rllib_vlm_reward.connectors.totals import add_rewards, log_scores
from rllib_vlm_reward.errors import RewardError
from rllib_vlm_reward.reward_model.scorer import pay

__all__ = ["Ledger", "Score"]

Floats = npt.NDArray[np.float32]
# Of a step: the score of its frame, "repeat" for that of the episode's frame before, or None.
Score = float | Literal["repeat"] | None


@dataclasses.dataclass(slots=True)
class _Account:
    """The steps of one chunk: how many are held, what the VLM pays for each, its reward.

    And those that are scored, for the digest.
    """

    scored: Steps
    held: int = 0
    paid: list[float] = dataclasses.field(default_factory=list)
    rewards: list[float] = dataclasses.field(default_factory=list)


class Ledger:
    """Keeps a fragment's scores, pays them, and closes the fragment.

    Args:
        config: of the run: window, threshold and ``env_reward_weight`` say what a score pays.
        normalizer: scales what the VLM pays, if it is scaled.
    """

    def __init__(self, config: VLMRewardConfig, normalizer: RewardNormalizer | None) -> None:
        self._config = config
        self._normalizer = normalizer
        # By episode object: one position in the vector env sees several episodes in a fragment,
        # and one id several chunks.
        self._accounts: dict[SingleAgentEpisode, _Account] = {}
        self._scores: list[float] = []
        # By id: a window reaches over chunks, and so does an episode's mean score.
        self._windows: dict[str, deque[float]] = {}
        self._before: dict[str, tuple[int, float]] = {}

    def __len__(self) -> int:
        return sum(account.held for account in self._accounts.values())

    def held(self, episode: SingleAgentEpisode) -> int:
        """Return how many steps of a chunk are held."""
        return self._accounts[episode].held if episode in self._accounts else 0

    def hold(self, episodes: Sequence[SingleAgentEpisode]) -> None:
        """Withhold the env's reward of each episode's last step: :meth:`enter` says its price.

        Until then the step holds what is known, ``env_reward_weight`` times the env's reward, so
        that no piece behind this one shows the policy the env's own.
        """
        for episode in episodes:
            if episode not in self._accounts:
                before = self._before.get(episode.id_, (0, 0.0))
                self._accounts[episode] = _Account(Steps(episode.id_, before=before))
            self._accounts[episode].held += 1
            # The buffer's list: set_rewards() checks the reward's space, 10 microseconds each.
            episode.rewards.data[-1] = self._weighted(episode)

    def enter(
        self,
        episodes: Sequence[SingleAgentEpisode],
        scores: Sequence[Score],
        dones: Sequence[bool],
        truths: Sequence[bool | None],
    ) -> tuple[Floats, list[int]]:
        """Note the scores of one vector step, in the order of stepping.

        Args:
            episodes: the B that were stepped.
            scores: of each one's frame; "repeat" where it is the frame before, None where no frame
                is scored.
            dones: whether each episode ended with this step; by now it may have gone on.
            truths: whether the step is a success; None where the env does not tell.

        Returns:
            what the VLM pays for each step, float32 ``[B]``, not normalised, and each step's t,
            from 1.
        """
        judged = [self._judge(*each) for each in zip(episodes, scores, strict=True)]
        paid = pay(np.array([score or 0.0 for score in judged], np.float32), self._config.threshold)
        paid[[score is None for score in judged]] = 0.0
        rewards = paid
        if self._normalizer is not None:
            rewards = self._normalizer([episode.id_ for episode in episodes], paid, dones)
        steps, fires = [], self._config.threshold is not None
        rows = zip(episodes, paid.tolist(), rewards.tolist(), judged, truths, strict=True)
        for episode, each, reward, score, truth in rows:
            account = self._accounts[episode]
            account.paid.append(each)
            account.rewards.append(reward)
            if score is not None:
                account.scored.append(score, each > 0 and fires, truth)
            steps.append(episode.t_started + len(account.paid))
        return paid, steps

    def pay_last_steps(self, episodes: Sequence[SingleAgentEpisode]) -> None:
        """Write the rewards of a vector step that was just entered."""
        for episode in episodes:
            reward = np.float32(self._accounts[episode].rewards[-1])
            episode.rewards.data[-1] = float(np.float32(self._weighted(episode)) + reward)

    def close(
        self,
        samples: Sequence[SingleAgentEpisode],
        ongoing: Sequence[SingleAgentEpisode],
        metrics: MetricsLogger,
    ) -> Digest:
        """Pay what is not paid yet, log the episodes that ended, and start anew.

        Args:
            samples: the chunks about to leave the env runner.
            ongoing: the episodes that go on in the next fragment.
            metrics: the env runner's logger.

        Returns:
            what the fragment's scores say of the reward.

        Raises:
            RewardError: a chunk of which not every step was entered.
        """
        log_scores(metrics, self._scores)
        successors = {episode.id_: episode for episode in ongoing}
        scored: list[Steps] = []
        ended: list[tuple[bool | None, bool]] = []
        for chunk in samples:
            if not len(chunk):
                continue
            successor, account = successors.get(chunk.id_), self._take(chunk)
            if self._config.mode == "deferred":
                rewards = np.array(account.rewards, np.float32)
                _write(chunk, successor, rewards + np.asarray(chunk.get_rewards(), np.float32))
            paid = np.array(account.paid, np.float32)
            add_rewards(metrics, chunk, successor, paid, self._config.threshold)
            scored.append(account.scored)
            self._before[chunk.id_] = account.scored.so_far
            if chunk.is_done:
                ended.append((chunk.custom_data.get("success"), chunk.custom_data["fires"] > 0))
        self._scores.clear()
        # Of abandoned episodes, too, which RLlib drops when it resets all envs.
        self._accounts.clear()
        self._windows = {id_: it for id_, it in self._windows.items() if id_ in successors}
        self._before = {id_: it for id_, it in self._before.items() if id_ in successors}
        return Digest.of(scored, low=lowest_score(self._config.head), ended=ended)

    def _judge(self, episode: SingleAgentEpisode, score: Score) -> float | None:
        """Return the step's score by its window, if it has one."""
        if score is None:
            return None
        window = self._windows.setdefault(episode.id_, deque(maxlen=self._config.window))
        if score == "repeat":
            score = window[-1]
        else:
            self._scores.append(score)
        window.append(score)
        return reduce_window(window, self._config.window_reduce)

    def _take(self, chunk: SingleAgentEpisode) -> _Account:
        account = self._accounts.get(chunk, _Account(Steps(chunk.id_)))
        if len(account.paid) != len(chunk):
            raise RewardError(
                f"episode {chunk.id_}: {len(account.paid)} of its {len(chunk)} steps were seen, "
                "expected all. Don't step the env outside of the env runner's sample()."
            )
        return account

    def _weighted(self, episode: SingleAgentEpisode) -> float:
        weight = self._config.env_reward_weight
        return weight * float(episode.get_infos(-1)["env_reward"]) if weight else 0.0


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
