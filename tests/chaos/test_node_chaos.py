"""A node is lost under training: the error comes in time, and names what went with the node."""

import os
import time
from pathlib import Path

import pytest
import ray
import rays
import recount
from ray.cluster_utils import Cluster

from rllib_vlm_reward.errors import RewardError
from rllib_vlm_reward.plugin import add_vlm_reward

# The driver waits so long for a fragment, then for answers of processes.
STALLED_S, SAMPLE_S, SLACK_S = 20.0, 15.0, 90.0
STORE = {"object_store_memory": 100_000_000, "include_dashboard": False}


@pytest.fixture(scope="module")
def nodes(own_ray):
    """A driver's node with room for one actor, and a function that adds a node and returns it."""
    with pytest.MonkeyPatch.context() as patch:
        path = os.pathsep.join([*rays.FOLDERS, str(Path(__file__).parents[2])])
        patch.setenv("PYTHONPATH", path, prepend=os.pathsep)
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, **STORE})
        try:
            ray.init(address=cluster.address, log_to_driver=False)
            yield cluster
        finally:
            ray.shutdown()
            cluster.shutdown()


def repeat(step):
    while True:
        step()


def train_until_stalled(algorithm, lose):
    """Train an iteration, lose a node, train on; return the error and after how many seconds."""
    algorithm.train()
    lose()
    begin = time.monotonic()
    with pytest.raises(RewardError) as raised:
        repeat(algorithm.train)
    return str(raised.value), time.monotonic() - begin


@pytest.mark.parametrize("lost", ["env runners", "reward actor"])
def test_a_node_is_lost(lost, nodes, vlm_config):
    node = nodes.add_node(num_cpus=2, resources={"runner": 2}, **STORE)
    serving = {"num_cpus_per_actor": 1 if lost == "env runners" else 2, "precision": "fp32"}
    vlm = vlm_config(stalled_seconds=STALLED_S, serving={**serving, "timeout_s": 1.0})
    runners = {"custom_resources_per_env_runner": {"runner": 1}} if lost == "env runners" else {}
    config = recount.ppo(num_env_runners=1, batch=51, sample_timeout_s=SAMPLE_S, **runners)
    algorithm = add_vlm_reward(config, vlm).build_algo()
    address = next(each for each in ray.nodes() if each["NodeID"] == node.node_id)
    try:
        error, seconds = train_until_stalled(
            algorithm, lambda: nodes.remove_node(node, allow_graceful=False)
        )
    finally:
        algorithm.stop()
    print(f"{lost}: error after {seconds:.1f} s of {STALLED_S:g}: {error}")
    assert "training stands still" in error
    assert f"the cluster lost a node ({address['NodeManagerAddress']})" in error
    what = {"env runners": "0 of 1 env runners are healthy", "reward actor": "0 of 1 reward actors"}
    assert what[lost] in error
    assert seconds <= STALLED_S + SAMPLE_S + SLACK_S
