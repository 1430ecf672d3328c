"""Sees the episodes on the learner's side and recounts every row of them."""

import collections
import dataclasses

import numpy as np
from painted import BANK, PaintedEnv
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.connectors.connector_v2 import ConnectorV2

from rllib_vlm_reward.reward_model.clip import CLIPEncoder
from rllib_vlm_reward.reward_model.model import RewardModel
from rllib_vlm_reward.reward_model.scorer import pay


@dataclasses.dataclass
class Chunk:
    """A copy of an episode, less the step by which PPO's first learner piece lengthened it."""

    id: str
    t_started: int
    columns: np.ndarray  # (env, episode, t, frame, goal), int64 [5, T + 1]
    extra: np.ndarray  # [T + 1, D], what the observation holds before them; D may be 0
    rewards: np.ndarray  # [T]
    lookback: np.ndarray  # the rewards before t_started that it still holds
    terminated: bool

    @classmethod
    def of(cls, episode, lengthened=True):
        end = -1 if lengthened else None
        observations = np.array(episode.get_observations())[:end]
        return cls(
            episode.id_.rsplit("_", 1)[0] if lengthened else episode.id_,  # it numbers the chunks
            episode.t_started,
            observations[:, -5:].astype(np.int64).T,
            observations[:, :-5],
            np.array(episode.get_rewards())[:end],
            np.array(episode.rewards.data[: episode.rewards.lookback]),
            bool(episode.is_terminated),
        )


class Witness(ConnectorV2):
    """A learner connector that keeps what reached the learner, which must be local."""

    chunks = []  # noqa: RUF012

    def __call__(self, *, rl_module, batch, episodes, **kwargs):
        every = self.single_agent_episode_iterator(episodes, agents_that_stepped_only=False)
        self.chunks.extend(map(Chunk.of, every))
        return batch


def witness(observation_space, action_space):
    """Be a ``learner_connector``."""
    return Witness(observation_space, action_space)


def ppo(env=PaintedEnv, num_env_runners=0, batch=200, **env_runners):
    """Return the configuration of a small PPO on the painted world, seen by a witness."""
    given = {
        "num_env_runners": num_env_runners,
        "num_envs_per_env_runner": 3,
        "rollout_fragment_length": 17,
    }
    return (
        PPOConfig()
        .environment(env)
        .env_runners(**{**given, **env_runners})
        .training(train_batch_size_per_learner=batch, minibatch_size=batch, num_epochs=1)
        .learners(learner_connector=witness)
        .rl_module(model_config={"fcnet_hiddens": [8]})
    )


def score_table(config):
    """Return every bank frame's score for every goal, float32 [G, F], computed here."""
    model = RewardModel(CLIPEncoder.load(config.encoder, precision=config.serving.precision))
    scorer = config.scorer
    goals = range(len(config.goal_set))
    return np.stack([model.score(BANK, np.full(len(BANK), g, np.int64), scorer) for g in goals])


def expected_rewards(chunks, config, scores=None):
    """Return what each step should pay, by the frame that its observation names.

    ``scores`` is the config's :func:`score_table`, for those who ask often.
    """
    scores = score_table(config) if scores is None else scores
    table = pay(scores, config.threshold_in_force)
    return [table[chunk.columns[4, 1:], chunk.columns[3, 1:]] for chunk in chunks]


def mismatches(got, expected):
    """Count the rows that differ by more than float32 arithmetic in another batch may."""
    return int((np.abs(np.concatenate(got) - np.concatenate(expected)) > 1e-5).sum())


def wrong_starts(chunks):
    """Count chunks whose first observation is not that of the step they say they start at."""
    return sum(int(chunk.columns[2, 0] != chunk.t_started) for chunk in chunks)


def jumps(chunks):
    """Count steps in a chunk after which env, episode or goal changed, or t is not t + 1."""
    count = 0
    for chunk in chunks:
        env, episode, t, _, goal = np.diff(chunk.columns)
        count += int(((env != 0) | (episode != 0) | (goal != 0) | (t != 1)).sum())
    return count


def wrong_lookbacks(chunks):
    """Count chunks whose lookback is not their predecessors' last rewards."""
    whole, count = {}, 0
    for chunk in chunks:
        before = np.array(whole.setdefault(chunk.id, []))[-len(chunk.lookback) or None :]
        count += int(not np.array_equal(chunk.lookback, before[: len(chunk.lookback)]))
        whole[chunk.id] += list(chunk.rewards)
    return count


def ends(chunks):
    """Count how chunks ended: terminated, truncated, or cut and gone on with in another one."""
    goes_on, goes_next, count = {}, {}, collections.Counter()
    for chunk in reversed(chunks):
        env, episode = chunk.columns[:2, 0]
        if chunk.terminated:
            count["terminated"] += 1
        elif chunk.t_started < goes_on.get(chunk.id, 0):
            count["cut"] += 1
        elif episode < goes_next.get(env, 0):
            count["truncated"] += 1
        goes_on[chunk.id] = max(goes_on.get(chunk.id, 0), chunk.t_started)
        goes_next[env] = max(goes_next.get(env, 0), episode)
    return count


def quiet_threshold(config, low=0.1, high=0.3):
    """Return a threshold in [low, high] as far as can be from any score."""
    scores = np.sort(score_table(config).ravel())
    scores = scores[(low < scores) & (scores < high)]
    gap = np.diff(scores).argmax()
    return float(scores[gap : gap + 2].mean())
