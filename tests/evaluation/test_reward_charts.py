"""What is drawn of goals, as far as a picture could mislead."""

import numpy as np
from made_up import made_up_scores
from matplotlib.container import ErrorbarContainer

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.evaluation import reward_charts as charts
from rllib_vlm_reward.evaluation.evaluate import Assessment

CONFIG = VLMRewardConfig(encoder="small", goals=["a {ball|key}"], threshold=0.5)


def test_a_goal_without_an_interval_has_no_cap_and_a_sure_one_has(monkeypatch, tmp_path):
    figures = []
    monkeypatch.setattr(charts.plt, "close", figures.append)
    goals = ["a ball"] * 10 + ["a key"] * 2
    episodes = [*"0011223344", "5", "5"]  # one episode bears no interval
    scored = made_up_scores(
        CONFIG, [0.9, 0.1] * 6, [True, False] * 6, goals=goals, episodes=episodes
    )
    charts.save_charts(tmp_path, [Assessment("run", scored)])
    drawn = [each for figure in figures for each in figure.axes[0].containers]
    (errors,) = (each for each in drawn if isinstance(each, ErrorbarContainer))
    caps = np.array([cap.get_ydata() for cap in errors.lines[1]], float)
    assert np.isfinite(caps).all(axis=0).tolist() == [True, False]
