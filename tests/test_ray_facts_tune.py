"""What placing a Tune trial takes from Ray 2.60, one fact a test: an upgrade fails here first."""

import pytest
import ray
from ray import tune
from ray.rllib.algorithms.ppo import PPO, PPOConfig
from ray.tune.result import TRIAL_INFO
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

BUNDLES = [{"CPU": 1.0}, {"CPU": 1.0}, {"CPU": 2.0}]


class Actor:
    """Starts others, and says in which group it is."""

    def start(self, count=1, **options):
        actor_class = ray.remote(Actor).options(**options)
        actors = [actor_class.remote() for _ in range(count)]
        return ray.get([actor.group.remote() for actor in actors])

    def group(self):
        group = ray.util.get_current_placement_group()
        return group and group.id.hex()

    def bundles(self):
        return ray.util.get_current_placement_group().bundle_specs


@pytest.fixture(scope="module")
def trial(cluster):
    """An actor in the first bundle of a group, as Tune 2.60 starts a trial."""
    group = ray.util.placement_group(BUNDLES)
    first = PlacementGroupSchedulingStrategy(group, 0, placement_group_capture_child_tasks=True)
    yield ray.remote(num_cpus=1)(Actor).options(scheduling_strategy=first).remote()
    ray.util.remove_placement_group(group)


def test_what_a_trial_starts_must_fit_its_group(trial):
    assert ray.get(trial.start.remote(num_cpus=2)) == [ray.get(trial.group.remote())]
    with pytest.raises(ValueError, match="cannot fit into any bundles"):
        ray.get(trial.start.remote(num_cpus=3))


def test_default_puts_it_outside(trial):
    outside = trial.start.remote(num_cpus=3, scheduling_strategy="DEFAULT")
    assert ray.get(outside) == [None]


def test_without_an_index_any_bundle_will_do(trial):
    """Three of one CPU, where the bundles with room are of one and of two."""
    own = ray.get(trial.group.remote())
    assert ray.get(trial.start.remote(3, num_cpus=1)) == [own] * 3


def test_a_group_names_its_bundles_in_order(trial):
    assert ray.get(trial.bundles.remote()) == BUNDLES


def test_an_empty_first_bundle_is_left_out_of_the_list():
    asked = tune.PlacementGroupFactory([{}, {"CPU": 1}])
    assert asked.head_bundle_is_empty
    assert asked.bundles == [{"CPU": 1.0}]


def test_an_algorithm_is_not_told_what_its_trial_asked_for():
    config = PPOConfig().update_from_dict({TRIAL_INFO: "bundles", "lr": 0.5})
    assert config.lr == 0.5
    assert TRIAL_INFO not in vars(config)


@pytest.mark.parametrize(
    ("section", "searched"),
    [
        ("training", {"lr": tune.uniform(0, 1)}),
        ("env_runners", {"num_env_runners": tune.choice([1, 2])}),
    ],
)
def test_rllib_asks_for_nothing_while_a_setting_is_searched(section, searched):
    config = PPOConfig().environment("CartPole-v1")
    getattr(config, section)(**searched)
    with pytest.raises((ValueError, TypeError)):
        PPO.default_resource_request(config)
