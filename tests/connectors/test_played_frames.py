"""The frames on which precisions are compared: an env runner plays them before it samples."""

import contextlib
import logging

import numpy as np
import pytest
import recount
from cases import envs
from painted import BANK, PaintedEnv
from painted_agents import AGENTS, PaintedAgents
from test_agents import runner_of

from rllib_vlm_reward.connectors.callbacks import callbacks_of
from rllib_vlm_reward.connectors.pipeline import driver_pieces, reward_piece
from rllib_vlm_reward.connectors.played_frames import play_frames
from rllib_vlm_reward.connectors.reward import VLMReward
from rllib_vlm_reward.plugin import add_vlm_reward
from rllib_vlm_reward.run.evaluator import Evaluator

ONE_GOAL = {"goals": ["a square at the right edge"], "negatives": ["a square at the left edge"]}


def in_bank(frames):
    bank = {frame.tobytes() for frame in BANK}
    return all(frame.tobytes() in bank for frame in frames)


def test_they_are_64_of_the_env(vlm_config, env_runner):
    vlm = vlm_config()
    ((scorer, frames),) = play_frames(env_runner(vlm), vlm).items()
    assert scorer == vlm.scorer.fingerprint
    assert (frames.dtype, frames.shape) == (np.uint8, (64, 16, 16, 3))
    assert in_bank(frames)
    assert len({frame.tobytes() for frame in frames}) > 16


class Counted(PaintedEnv):
    """Each frame is as bright as its step's number."""

    def render(self):
        return np.full((16, 16, 3), self.t, np.uint8)


def test_those_of_the_first_reset_come_first(vlm_config, env_runner):
    vlm = vlm_config(**ONE_GOAL)
    (frames,) = play_frames(env_runner(vlm, env=Counted), vlm).values()  # of three sub-envs
    assert frames[:9, 0, 0, 0].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]


class CountedAgents(PaintedAgents):
    def _show(self, agents):
        observations, infos = super()._show(agents)
        for agent in agents:
            infos[agent]["rgb"] = np.full((16, 16, 3), self.t[agent], np.uint8)
        return observations, infos


def test_those_of_the_first_reset_come_first_for_several_agents_too(vlm_config, red_pool):
    vlm = vlm_config(frames={"source": "info:rgb"}, agents={"a1": None, "a2": None})
    (frames,) = play_frames(runner_of(vlm, red_pool, env=CountedAgents), vlm).values()
    assert frames[:6, 0, 0, 0].tolist() == [0, 0, 0, 1, 1, 1]


class NoFrameAtReset(PaintedEnv):
    def __init__(self, config):
        super().__init__({**config, "info_key": "rgb"})

    def reset(self, **kwargs):
        observation, info = super().reset(**kwargs)
        return observation, {key: value for key, value in info.items() if key != "rgb"}


def test_a_reset_may_have_no_frame(vlm_config, env_runner):
    vlm = vlm_config(frames={"source": "info:rgb"})
    (frames,) = play_frames(env_runner(vlm, env=NoFrameAtReset), vlm).values()
    assert len(frames) >= 6  # of two steps or more
    assert in_bank(frames)


def test_each_scorer_gets_those_of_its_agents(vlm_config, red_pool):
    vlm = vlm_config(
        frames={"source": "info:rgb"},
        agents={"a1": {"goals": ["a black wall", "a white wall"]}, "a2": None},
    )
    played = play_frames(runner_of(vlm, red_pool, env=PaintedAgents), vlm)
    rewards = [vlm.for_agent(agent) for agent in AGENTS]
    assert set(played) == {each.scorer.fingerprint for each in rewards if each is not None}
    assert all(len(frames) == 64 and in_bank(frames) for frames in played.values())


@pytest.mark.parametrize(
    ("env", "number"),
    [
        (envs.RaisesAtStepSeven, None),  # of the first episode that is so long
        (envs.RenderGivesNone, 3),
        (envs.RenderGivesList, 0),
        (envs.SizeChanges, 4),
    ],
)
def test_an_error_of_the_env_ends_the_play_and_is_raised_later(vlm_config, env_runner, env, number):
    vlm = vlm_config(**ONE_GOAL)
    played = play_frames(env_runner(vlm, env=env, num_envs_per_env_runner=1), vlm)
    if number == 0:
        assert played == {}
    elif env is envs.SizeChanges:  # those of the first size, from all episodes
        assert {frames.shape[1:] for frames in played.values()} == {(64, 64, 3)}
    elif number is None:
        assert all(6 <= len(frames) < 64 for frames in played.values())
    else:
        assert [len(frames) for frames in played.values()] == [number]


@pytest.mark.parametrize("runners", [0, 1])
def test_the_driver_measures_once_and_every_scorer_carries_the_choice(
    vlm_config, cluster, caplog, runners
):
    vlm = vlm_config(
        encoder="lowered.Lowered", serving={"num_cpus_per_actor": 1, "precision": "auto"}
    )
    config = add_vlm_reward(recount.ppo(num_env_runners=runners), vlm)
    with caplog.at_level(logging.INFO, logger="rllib_vlm_reward"):
        algorithm = config.build_algo()
    try:
        lines = [
            record.message for record in caplog.records if "compared with fp32" in record.message
        ]
        assert len(lines) == 1
        assert lines[0].startswith(
            "precision auto: bf16 for Softmax(temperature=0.3). bf16 changes"
        )
        assert "mean over 64 frames of the env" in lines[0]
        found = algorithm.env_runner_group.foreach_env_runner(
            lambda runner: reward_piece(runner)._streams[None].rater.precision
        )
        found += [it._streams[None].rater.precision for it in driver_pieces(algorithm, VLMReward)]
        with contextlib.closing(Evaluator(algorithm)) as evaluator:
            found.append(reward_piece(evaluator._runner)._streams[None].rater.precision)
        assert len(found) == 3 + runners
        assert set(found) == {"bf16"}
        (stats,) = callbacks_of(algorithm)._pool.stats()
        before = stats["frames"]
        algorithm.train()
        (stats,) = callbacks_of(algorithm)._pool.stats()
        assert stats["frames"] >= before + 200
    finally:
        algorithm.stop()
