import numpy as np
import pytest
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

from rllib_vlm_reward.connectors.episode_metrics import (
    add_rewards,
    keep_ground_truth,
    log_scores,
    success_of,
)
from rllib_vlm_reward.errors import RewardError

ENV_REWARDS = [1.0, -2.0, 0.5, 4.0, 8.0]
PAID = np.array([0.25, 0.0, 1.0, 0.0, 0.5], np.float32)
SUCCESS = [False, False, True, False, False]


@pytest.fixture
def metrics():
    return MetricsLogger(root=True)


def chunks_of_one_episode(cuts, success=SUCCESS):
    """Step an episode, cut it after the steps ``cuts``, and yield each chunk and what goes on."""
    episode = SingleAgentEpisode()
    episode.add_env_reset(observation=0, infos={})
    for t, reward in enumerate(ENV_REWARDS, start=1):
        info = {} if success is None else {"success": success[t - 1]}
        end = t == len(ENV_REWARDS)
        episode.add_env_step(observation=t, action=0, reward=reward, infos=info, terminated=end)
        keep_ground_truth(episode, "success")
        if t in cuts:
            chunk, episode = episode, episode.cut()
            yield chunk, episode
    yield episode, None


def log(metrics, cuts=(), threshold=None, **how):
    start = 0
    for chunk, successor in chunks_of_one_episode(cuts, **how):
        add_rewards(metrics, chunk, successor, PAID[start : start + len(chunk)], threshold)
        start += len(chunk)
    return metrics.compile()["vlm_reward"]


@pytest.mark.parametrize("cuts", [(), (1,), (2, 4), (1, 2, 3, 4)])
def test_an_episode_adds_up_however_it_is_cut(metrics, cuts):
    logged = log(metrics, cuts, threshold=0.5)
    assert logged["vlm_return_mean"] == 1.75
    assert logged["ground_truth_return_mean"] == 11.5
    assert logged["return_gap"] == 1.75 - 11.5
    assert logged["fires_per_episode"] == 3
    assert logged["ground_truth_success"] == 1


def test_what_is_not_known_is_not_logged(metrics):
    logged = log(metrics, success=None)
    assert not {"fires_per_episode", "ground_truth_success"} & set(logged)


def test_a_step_keeps_its_env_reward():
    ((episode, _),) = chunks_of_one_episode(())
    assert [info.get("env_reward") for info in episode.get_infos()] == [None, *ENV_REWARDS]


def test_scores_are_counted(metrics):
    log_scores(metrics, [0.5, 0.25])
    log_scores(metrics, [])
    log_scores(metrics, [0.75])
    logged = metrics.compile()["vlm_reward"]
    assert (logged["score_min"], logged["score_max"], logged["frames"]) == (0.25, 0.75, 3)


@pytest.mark.parametrize("truth", [False, True])
@pytest.mark.parametrize("kind", [bool, np.bool_, int, float, np.int64, np.float32, np.array])
def test_success_is_a_bool_or_0_or_1(kind, truth):
    assert success_of({"won": kind(truth)}, "won") is truth
    assert success_of({"won": kind(truth)}, "success") is None


@pytest.mark.parametrize("value", ["False", "", "true", 0.3, 2, -1, None, float("nan"), [True], {}])
def test_another_success_is_an_error_that_shows_it(value):
    with pytest.raises(RewardError) as caught:
        success_of({"success": value}, "success")
    assert f"{value!r} ({type(value).__name__}), expected a bool" in str(caught.value)
