"""A trial's reward actors are part of what it asks of the cluster, and sit in what it was given."""

import painted
import pytest
import ray
from ray import tune
from ray.rllib.algorithms.ppo import PPO, PPOConfig
from ray.rllib.callbacks.callbacks import RLlibCallback

from rllib_vlm_reward.errors import RewardError
from rllib_vlm_reward.plugin import add_vlm_reward
from rllib_vlm_reward.serving import service
from rllib_vlm_reward.serving.router import NAMESPACE
from rllib_vlm_reward.sweep.resources import rewarded, trial_resources

ONE = {"CPU": 1.0}


@pytest.fixture
def config(vlm_config):
    """Returns a function: a small PPO, rewarded, with changes of the reward."""

    def make(env_runners=0, **changes):
        config = (
            PPOConfig()
            .environment(painted.PaintedEnv)
            .env_runners(num_env_runners=env_runners, num_envs_per_env_runner=2)
            .training(train_batch_size_per_learner=40, minibatch_size=40, num_epochs=1)
            .rl_module(model_config={"fcnet_hiddens": [8]})
            .callbacks(Seats)
        )
        return add_vlm_reward(config, vlm_config(**changes))

    return make


@pytest.fixture
def nodes(monkeypatch):
    """Returns a function that sets the nodes of the cluster."""
    return lambda *nodes: monkeypatch.setattr(service, "living_nodes", lambda: nodes)


class Seats(RLlibCallback):
    """Reports the placement groups of the algorithm and of its reward actors."""

    def on_train_result(self, *, result, **kwargs):
        named = ray.util.list_named_actors(all_namespaces=True)
        # The session's own shared pool (conftest.py) may stand beside them.
        names = [
            actor["name"]
            for actor in named
            if actor["namespace"] == NAMESPACE and not actor["name"].startswith("shared/")
        ]
        actors = [ray.get_actor(name, namespace=NAMESPACE) for name in names]
        calls = [actor.__ray_call__.remote(lambda self: group_here()) for actor in actors]
        result["seats"] = {"algorithm": group_here(), "actors": ray.get(calls)}


def group_here():
    group = ray.util.get_current_placement_group()
    return group and group.id.hex()


class Others(tune.Callback):
    """Keeps the state of each other trial when one starts."""

    def __init__(self):
        self.states = []

    def on_trial_start(self, iteration, trials, trial, **info):
        self.states.append([other.status for other in trials if other is not trial])


@pytest.mark.parametrize(
    ("asked", "nodes_", "bundle"),
    [
        (
            {"serving": {"num_cpus_per_actor": 2, "num_gpus_per_actor": 0}},
            [{"CPU": 8.0}],
            {"CPU": 2.0},
        ),
        (
            {"serving": {"num_cpus_per_actor": 0}},
            [{"CPU": 8.0}, {"CPU": 1.0, "GPU": 1.0}],
            {"GPU": 1.0},
        ),
        (
            {"serving": {"num_cpus_per_actor": 0.5, "num_gpus_per_actor": 0.25}},
            [{"CPU": 8.0}],  # may grow until the trial starts
            {"CPU": 0.5, "GPU": 0.25},
        ),
    ],
)
def test_a_bundle_more_for_each_actor(asked, nodes_, bundle, config, nodes):
    nodes(*nodes_)
    asked = config(env_runners=2, serving={"num_actors": 3, **asked["serving"]})
    assert trial_resources(asked).bundles == [ONE, ONE, ONE, bundle, bundle, bundle]


def test_actors_that_reserve_nothing_ask_for_nothing(config, nodes):
    nodes({"CPU": 8.0})
    assert trial_resources(config(env_runners=1, serving={"num_cpus_per_actor": 0})).bundles == [
        ONE,
        ONE,
    ]


def test_rllibs_empty_head_and_strategy_are_kept(config, nodes):
    nodes({"CPU": 8.0})
    asked = trial_resources(config(env_runners=1).resources(placement_strategy="SPREAD"))
    assert asked.strategy == "SPREAD"
    headless = config(env_runners=1).resources(num_cpus_for_main_process=0)
    asked = trial_resources(headless.learners(num_cpus_per_learner=0))
    assert asked.head_bundle_is_empty
    assert asked.bundles == [ONE, ONE]


def test_a_configuration_without_a_reward_is_an_error():
    with pytest.raises(RewardError, match="Call add_vlm_reward"):
        trial_resources(PPOConfig().environment(painted.PaintedEnv))


def test_a_running_pool_is_not_asked_for_again(config, nodes, monkeypatch):
    nodes({"CPU": 8.0})
    monkeypatch.setattr(service, "is_taken", lambda name: name == "running")
    assert trial_resources(config(serving={"pool_name": "running"})).bundles == [ONE]
    assert trial_resources(config(serving={"pool_name": "to start"})).bundles == [ONE, ONE]


def test_trials_wait_for_room_and_seat_their_actors_in_it(config, cluster, tmp_path):
    """Of 8 CPUs each asks for 1 + 4; in RLlib's own request two would fit, and fail inside."""
    others = Others()
    searched = config(serving={"num_cpus_per_actor": 4}).training(lr=tune.grid_search([1e-3, 1e-4]))
    run = tune.RunConfig(
        storage_path=str(tmp_path), stop={"training_iteration": 1}, callbacks=[others], verbose=0
    )
    results = tune.Tuner(rewarded(PPO), param_space=searched, run_config=run).fit()
    assert not results.errors
    assert others.states == [["PENDING"], ["TERMINATED"]]
    for result in results:
        seats = result.metrics["seats"]
        assert seats["algorithm"] is not None
        assert seats["actors"] == [seats["algorithm"]]


@pytest.mark.parametrize("asks", [True, False])
def test_a_function_that_builds_its_algorithm_may_ask_too(asks, config, cluster, tmp_path):
    small = config(serving={"num_cpus_per_actor": 1})

    def train(_):
        algorithm = small.build_algo()
        tune.report(algorithm.train()["seats"])
        algorithm.stop()

    trainable = tune.with_resources(train, trial_resources(small) if asks else {"cpu": 1})
    run = tune.RunConfig(storage_path=str(tmp_path), verbose=0)
    (result,) = tune.Tuner(trainable, run_config=run).fit()
    assert result.error is None
    assert result.metrics["algorithm"] is not None
    assert result.metrics["actors"] == [result.metrics["algorithm"] if asks else None]
