import numpy as np
import pytest
from painted import BANK, ENV_REWARD, GOALS, PaintedEnv
from red_pool import red_score

from rllib_vlm_reward.connectors.pipeline import reward_piece
from rllib_vlm_reward.errors import GoalError, PoolError, RewardError
from rllib_vlm_reward.monitoring.scored_steps import Recorder

BOTH = pytest.mark.parametrize("mode", ["synchronous", "deferred"])


def scores_of(episode):
    """Return each step's score, by the frame and the goal that the observation after it names."""
    observations = np.array(episode.get_observations())[1:].astype(int)
    return red_score(BANK[observations[:, 3]], observations[:, 4])


@BOTH
@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_rewards_are_the_scores_of_the_observations_after_the_actions(
    mode, weight, vlm_config, env_runner
):
    runner = env_runner(vlm_config(mode=mode, env_reward_weight=weight))
    episodes = [episode for _ in range(3) for episode in runner.sample()]
    for episode in episodes:
        expected = scores_of(episode) + weight * ENV_REWARD
        assert np.allclose(episode.get_rewards(), expected, atol=1e-5)
    assert sum(map(len, episodes)) >= 3 * 3 * 17


@BOTH
def test_a_threshold_pays_one_or_nothing(mode, vlm_config, env_runner):
    runner = env_runner(vlm_config(mode=mode, threshold=0.5))
    for episode in runner.sample():
        assert np.array_equal(episode.get_rewards(), scores_of(episode) > 0.5)


@BOTH
def test_one_request_a_vector_step_of_the_stepped_envs_only(mode, vlm_config, env_runner, red_pool):
    runner = env_runner(vlm_config(mode=mode))
    # 68 steps, in which each sub-env ends an episode: none is longer than 30.
    steps = sum(len(episode) for _ in range(4) for episode in runner.sample())
    assert sum(red_pool.batches) == steps
    assert max(red_pool.batches) == 3
    assert min(red_pool.batches) < 3  # a sub-env that resets is not scored
    assert red_pool.read == len(red_pool.batches)


def test_deferred_scores_are_read_when_the_fragment_ends(vlm_config, env_runner, red_pool):
    runner = env_runner(vlm_config(mode="deferred"))
    piece, read_before = reward_piece(runner), []
    flush = piece.flush

    def watch(*args):
        read_before.append(red_pool.read)
        flush(*args)

    piece.flush = watch
    runner.sample()
    assert read_before == [0]
    assert red_pool.read == len(red_pool.batches)


def test_abandoned_episodes_leave_nothing_behind(vlm_config, env_runner):
    runner = env_runner(vlm_config(mode="deferred"), batch_mode="complete_episodes")
    for _ in range(2):
        for episode in runner.sample():
            assert episode.is_done
            assert np.allclose(episode.get_rewards(), scores_of(episode))
    assert len(reward_piece(runner)._streams[None]._ledger) == 0


@BOTH
def test_frames_in_infos_are_used_and_dropped(mode, vlm_config, env_runner):
    class InfoEnv(PaintedEnv):
        def __init__(self, config):
            super().__init__({**config, "info_key": "rgb", "render_mode": None})

    runner = env_runner(vlm_config(mode=mode, frames={"source": "info:rgb"}), InfoEnv)
    for episode in runner.sample():
        assert np.allclose(episode.get_rewards(), scores_of(episode))
        assert not any("rgb" in info for info in episode.get_infos())


@BOTH
def test_the_env_reward_stays_in_the_info(mode, vlm_config, env_runner):
    for episode in env_runner(vlm_config(mode=mode)).sample():
        kept = [info["env_reward"] for info in episode.get_infos()[1:]]
        assert kept == [ENV_REWARD] * len(episode)


@BOTH
def test_the_recorder_gets_every_scored_frame(mode, vlm_config, env_runner):
    runner = env_runner(vlm_config(mode=mode))
    recorder = Recorder()
    reward_piece(runner).record(recorder)
    episodes = [episode for _ in range(2) for episode in runner.sample()]
    assert len(recorder.frames) == sum(map(len, episodes))
    by_step = {(id_, t): rest for id_, t, *rest, _ in recorder.frames}
    for episode in episodes:
        observations = np.array(episode.get_observations())[1:].astype(int)
        for (_, _, t, frame, goal), reward in zip(observations, episode.get_rewards(), strict=True):
            shown, text, score = by_step[episode.id_, int(t)]
            assert np.array_equal(shown, BANK[frame])
            assert text == GOALS[goal]
            assert score == pytest.approx(reward)


@BOTH
def test_it_follows_the_env_runner_to_a_new_vector_env(mode, vlm_config, env_runner):
    runner = env_runner(vlm_config(mode=mode))
    runner.sample()
    runner.make_env()  # as after restart_failed_sub_environments
    assert reward_piece(runner).env is runner.env
    for episode in runner.sample():
        assert np.allclose(episode.get_rewards(), scores_of(episode))


def test_steps_that_were_not_scored_are_an_error(vlm_config, env_runner):
    runner = env_runner(vlm_config(mode="deferred"))
    stream = reward_piece(runner)._streams[None]
    runner.config.callbacks_on_episode_step = lambda **kwargs: stream._pending.clear()
    with pytest.raises(RewardError, match=r"saw .* of its .* steps"):
        runner.sample()


def test_without_a_pool_it_says_what_is_missing(vlm_config, env_runner):
    runner = env_runner(vlm_config())
    reward_piece(runner)._pool_name = None
    with pytest.raises(PoolError, match=r"after config\.callbacks"):
        runner.sample()


class HeldOutEnv(PaintedEnv):
    """Names a goal in its second episode that is for evaluation alone."""

    def _show(self):
        observation, info = super()._show()
        if self.episode > 1:
            info["goal"], observation[4] = "a grey wall", 3
        return observation, info


def test_held_out_goals_are_for_evaluation(vlm_config, env_runner):
    vlm = vlm_config(evaluation_goals=["a grey wall"], normalize_rewards=True)
    with pytest.raises(GoalError, match="one of evaluation_goals, expected one of goals in"):
        env_runner(vlm, HeldOutEnv).sample(num_timesteps=300)
    runner = env_runner(vlm, HeldOutEnv)
    reward_piece(runner).attach("red", evaluates=True)
    goals = set()
    for episode in runner.sample(num_timesteps=300):
        assert np.allclose(episode.get_rewards(), scores_of(episode))  # not normalised
        goals |= {int(observation[4]) for observation in episode.get_observations()}
    assert 3 in goals
    assert reward_piece(runner).get_state()["moments"] == {"None": {}}
