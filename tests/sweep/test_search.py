"""Trials of a search, by Tune itself: what they ask, share, report, save and mutate."""

import signal

import pytest
import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler

from rllib_vlm_reward import ConfigError, Experiment, PoolError, RewardPool
from rllib_vlm_reward.connectors.curriculum_progress import curriculum_progress
from rllib_vlm_reward.connectors.pipeline import reward_piece
from rllib_vlm_reward.sweep import ExperimentTrial, search
from rllib_vlm_reward.sweep.search import _describe

THINGS = {"color": ["red", "blue"], "kind": ["ball", "box", "key"]}
RUN = {
    "environment": {
        "env": "rllib_vlm_reward/Lift-v0",
        "env_config": {"room_size": 5, "num_objects": 2, "max_steps": 8, "colors": ["red", "blue"]},
    },
    "vlm_reward": {
        "encoder": "small",
        "goals": {
            "goals": ["pick up the {color} {kind}"],
            "words": THINGS,
            "held_out": {"num_pairs": 1},
        },
        "templates": [
            {
                "goal": "pick up {}",
                "prompt": "the agent is carrying {}",
                "nothing": "the agent is carrying nothing",
            }
        ],
        "threshold": 0.5,
        "frame_source": "obs",
        "goal_embedding": True,
        "may_change": True,
    },
    "curriculum": {"kind": "success_window"},
    "policy": {
        "module": "rllib_vlm_reward.policies.GoalConditionedModule",
        "model_config": {"hidden": 16, "channels": 4},
    },
    "env_runners": {"num_env_runners": 0, "num_envs_per_env_runner": 4},
    "training": {"train_batch_size_per_learner": 64, "minibatch_size": 64, "num_epochs": 1},
    "stop": {"env_steps": 320},
    "evaluation_episodes": 3,
}


class InterruptsAtAReport(FIFOScheduler):
    """Sends Ctrl-C when a trial reports."""

    def on_trial_result(self, *given):
        signal.raise_signal(signal.SIGINT)
        return super().on_trial_result(*given)


def with_reward(**changes):
    return {**RUN, "vlm_reward": {**RUN["vlm_reward"], **changes}}


def actors():
    return {actor["name"] for actor in ray.util.list_named_actors(all_namespaces=True)}


def test_a_search_shares_one_pool_and_leaves_what_it_found(cluster, tmp_path):
    space = with_reward(pool_name="shared-by-trials", threshold=tune.grid_search([0.4, 0.6]))
    seen = []

    class Watch(FIFOScheduler):
        def on_trial_result(self, tune_controller, trial, result):
            seen.append({name for name in actors() if "shared-by-trials" in name})
            return super().on_trial_result(tune_controller, trial, result)

    results = search(space, tmp_path, num_samples=1, scheduler=Watch())
    assert len(results.rows) == 2
    assert all(len(names) == 1 for names in seen)
    assert len(seen) == 8  # Tune tells of a trial's last report elsewhere
    assert not any("shared-by-trials" in name for name in actors())
    assert sorted(row["vlm_reward.threshold"] for row in results.rows) == [0.4, 0.6]
    assert all(0 <= row["objective"] <= 1 and row["env_steps"] == 320 for row in results.rows)
    best = Experiment.from_file(tmp_path / "best.yaml")
    assert best.vlm_reward.threshold == results.rows[0]["vlm_reward.threshold"]
    again = search(space, tmp_path, num_samples=1, scheduler=Watch())
    assert again.rows == results.rows  # their wall_seconds too: nothing was trained again


def test_a_trial_asks_for_its_own_reward_actors_unless_it_shares(cluster):
    own = ExperimentTrial.default_resource_request(with_reward(num_cpus_per_actor=1, num_actors=2))
    assert own.required_resources["CPU"] == 3
    config = Experiment.model_validate(with_reward(num_cpus_per_actor=1)).vlm_reward
    pool = RewardPool.start(config, name="for-all")
    shared = ExperimentTrial.default_resource_request(
        with_reward(num_cpus_per_actor=1, pool_name="for-all")
    )
    assert shared.required_resources["CPU"] == 1
    pool.close()


def test_a_trial_without_room_says_so_at_once(cluster, tmp_path):
    space = {**RUN, "env_runners": {"num_env_runners": 100}}
    with pytest.raises(PoolError, match=r"asks for 101 CPU, but the cluster has 8\. .*pool_name"):
        search(space, tmp_path, num_samples=1, scheduler=FIFOScheduler())


def test_another_search_in_the_same_folder_is_refused(tmp_path):
    (tmp_path / "search.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"another one lies in .*Name another output"):
        search(RUN, tmp_path, num_samples=1, scheduler=FIFOScheduler())


def test_one_pool_for_several_models_is_refused(cluster, tmp_path):
    space = with_reward(pool_name="one", encoder=tune.choice(["small", "base"]))
    with pytest.raises(ConfigError, match=r"\['encoder'\] to search and pool_name"):
        search(space, tmp_path, num_samples=1, scheduler=FIFOScheduler())


def test_whole_rewards_to_search_share_one_pool_too(cluster, tmp_path):
    one = with_reward(pool_name="whole", threshold=0.4)["vlm_reward"]
    each = [one, {**one, "threshold": 0.6, "precision": "auto"}]  # the default, named
    space = {**RUN, "vlm_reward": tune.grid_search(each), "stop": {"env_steps": 64}}
    results = search(space, tmp_path, num_samples=1, scheduler=FIFOScheduler())
    assert results.unfinished == 0
    assert sorted(row["vlm_reward"]["threshold"] for row in results.rows) == [0.4, 0.6]
    assert not {name for name in actors() if name.startswith("whole")}


def test_whole_rewards_of_several_models_are_refused_one_pool(cluster, tmp_path):
    each = [with_reward(pool_name="one", encoder=its)["vlm_reward"] for its in ("small", "base")]
    space = {**RUN, "vlm_reward": tune.grid_search(each)}
    with pytest.raises(ConfigError, match=r"\['encoder'\] to search and pool_name"):
        search(space, tmp_path, num_samples=1, scheduler=FIFOScheduler())


def test_a_draw_that_the_reward_refuses_ends_no_search(cluster, tmp_path):
    space = with_reward(threshold=tune.grid_search([None, 0.5]))  # of which one fires
    results = search(
        {**space, "stop": {"env_steps": 64}}, tmp_path, num_samples=1, scheduler=FIFOScheduler()
    )
    assert [row["vlm_reward.threshold"] for row in results.rows] == [0.5]
    assert (results.unfinished, len(results.failures)) == (0, 1)
    assert "threshold" in results.left


def test_an_interrupted_search_says_what_is_left(cluster, tmp_path):
    space = {**RUN, "stop": {"env_steps": 6400}}
    results = search(space, tmp_path, num_samples=2, scheduler=InterruptsAtAReport())
    assert results.unfinished == 2
    assert results.rows


def test_a_search_is_known_by_what_it_draws_and_how():
    def asked(scheduler=FIFOScheduler, **space):
        return _describe([space, type(scheduler())])

    drawn = {"lr": tune.quniform(0, 1, 0.1), "seed": tune.randint(0, 5)}
    assert asked(**drawn) == asked(lr=tune.quniform(0, 1, 0.1), seed=tune.randint(0, 5))
    others = [
        asked(**{**drawn, "lr": tune.quniform(0, 1, 0.2)}),
        asked(**{**drawn, "lr": tune.uniform(0, 1)}),
        asked(ASHAScheduler, **drawn),
        asked(**drawn, gamma=tune.randn(0, 1)),
        asked(**drawn, gamma=tune.randn(0, 2)),
    ]
    assert len({asked(**drawn), *others}) == 6


def test_a_draw_that_is_no_experiment_fails_alone(cluster, tmp_path):
    curriculum = {"kind": "success_window", "low": tune.grid_search([0.95, 0.1])}
    space = {**RUN, "curriculum": curriculum, "stop": {"env_steps": 64}}
    results = search(space, tmp_path, num_samples=1, scheduler=FIFOScheduler())
    assert [row["curriculum.low"] for row in results.rows] == [0.1]


def test_a_trial_takes_over_what_another_learnt_and_keeps_its_own_settings(cluster, tmp_path):
    donor = ExperimentTrial(config=with_reward(threshold=0.3))
    for _ in range(2):
        donor.train()
    donor.save_checkpoint(str(tmp_path))
    mutated = {"training": {**RUN["training"], "lr": 0.002}}
    heir = ExperimentTrial(config={**with_reward(threshold=0.9, num_negatives=2), **mutated})
    heir.load_checkpoint(str(tmp_path))
    (rates,) = heir._algorithm.learner_group.foreach_learner(
        lambda learner: [
            group["lr"] for it in learner._optimizer_lr_schedules for group in it.param_groups
        ]
    ).ignore_errors()
    assert set(rates.get()) == {0.002}  # and not the donor's, for its first update
    assert curriculum_progress(heir._algorithm) == curriculum_progress(donor._algorithm)
    assert reward_piece(heir._algorithm.env_runner).config.threshold == 0.9
    assert len(reward_piece(heir._algorithm.env_runner).config.goal_set[0].negatives) == 3
    before = heir._env_steps
    report = heir.train()
    assert report["env_steps"] > before == donor._env_steps
    donor.stop()
    heir.stop()
