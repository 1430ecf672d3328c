"""A command without a cluster starts Ray, and ends it."""

import ray

from rllib_vlm_reward.serving.deployment import joined_cluster


def test_ray_is_started_and_ended_where_there_is_none(own_ray):
    with joined_cluster(num_cpus=1, include_dashboard=False):
        assert ray.cluster_resources()["CPU"] == 1
        with joined_cluster(num_cpus=3):  # joins the one that runs
            assert ray.cluster_resources()["CPU"] == 1
        assert ray.is_initialized()
    assert not ray.is_initialized()
