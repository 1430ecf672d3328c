"""Computes rewards in Ray actors, each with one encoder on one device. Does not import RLlib.

    RewardPool.submit ─ Router: choose an actor ─ ActorClient ─┬─ shared memory, same node ─┬─ actor
                                                               └─ Ray call, other nodes ────┘
        actor ─ batcher: join the waiting requests ─ lanes ─▶ RewardModel
            ◀─ Pending.result: the scores, from another actor if the first is late or dead

* :mod:`request`: a request and its answer;
* :mod:`pool`: a client of all actors of a pool;
* :mod:`experts`: the pools of several experts, asked at the same time;
* :mod:`service`: what the connectors ask, a pool or those of the experts;
* :mod:`load_balancer`: chooses an actor; needs neither threads nor Ray;
* :mod:`router`: sends requests to actors, and waits for answers;
* :mod:`shared_memory`: sends requests within a node;
* :mod:`actor`: the Ray actor, with one model, one batcher and one meter;
* :mod:`fair_queue`: chooses the requests of the next batch; needs neither threads nor Ray;
* :mod:`batcher`: scores joined requests, in threads; needs neither Ray nor torch;
* :mod:`lanes`: how many batches a device computes at once;
* :mod:`meter`: measures how busy an actor is;
* :mod:`deployment`: checks that a pool fits the cluster, starts its actors, and waits for them;
* :mod:`autoscale`: starts and stops actors according to the load.
"""

from rllib_vlm_reward.serving.pool import RewardPool
from rllib_vlm_reward.serving.router import PendingScores

__all__ = ["PendingScores", "RewardPool"]
