"""Where is it computed? Ray actors that each hold one CLIP on one device. Ray core; never RLlib.

    RewardPool.submit ─ Router: which actor ─ ActorClient ─┬─ shared memory, on one node ─┬─ actor
                                                           └─ a Ray call, between nodes ──┘
        actor ─ batcher: join what waits ─ lanes ─▶ RewardModel
            ◀─ Pending.result: the scores, from another actor where the first is late or gone

* :mod:`request`: what is asked, on both sides of the wire, and what is answered;
* :mod:`pool`: all actors behind one name;
* :mod:`router`: the way to each actor, the choice among them, and one request's answer to come;
* :mod:`shared_memory`: how frames travel within a node;
* :mod:`actor`: one device, one model, one batcher, one meter;
* :mod:`batcher`: joins the requests that wait; neither Ray nor torch;
* :mod:`lanes`: how many batches a device takes at once;
* :mod:`meter`: how busy an actor is;
* :mod:`deployment`: whether a pool fits the cluster, its actors put there, and ready to serve;
* :mod:`autoscale`: more actors while all are busy.
"""

from rllib_vlm_reward.serving.pool import RewardPool
from rllib_vlm_reward.serving.router import PendingScores

__all__ = ["PendingScores", "RewardPool"]
