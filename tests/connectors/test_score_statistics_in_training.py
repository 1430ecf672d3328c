"""What env runners log of their scores, recounted on the learner's side from the frames."""

import numpy as np
import pytest
import recount
from painted import PaintedEnv
from ray.rllib.algorithms.dqn import DQNConfig

from rllib_vlm_reward.connectors.callbacks import callbacks_of
from rllib_vlm_reward.connectors.pipeline import reward_piece
from rllib_vlm_reward.monitoring.score_statistics import BINS, FAILURE, SUCCESS, ScoreStatistics
from rllib_vlm_reward.monitoring.scored_steps import Recorder
from rllib_vlm_reward.plugin import add_vlm_reward


def test_the_statistics_of_remote_env_runners_arrive_whole_and_once(vlm_config, ppo, shared_pool):
    vlm = vlm_config(serving={"pool_name": shared_pool})
    vlm = vlm.model_copy(update={"threshold": recount.quiet_threshold(vlm)})
    algorithm = add_vlm_reward(ppo(num_env_runners=2, batch=400), vlm).build_algo()
    iterations = []
    for _ in range(2):
        result = algorithm.train()
        iterations.append(callbacks_of(algorithm).monitor.statistics[None])
    total = ScoreStatistics.total(iterations)
    algorithm.stop()

    chunks = recount.Witness.chunks
    table = recount.score_table(vlm)
    scores = np.concatenate([table[c.columns[4, 1:], c.columns[3, 1:]] for c in chunks])
    # The painted env succeeds where it terminates.
    ends = [[False] * (len(c.rewards) - 1) + [c.terminated] for c in chunks]
    truths = np.concatenate(ends).astype(bool)
    for kind, own in ((FAILURE, scores[~truths]), (SUCCESS, scores[truths])):
        counts = np.histogram(own, BINS, (0, 1))[0]
        assert total.counts[kind].sum() == len(own)
        # Another batch may move a score over a bin's edge.
        assert np.abs(np.cumsum(total.counts[kind] - counts)).max() <= 2
        assert total.fired[kind] == (own > vlm.threshold).sum()
    assert total.episodes[2] == total.episodes_with(SUCCESS) == truths.sum()
    assert total.episodes_with(FAILURE) == len(
        {c.id for c, its in zip(chunks, ends, strict=True) if not all(its)}
    )
    logged = result["env_runners"]["vlm_reward"]
    assert not {"score_statistics", "highlights"} & set(logged)
    assert set(logged) > {"precision", "recall", "false_positives_per_episode", "score_auroc"}


@pytest.mark.parametrize("temperature", [0.03, 100.0])
def test_one_step_a_fragment_is_enough(temperature, vlm_config, shared_pool):
    """As DQN has by default: its scores' spread within an episode is that of what was scored."""
    config = DQNConfig().environment(PaintedEnv).env_runners(num_envs_per_env_runner=3)
    config.training(num_steps_sampled_before_learning_starts=10_000)  # it need not learn
    vlm = vlm_config(
        serving={"pool_name": shared_pool}, head={"kind": "softmax", "temperature": temperature}
    )
    algorithm = add_vlm_reward(config, vlm).build_algo()
    recorder, monitor = Recorder(), callbacks_of(algorithm).monitor
    reward_piece(algorithm.env_runner).record(recorder)
    algorithm.train()
    algorithm.stop()
    assert config.get_rollout_fragment_length() == 1
    episodes = {}
    for it in recorder.frames:
        episodes.setdefault(it.episode, []).append(it.score)
    squares = sum(np.var(scores) * len(scores) for scores in episodes.values())
    spread = (squares / (len(recorder.frames) - len(episodes))) ** 0.5
    assert monitor.statistics[None].steps == len(recorder.frames)
    assert monitor.statistics[None].spread == pytest.approx(spread, rel=1e-4)
    assert ("constant" in monitor.in_force) == (temperature == 100.0)


def test_evaluation_and_a_switched_off_monitor_log_nothing(vlm_config, ppo, shared_pool):
    config = ppo(PaintedEnv).evaluation(
        evaluation_interval=1, evaluation_duration=3, evaluation_num_env_runners=0
    )
    vlm = vlm_config(alarms="off", serving={"pool_name": shared_pool})
    algorithm = add_vlm_reward(config, vlm).build_algo()
    result = algorithm.train()
    algorithm.stop()
    assert not callbacks_of(algorithm).monitor.statistics
    for rewards in (result["env_runners"], result["evaluation"]["env_runners"]):
        assert not {"score_statistics", "alarm", "score_auroc"} & set(rewards["vlm_reward"])
