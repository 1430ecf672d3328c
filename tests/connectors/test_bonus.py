"""What a bonus pays in an env runner, recounted from the frames that the observations name."""

import numpy as np
import pytest
from painted import BANK, ENV_REWARD
from red_pool import blue_number, red_score

from rllib_vlm_reward.connectors.normalizer import RewardNormalizer
from rllib_vlm_reward.connectors.pipeline import reward_piece

WEIGHT = 3.0
GAMMA = 0.9
GIVEN = {
    "bonus": {"kind": "focal", "weight": WEIGHT},
    "templates": [{"noun": "{}"}],
}
BOTH = pytest.mark.parametrize("mode", ["synchronous", "deferred"])


def with_potential():
    return {**GIVEN, "bonus": {**GIVEN["bonus"], "potential": True}}


def frames_of(episode):
    """Return the frames and goals of all observations of a chunk, also its first."""
    observations = np.array(episode.get_observations()).astype(int)
    return BANK[observations[:, 3]], observations[:, 4]


def goal_rewards(episode, threshold=None):
    frames, goals = frames_of(episode)
    scores = red_score(frames, goals)[1:]
    return scores if threshold is None else (scores > threshold).astype(np.float32)


def shaped(episode):
    """Return gamma Phi(s') - Phi(s) of each step of a chunk."""
    potentials = WEIGHT * blue_number(frames_of(episode)[0]).astype(float)
    if episode.is_terminated:
        potentials[-1] = 0.0
    return GAMMA * potentials[1:] - potentials[:-1]


def play(runner, fragments=4):
    chunks = [chunk for _ in range(fragments) for chunk in runner.sample()]
    assert sum(chunk.is_terminated for chunk in chunks) > 0
    assert sum(chunk.is_truncated for chunk in chunks) > 0
    assert sum(chunk.t_started > 0 for chunk in chunks) > 0  # a fragment cut an episode
    return chunks


@BOTH
@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_it_is_paid_beside_the_goals_reward(mode, weight, vlm_config, env_runner):
    runner = env_runner(vlm_config(mode=mode, threshold=0.5, env_reward_weight=weight, **GIVEN))
    for chunk in play(runner):
        blue = WEIGHT * blue_number(frames_of(chunk)[0])[1:]
        expected = goal_rewards(chunk, 0.5) + blue + weight * ENV_REWARD
        assert np.allclose(chunk.get_rewards(), expected, atol=1e-5)


@BOTH
def test_a_potential_is_paid_by_its_change(mode, vlm_config, env_runner):
    runner = env_runner(vlm_config(mode=mode, **with_potential()))
    reward_piece(runner)._streams[None].bonus.gamma = GAMMA
    for chunk in play(runner):
        expected = goal_rewards(chunk) + shaped(chunk)
        assert np.allclose(chunk.get_rewards(), expected, atol=1e-5)


@BOTH
def test_with_a_potential_only_the_goals_reward_is_normalised(mode, vlm_config, env_runner):
    """With one sub-env, the vector step of a reset has no step to normalise."""
    settings = {"mode": mode, "normalize_rewards": True, **with_potential()}
    runner = env_runner(vlm_config(**settings), num_envs_per_env_runner=1)
    reward_piece(runner)._streams[None].bonus.gamma = GAMMA
    chunks = play(runner, 8)
    normalizer = RewardNormalizer(reward_piece(runner)._streams[None].normalizer.gamma)
    for chunk in chunks:
        for step, reward in enumerate(goal_rewards(chunk)):
            is_last = chunk.is_done and step + 1 == len(chunk)
            (scaled,) = normalizer([chunk.id_], np.array([reward]), [is_last])
            paid = chunk.get_rewards()[step] - shaped(chunk)[step]
            assert paid == pytest.approx(scaled, abs=1e-4)


def test_the_sum_of_a_potential_is_what_the_reset_showed(vlm_config, env_runner):
    """Undiscounted, and where the episode terminates: nothing can be gained by a detour."""
    runner = env_runner(vlm_config(mode="deferred", **with_potential()))
    reward_piece(runner)._streams[None].bonus.gamma = 1.0
    whole = [chunk for chunk in play(runner, 8) if chunk.is_terminated and not chunk.t_started]
    assert whole
    for chunk in whole:
        bonus = chunk.get_rewards() - goal_rewards(chunk)
        first = float(blue_number(frames_of(chunk)[0])[0])
        assert bonus.sum() == pytest.approx(-WEIGHT * first, abs=1e-4)


def test_an_early_end_terminates(vlm_config, env_runner):
    settings = {"mode": "synchronous", "threshold": 0.97, "early_end": True, **with_potential()}
    runner = env_runner(vlm_config(**settings))
    reward_piece(runner)._streams[None].bonus.gamma = GAMMA
    ended = 0
    for chunk in play(runner, 8):
        fires = goal_rewards(chunk, 0.97)
        assert np.allclose(chunk.get_rewards(), fires + shaped(chunk), atol=1e-5)
        assert not fires[:-1].any()  # the bonus, which is larger, ends nothing
        ended += int(fires[-1])
    assert ended > 0


def test_the_frames_of_resets_are_sent_only_for_a_potential(vlm_config, env_runner, red_pool):
    runner = env_runner(vlm_config(mode="deferred", **GIVEN))
    steps = sum(map(len, play(runner)))
    assert sum(red_pool.batches) == steps
    red_pool.batches.clear()
    runner = env_runner(vlm_config(mode="deferred", **with_potential()))
    chunks = play(runner)
    begun = sum(not chunk.t_started for chunk in chunks)
    # An episode that was reset at the end of the last fragment has no step yet.
    surplus = sum(red_pool.batches) - sum(map(len, chunks)) - begun
    assert 0 <= surplus <= 3


@BOTH
def test_it_has_a_metric_of_its_own_and_is_no_success(mode, vlm_config, env_runner):
    runner = env_runner(vlm_config(mode=mode, threshold=0.5, **GIVEN))
    chunks = []
    for _ in range(6):
        chunks += runner.sample()
    logged = runner.get_metrics()["vlm_reward"]
    by_episode = {}
    for chunk in chunks:
        by_episode.setdefault(chunk.id_, []).append(chunk)
    ended = [parts for parts in by_episode.values() if parts[-1].is_done]

    def mean(value):
        return np.mean([sum(float(value(part).sum()) for part in parts) for parts in ended])

    peeked = {name: logged[name].peek() for name in ("bonus_return_mean", "vlm_return_mean")}
    blue = mean(lambda chunk: WEIGHT * blue_number(frames_of(chunk)[0])[1:])
    assert peeked["bonus_return_mean"] == pytest.approx(blue, rel=1e-5)
    fires = mean(lambda chunk: goal_rewards(chunk, 0.5))
    assert peeked["vlm_return_mean"] == pytest.approx(fires, rel=1e-5)
    assert logged["fires_per_episode"].peek() == pytest.approx(fires, rel=1e-5)


def test_without_a_bonus_there_is_no_such_metric(vlm_config, env_runner):
    runner = env_runner(vlm_config(mode="deferred"))
    for _ in range(4):
        runner.sample()
    logged = runner.get_metrics()["vlm_reward"]
    assert "vlm_return_mean" in logged
    assert "bonus_return_mean" not in logged


def test_nothing_is_kept_of_episodes_that_ended(vlm_config, env_runner):
    runner = env_runner(vlm_config(mode="deferred", **with_potential()))
    play(runner, 8)
    assert len(reward_piece(runner)._streams[None].bonus._potentials) <= 3
