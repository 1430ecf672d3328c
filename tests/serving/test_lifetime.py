"""A pool's actors end with whoever started it: a Tune trial, or a driver, however that ends."""

import os
import signal
import subprocess
import time

import fork_server
import numpy as np
import pytest
from ray import tune
from ray.util import list_named_actors

from rllib_vlm_reward.reward_model.clip import CLIPEncoder
from rllib_vlm_reward.reward_model.model import RewardModel
from rllib_vlm_reward.serving import RewardPool
from rllib_vlm_reward.serving.router import NAMESPACE

# Imports once, then forks a driver for each ending: a pool of its own on RAY_ADDRESS's cluster.
DRIVERS = """
import os, signal, sys, time
from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.serving import RewardPool

# A shell's background jobs ignore SIGINT, and so do their children.
signal.signal(signal.SIGINT, signal.default_int_handler)
config = VLMRewardConfig.from_yaml(sys.stdin.read())
for ending in sys.argv[1:]:
    if os.fork() == 0:
        pool = RewardPool.start(config, name=ending)
        print(ending, os.getpid(), flush=True)
        if ending == "raises":
            raise RuntimeError
        if ending != "exits":
            time.sleep(120)
        sys.exit()
for _ in sys.argv[1:]:
    os.wait()
"""
SIGNALS = {"interrupted": signal.SIGINT, "killed": signal.SIGKILL}


@pytest.fixture(scope="module")
def single(config):
    return config.model_copy(update={"serving": {"num_actors": 1}})


def pools():
    """Names of the actors that are alive."""
    actors = list_named_actors(all_namespaces=True)
    return {actor["name"] for actor in actors if actor["namespace"] == NAMESPACE}


def assert_no_actor_remains():
    deadline = time.monotonic() + 30
    while pools():
        assert time.monotonic() < deadline, f"left behind: {pools()}"
        time.sleep(0.2)


def test_a_driver_leaves_no_actor_behind_however_it_ends(cluster, single):
    drivers = subprocess.Popen(
        [*fork_server.python(), "-c", DRIVERS, "exits", "raises", *SIGNALS],
        env={**os.environ, "RAY_ADDRESS": cluster},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    drivers.stdin.write(single.to_yaml())
    drivers.stdin.close()
    started = set()
    for line in drivers.stdout:
        if line.split()[0] in ("exits", "raises", *SIGNALS):
            ending, pid = line.split()
            started.add(ending)
            if ending in SIGNALS:
                assert f"{ending}/0" in pools()
                os.kill(int(pid), SIGNALS[ending])
    assert started == {"exits", "raises", *SIGNALS}
    assert drivers.wait(30) == 0
    assert_no_actor_remains()


def test_a_pool_inside_a_tune_trial(cluster, single, requests, tiny_clip, tmp_path):
    (request,) = requests(1)
    scorer = single.scorer

    def trial(settings):
        pool = RewardPool.start(single, name=f"trial-{settings['ending']}")
        tune.report({"scores": pool.score(*request, scorer).tolist()})
        if settings["ending"] == "fails":
            raise RuntimeError("as it was told")
        pool.close()

    # One CPU each: the actors, which ask for one as well, have no room in the trials' groups.
    results = tune.Tuner(
        tune.with_resources(trial, {"cpu": 1}),
        param_space={"ending": tune.grid_search(["closes", "fails"])},
        run_config=tune.RunConfig(storage_path=str(tmp_path), verbose=0),
    ).fit()
    assert [result.error is None for result in results] == [True, False]
    expected = RewardModel(CLIPEncoder.load(tiny_clip, precision="fp32")).score(*request, scorer)
    for result in results:
        np.testing.assert_allclose(result.metrics["scores"], expected, rtol=0, atol=1e-6)
    assert_no_actor_remains()
