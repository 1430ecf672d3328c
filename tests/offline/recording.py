"""Records scenes with RLlib's own recorder, and reads what lies in a folder."""

import msgpack
import msgpack_numpy
import numpy as np
import pyarrow.parquet
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.offline.offline_env_runner import OfflineSingleAgentEnvRunner
from scenes import SceneEnv, SceneModule

from rllib_vlm_reward.connectors.pipeline import attach_pieces
from rllib_vlm_reward.plugin import add_vlm_reward
from rllib_vlm_reward.reward_model.clip import CLIPEncoder
from rllib_vlm_reward.reward_model.model import RewardModel
from rllib_vlm_reward.reward_model.scorer import pay


class LocalPool:
    """A pool of this process, with one real model, in place of the actors."""

    def __init__(self, encoder):
        self.model = RewardModel(CLIPEncoder.load(encoder, precision="fp32"))

    def submit(self, frames, goals, scorer, *, checked):
        self.scores = self.model.answer(np.stack(frames), goals, scorer)
        return self

    def ask(self, views, goals, rater):
        return self.submit(views[0], goals, rater, checked=True)

    def result(self):
        return self.scores

    def embed_texts(self, texts):
        return self.model.embed_texts(texts)


def record(folder, vlm=None, *, samples=8, mode="complete_episodes", **offline_data):
    """Record ``samples`` times 3 episodes, or fragments of 7 steps; return what was sampled."""
    written = {"output_max_rows_per_file": 1000, "output_write_remaining_data": True}
    config = (
        PPOConfig()
        .environment(SceneEnv)
        .env_runners(num_envs_per_env_runner=3, batch_mode=mode, rollout_fragment_length=7)
        .rl_module(rl_module_spec=RLModuleSpec(module_class=SceneModule))
        .offline_data(
            output=str(folder), **{"output_write_episodes": True, **written, **offline_data}
        )
    )
    if vlm is not None:
        add_vlm_reward(config, vlm)
    runner = OfflineSingleAgentEnvRunner(config=config)
    if vlm is not None:
        attach_pieces(runner, "local", "a run", precisions={})
    size = {"num_episodes": 3} if mode == "complete_episodes" else {"num_timesteps": 21}
    sampled = [e for _ in range(samples) for e in runner.sample(random_actions=True, **size)]
    runner.stop()
    return sampled


def read(folder):
    """Return the states of all episodes below a folder, in the order of its files."""
    rows = [
        row
        for path in sorted(folder.rglob("*.parquet"))
        for row in pyarrow.parquet.read_table(path)["item"].to_pylist()
    ]
    return [msgpack.unpackb(row, object_hook=msgpack_numpy.decode) for row in rows]


def rewards(state):
    return np.array(state["rewards"]["data"], np.float32)


def expected(states, config, goal=None):
    """Return what each episode's steps should pay, all frames scored here in one batch."""
    frames = [np.stack(state["observations"]["data"][1:]) for state in states]
    texts = [goal or state["infos"]["data"][0]["goal"] for state in states]
    goals = [
        np.full(len(some), config.goal_set.index(text), np.int64)
        for some, text in zip(frames, texts, strict=True)
    ]
    model = RewardModel(CLIPEncoder.load(config.encoder, precision=config.serving.precision))
    scores = model.score(np.concatenate(frames), np.concatenate(goals), config.scorer)
    paid = pay(scores, config.threshold_in_force)
    return np.split(paid, np.cumsum([len(some) for some in frames])[:-1])
