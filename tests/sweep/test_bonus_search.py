"""A search over the weight of a bonus, with a map for the policy, on one pool."""

import importlib

import pytest
from ray import tune
from ray.tune.schedulers import FIFOScheduler
from test_search import RUN, with_reward

from rllib_vlm_reward import Experiment
from rllib_vlm_reward.sweep import ExperimentTrial, search

WEIGHTS = [0.5, 2.0]
POOL = "for-weights"


class Telling(ExperimentTrial):
    """Reports also what was paid beside the goals' rewards."""

    def _report(self, result):
        paid = result["env_runners"]["vlm_reward"]["bonus_return_mean"]
        space = self._algorithm.env_runner.module.observation_space
        shape = space["map"].shape
        return {**super()._report(result), "bonus": paid, "map": shape}


class Ends(FIFOScheduler):
    def __init__(self):
        super().__init__()
        self.ends = {}

    def on_trial_complete(self, tune_controller, trial, result):
        self.ends[trial.config["vlm_reward"]["bonus"]["weight"]] = result
        super().on_trial_complete(tune_controller, trial, result)


def test_each_trial_pays_by_its_own_weight(cluster, tmp_path, monkeypatch):
    templates = [{**RUN["vlm_reward"]["templates"][0], "noun": "{}"}]
    bonus = {"kind": "focal", "weight": tune.grid_search(WEIGHTS), "centre": "agent"}
    space = with_reward(
        templates=templates,
        bonus=bonus,
        goal_map=True,
        mode="synchronous",
        serving={"pool_name": POOL},
    )
    # With a rate of 0, both trials play the same episodes.
    space["training"] = {**RUN["training"], "lr": 0.0}
    space.update(stop={"env_steps": 64}, evaluation_episodes=1)
    module, ends = importlib.import_module("rllib_vlm_reward.sweep.search"), Ends()
    monkeypatch.setattr(module, "ExperimentTrial", Telling)
    results = search(space, tmp_path, num_samples=1, scheduler=ends)
    assert sorted(row["vlm_reward.bonus.weight"] for row in results.rows) == WEIGHTS
    assert {row["env_steps"] for row in results.rows} == {64}
    low, high = (ends.ends[weight] for weight in WEIGHTS)
    assert high["bonus"] == pytest.approx(4 * low["bonus"], rel=1e-4)
    assert low["bonus"] > 0
    assert low["ground_truth_return_mean"] == high["ground_truth_return_mean"]
    assert low["map"] == (7, 7, 1)
    best = Experiment.from_file(tmp_path / "best.yaml")
    assert best.vlm_reward.bonus.weight in WEIGHTS
