"""What a search asks, shares and refuses before Tune trains, and what a trial takes over."""

import importlib

import pydantic
import pytest
import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler
from ray.tune.search.variant_generator import generate_variants

from rllib_vlm_reward import ConfigError, Experiment, PoolError, RewardPool
from rllib_vlm_reward.connectors.curriculum_progress import curriculum_progress
from rllib_vlm_reward.connectors.pipeline import reward_piece
from rllib_vlm_reward.errors import ERRORS
from rllib_vlm_reward.sweep import ExperimentTrial, search
from rllib_vlm_reward.sweep.search import _any_experiment, _describe, _shared_pool

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
        "goal_embedding": True,
        "may_change": True,
        "frames": {"source": "obs"},
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


def with_reward(**changes):
    return {**RUN, "vlm_reward": {**RUN["vlm_reward"], **changes}}


def actors():
    return {actor["name"] for actor in ray.util.list_named_actors(all_namespaces=True)}


# The second is an experiment, whose reward refuses its curriculum.
REFUSED = {
    "curriculum": {**RUN, "curriculum": {"kind": "success_window", "low": 0.95}},
    "threshold": with_reward(threshold=None),
}


@pytest.fixture(scope="module")
def small_pool(cluster):
    """A pool of RUN's model; its name."""
    config = Experiment.model_validate(with_reward(serving={"num_cpus_per_actor": 1})).vlm_reward
    pool = RewardPool.start(config, name="for-all")
    yield pool.name
    pool.close()


@pytest.fixture
def started(monkeypatch):
    """The pools that a search starts, (encoder, name), or ends, (None, name); here none is real."""
    seen = []

    class Pool:
        def __init__(self, config, name):
            self.name = name
            seen.append((config.encoder, name))

        def close(self):
            seen.append((None, self.name))

    module = importlib.import_module("rllib_vlm_reward.sweep.search")
    monkeypatch.setattr(module, "start_service", Pool)
    return seen


def test_a_trial_asks_for_its_own_reward_actors_unless_it_shares(small_pool):
    own = ExperimentTrial.default_resource_request(
        with_reward(serving={"num_cpus_per_actor": 1, "num_actors": 2})
    )
    assert own.required_resources["CPU"] == 3
    shared = ExperimentTrial.default_resource_request(
        with_reward(serving={"num_cpus_per_actor": 1, "pool_name": small_pool})
    )
    assert shared.required_resources["CPU"] == 1


def test_a_trial_asks_for_the_actors_of_its_set_of_experts(cluster):
    one = {"large": {"encoder": "base"}}
    two = {**one, "small": {"encoder": "small", "serving": {"num_actors": 2}}}
    plain = {**RUN["vlm_reward"], "threshold": None, "serving": {"num_cpus_per_actor": 1}}
    space = {key: value for key, value in RUN.items() if key != "curriculum"}
    space["vlm_reward"] = {**plain, "experts": tune.grid_search([one, two])}
    drawn = [each for _, each in generate_variants(space)]
    asked = [ExperimentTrial.default_resource_request(each) for each in drawn]
    assert [each.required_resources["CPU"] for each in asked] == [2, 4]
    experts = [Experiment.model_validate(each).vlm_reward.by_expert for each in drawn]
    assert [[*each] for each in experts] == [["large"], ["large", "small"]]
    space["vlm_reward"]["serving"] = {"pool_name": "one"}
    shared = pytest.raises(ConfigError, match=r"\['experts'\] differ between trials that share")
    with shared, _shared_pool(space, _any_experiment(space)):
        pass


def test_a_trial_without_room_says_so_at_once(cluster, tmp_path):
    space = {**RUN, "env_runners": {"num_env_runners": 100}}
    with pytest.raises(PoolError, match=r"requests 101 CPU, but the cluster has 8\. .*pool_name"):
        search(space, tmp_path, num_samples=1, scheduler=FIFOScheduler())


def test_another_search_in_the_same_folder_is_refused(tmp_path):
    (tmp_path / "search.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"holds another search, .*Choose another output"):
        search(RUN, tmp_path, num_samples=1)


def test_one_pool_for_several_models_is_refused(cluster, tmp_path):
    space = with_reward(encoder=tune.choice(["small", "base"]), serving={"pool_name": "one"})
    with pytest.raises(ConfigError, match=r"\['encoder'\] differ between trials that share a pool"):
        search(space, tmp_path, num_samples=1, scheduler=FIFOScheduler())


def test_whole_rewards_to_search_share_one_pool_too(started):
    one = with_reward(threshold=0.4, serving={"pool_name": "whole"})["vlm_reward"]
    named = {"pool_name": "whole", "precision": "auto"}  # the default's own
    each = [one, {**one, "threshold": 0.6, "serving": named}]
    space = {**RUN, "vlm_reward": tune.grid_search(each)}
    with _shared_pool(space, _any_experiment(space)):
        assert started == [("small", "whole")]
    assert started == [("small", "whole"), (None, "whole")]


def test_without_a_name_no_pool_is_shared(started):
    space = {**RUN, "seed": tune.grid_search([0, 1])}
    with _shared_pool(space, _any_experiment(space)):
        assert started == []


def test_the_shared_pool_ends_with_a_search_that_fails(started):
    space = with_reward(serving={"pool_name": "brief"})
    with pytest.raises(ValueError, match="a bug"), _shared_pool(space, _any_experiment(space)):
        raise ValueError("a bug")
    assert started[-1] == (None, "brief")


def test_whole_rewards_of_several_models_are_refused_one_pool(cluster, tmp_path):
    each = [
        with_reward(encoder=its, serving={"pool_name": "one"})["vlm_reward"]
        for its in ("small", "base")
    ]
    space = {**RUN, "vlm_reward": tune.grid_search(each)}
    with pytest.raises(ConfigError, match=r"\['encoder'\] differ between trials that share a pool"):
        search(space, tmp_path, num_samples=1, scheduler=FIFOScheduler())


@pytest.mark.parametrize("refused", REFUSED.values(), ids=REFUSED)
def test_a_draw_that_is_refused_fails_alone(refused):
    """The search goes by another draw; this trial asks for room, and fails in its setup."""
    changed = next(key for key in RUN if refused[key] != RUN[key])
    space = {**RUN, changed: tune.grid_search([refused[changed], RUN[changed]])}
    assert _any_experiment(space) == Experiment.model_validate(RUN)
    assert ExperimentTrial.default_resource_request(refused).required_resources == {"CPU": 1}
    with pytest.raises((pydantic.ValidationError, *ERRORS)):
        ExperimentTrial(config=refused)


def test_a_key_of_the_hints_can_be_searched():
    hints = {
        "goals": {"pick up {}": ["the agent is facing {0}"]},
        "weight": tune.grid_search([0.1, 0.4]),
        "decay": tune.choice(["count", "rnd"]),
    }
    space = with_reward(hints=hints)
    _any_experiment(space)
    drawn = [Experiment.model_validate(each) for _, each in generate_variants(space)]
    assert [each.vlm_reward.hints.weight for each in drawn] == [0.1, 0.4]
    assert {each.vlm_reward.hints.decay for each in drawn} <= {"count", "rnd"}


def test_a_space_of_which_no_draw_is_an_experiment_is_refused(tmp_path):
    space = {**REFUSED["curriculum"], "seed": tune.randint(0, 5)}
    with pytest.raises(pydantic.ValidationError, match="low"):
        search(space, tmp_path / "out", num_samples=1, scheduler=FIFOScheduler())
    assert not (tmp_path / "out").exists()


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


def test_a_trial_takes_over_what_another_learnt_and_keeps_its_own_settings(small_pool, tmp_path):
    shared = {"serving": {"pool_name": small_pool, "num_cpus_per_actor": 1}}
    donor = ExperimentTrial(config=with_reward(threshold=0.3, **shared))
    for _ in range(2):
        donor.train()
    donor.save_checkpoint(str(tmp_path))
    mutated = {"training": {**RUN["training"], "lr": 0.002}}
    theirs = with_reward(threshold=0.9, num_negatives=2, **shared)
    successor = ExperimentTrial(config={**theirs, **mutated})
    successor.load_checkpoint(str(tmp_path))
    (rates,) = successor._algorithm.learner_group.foreach_learner(
        lambda learner: [
            group["lr"] for it in learner._optimizer_lr_schedules for group in it.param_groups
        ]
    ).ignore_errors()
    assert set(rates.get()) == {0.002}  # and not the donor's, for its first update
    assert curriculum_progress(successor._algorithm) == curriculum_progress(donor._algorithm)
    assert reward_piece(successor._algorithm.env_runner).config.threshold == 0.9
    assert len(reward_piece(successor._algorithm.env_runner).config.goal_set[0].negatives) == 3
    before = successor._env_steps
    report = successor.train()
    assert report["env_steps"] > before == donor._env_steps
    donor.stop()
    successor.stop()
