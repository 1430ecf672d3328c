"""Four trials on one pool, of which one is killed with requests under way."""

import gc
import importlib
import os
import signal
import time

import pytest
import ray
from ray import tune
from ray.tune.schedulers import FIFOScheduler
from test_search import RUN, actors, with_reward

from rllib_vlm_reward import CLIPEncoder, Experiment, RewardPool
from rllib_vlm_reward.connectors.pipeline import reward_piece
from rllib_vlm_reward.serving.router import NAMESPACE
from rllib_vlm_reward.sweep import ExperimentTrial, search

POOL = "one-for-four"
SEEDS = [0, 1, 2, 3]
VICTIM = 3


class Meeting:
    """An actor: trials wait there for each other, and survivors for the death."""

    def __init__(self):
        self._there = set()

    def arrive(self, who):
        self._there.add(who)

    def are_there(self, expected):
        return self._there >= set(expected)


def wait_for(*expected):
    meeting = ray.get_actor("meeting")
    while not ray.get(meeting.are_there.remote(expected)):
        time.sleep(0.05)


def holds_clip():
    """Return whether this process has a CLIP in memory."""
    return any(type(it) is CLIPEncoder for it in gc.get_objects())


class Mortal(ExperimentTrial):
    """Begins with the others; one dies in its second report, and the others' third comes after."""

    def step(self):
        seed = self._experiment.seed
        if self.iteration == 0:
            ray.get(ray.get_actor("meeting").arrive.remote(seed))
            wait_for(*SEEDS)
        elif self.iteration == 1 and seed == VICTIM:
            self._die_at_the_next_request()
        elif self.iteration == 2:
            wait_for("death")
        return {**super().step(), "seed": seed, "holds_clip": holds_clip()}

    def _die_at_the_next_request(self):
        pool = reward_piece(self._algorithm.env_runner).pool
        submit = pool.submit

        def submit_and_die(*args, **options):
            submit(*args, **options)
            os.kill(os.getpid(), signal.SIGKILL)

        pool.submit = submit_and_die


class Watch(FIFOScheduler):
    """Keeps what happens to the trials and, at each report, how the pool does."""

    def __init__(self, space):
        super().__init__()
        self.reports, self.errors, self.completed = [], [], []
        self.pools, self.names = [], set()
        self._config = Experiment.model_validate({**RUN, "vlm_reward": space}).vlm_reward

    def on_trial_result(self, tune_controller, trial, result):
        self._look(result)
        return super().on_trial_result(tune_controller, trial, result)

    def on_trial_complete(self, tune_controller, trial, result):
        self._look(result)
        self.completed.append(result)
        super().on_trial_complete(tune_controller, trial, result)

    def on_trial_error(self, tune_controller, trial):
        self.errors.append((trial.config["seed"], len(self.reports)))
        ray.get(ray.get_actor("meeting").arrive.remote("death"))
        super().on_trial_error(tune_controller, trial)

    def _look(self, result):
        self.reports.append(result)
        self.names |= {
            it["name"]
            for it in ray.util.list_named_actors(all_namespaces=True)
            if it["namespace"] == NAMESPACE and not it["name"].startswith("shared/")
        }
        pool = RewardPool.connect(POOL, self._config)
        self.pools.append((pool.stats(), pool.failures()))
        pool.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("four")


@pytest.fixture(scope="module")
def searched(cluster, folder):
    """Returns what a search found, and its watch."""
    space = {**with_reward(serving={"pool_name": POOL}), "seed": tune.grid_search(SEEDS)}
    watch = Watch(space["vlm_reward"])
    meeting = ray.remote(num_cpus=0)(Meeting).options(name="meeting").remote()
    with pytest.MonkeyPatch.context() as patch:
        module = importlib.import_module("rllib_vlm_reward.sweep.search")
        patch.setattr(module, "ExperimentTrial", Mortal)
        results = search(space, folder, num_samples=1, scheduler=watch)
    yield results, watch
    ray.kill(meeting)


def test_the_others_end_as_if_nothing_had_happened(searched):
    results, watch = searched
    steps = {row["seed"]: row["env_steps"] for row in results.rows}
    assert steps == {0: 320, 1: 320, 2: 320, VICTIM: 64}
    assert sorted(result["seed"] for result in watch.completed) == [0, 1, 2]
    (death,) = watch.errors
    assert death[0] == VICTIM
    after = [result["seed"] for result in watch.reports[death[1] :]]
    assert all(after.count(seed) >= 3 for seed in (0, 1, 2))


def test_what_it_found_is_written(searched, folder):
    results, watch = searched
    objectives = {result["seed"]: result["objective"] for result in watch.completed}
    assert {row["seed"]: row["objective"] for row in results.rows[:3]} == objectives
    assert [row["objective"] for row in results.rows[:3]] == sorted(objectives.values())[::-1]
    assert results.rows[3]["seed"] == VICTIM  # what failed comes last
    assert (results.unfinished, len(results.failures)) == (0, 1)
    best = Experiment.from_file(folder / "best.yaml")
    assert best.seed == results.rows[0]["seed"]
    assert best.vlm_reward.serving.pool_name is None


def test_the_pool_outlives_the_killed_trial(searched):
    _, watch = searched
    assert len(watch.pools) == 16
    assert {(row["up"], row["restarts"]) for (row,), _ in watch.pools} == {(True, 0)}
    assert len({row["pid"] for (row,), _ in watch.pools}) == 1
    assert not any(failures for _, failures in watch.pools)
    frames = [row["frames"] for (row,), _ in watch.pools]
    assert frames == sorted(frames)
    assert frames[-1] - frames[watch.errors[0][1]] >= 3 * 2 * 64


def test_one_process_holds_a_clip_and_none_after_the_search(searched):
    _, watch = searched
    assert watch.names == {f"{POOL}/0"}
    assert not any(result["holds_clip"] for result in watch.reports)
    assert not any(POOL in name for name in actors())
    (pid,) = {row["pid"] for (row,), _ in watch.pools}
    deadline = time.monotonic() + 30
    while is_running(pid):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
