import itertools

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.errors import PoolError
from rllib_vlm_reward.serving.deployment import Demand

CPU_ONLY = {"CPU": 2.0, "memory": 1e9}
GPU_NODE = {"CPU": 8.0, "GPU": 2.0}


def config_of(**options):
    return VLMRewardConfig(encoder="small", goals=["a ball", "a key"], **options)


@pytest.mark.parametrize(
    ("given_gpus", "nodes", "gpus"),
    [
        (None, [CPU_ONLY], 0),
        (None, [CPU_ONLY, GPU_NODE], 1),
        (0, [GPU_NODE], 0),
        (0.25, [GPU_NODE], 0.25),
    ],
)
def test_gpus_default_to_one_each_where_there_are_any(given_gpus, nodes, gpus):
    demand = Demand.of(
        config_of(serving={"num_gpus_per_actor": given_gpus, "num_actors": 3}), nodes
    )
    assert demand == Demand(actors=3, cpus=0, gpus=gpus)


def test_several_gpus_and_a_part_of_one_is_an_error():
    with pytest.raises(PoolError, match=r"got 1\.5, expected .* Set 2"):
        Demand(actors=1, cpus=0, gpus=1.5)


@pytest.mark.parametrize(
    ("demand", "nodes", "room"),
    [
        (Demand(99, cpus=0, gpus=0), [CPU_ONLY], 2),  # a core each at least
        (Demand(5, cpus=1, gpus=0), [CPU_ONLY, CPU_ONLY], 4),
        (Demand(5, cpus=0.5, gpus=0), [CPU_ONLY], 4),
        (Demand(2, cpus=3, gpus=0), [CPU_ONLY, CPU_ONLY], 0),  # no actor spans two nodes
        (Demand(2, cpus=0, gpus=2), [{"GPU": 3.0}], 1),
        (Demand(3, cpus=0, gpus=0.6), [GPU_NODE], 2),  # nor the rests of two GPUs
        (Demand(11, cpus=0, gpus=0.1), [{"GPU": 1.0}], 10),
        (Demand(3, cpus=4, gpus=0.25), [GPU_NODE], 2),
        (Demand(1, cpus=0, gpus=1), [CPU_ONLY], 0),
    ],
)
def test_a_pool_larger_than_the_cluster_is_refused_with_what_fits(demand, nodes, room):
    if room >= demand.actors:
        demand.check(nodes)
        return
    with pytest.raises(PoolError, match=f"room for {room}. Lower num_actors"):
        demand.check(nodes)


def test_a_group_grants_what_was_asked_of_it():
    demand = Demand(3, cpus=0.5, gpus=2)
    assert demand.bundles() == [{"CPU": 0.5, "GPU": 2}] * 3
    assert Demand.granted(demand.bundles()) == demand
    assert Demand.granted([{"GPU": 1.0}]) == Demand(1, cpus=0, gpus=1)  # Ray leaves out what is 0
    assert Demand(3, cpus=0, gpus=0).bundles() == []


@given(
    cpus=st.sampled_from([0, 0.5, 1, 2, 3]),
    gpus=st.sampled_from([0, 0.25, 0.3, 0.5, 0.75, 1, 2]),
    nodes=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3)), min_size=1, max_size=3),
)
def test_room_is_what_packing_actors_one_by_one_finds(cpus, gpus, nodes):
    assume(cpus or gpus)
    room = sum(_pack(node_cpus, node_gpus, cpus, gpus) for node_cpus, node_gpus in nodes)
    resources = [{"CPU": float(c), "GPU": float(g)} for c, g in nodes]
    if room:
        Demand(room, cpus, gpus).check(resources)
    with pytest.raises(PoolError, match=f"room for {room}\\."):
        Demand(room + 1, cpus, gpus).check(resources)


def _pack(cpus_left, gpu_count, cpus, gpus):
    devices = [1.0] * gpu_count
    for packed in itertools.count():
        if cpus_left < cpus:
            return packed
        whole = [i for i, left in enumerate(devices) if left >= min(gpus, 1) - 1e-9]
        needed = max(1, int(gpus)) if gpus else 0
        if len(whole) < needed:
            return packed
        for device in whole[:needed]:
            devices[device] -= min(gpus, 1)
        cpus_left -= cpus
