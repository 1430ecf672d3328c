"""Where is it computed? Ray actors that each hold one CLIP on one device. Ray core; never RLlib.

    RewardPool.submit ─ router: which actor ─ courier ─┬─ link ═ shared memory ═ listener ─┬─ actor
                                                       └─ a Ray call, from another node ───┘
        actor ─ batcher: join what waits ─ lanes ─▶ RewardModel
            ◀─ Pending.result: the scores, from another actor where the first is late or gone

* :mod:`request`: what is asked, what is answered, and the check at the door;
* :mod:`segment`, :mod:`message`: one request's memory, and the header that names it;
* :mod:`link`, :mod:`listener`: the client's end of a connection on one node, and the actor's;
* :mod:`user`: whose process is at the other end;
* :mod:`courier`: takes requests to one actor, by link or by Ray;
* :mod:`batcher`: joins the requests that wait; neither Ray nor torch;
* :mod:`lanes`: how many batches a device takes at once;
* :mod:`meter`: how busy an actor is;
* :mod:`actor`: one device, one model, one batcher, one meter;
* :mod:`cluster`: Ray for as long as something needs it;
* :mod:`placement`: whether a pool fits the cluster, and its actors put there;
* :mod:`readiness`: placed, loaded, and able to score;
* :mod:`autoscale`: more actors while all are busy;
* :mod:`roster`: the pool's actors, as one client knows them;
* :mod:`routing`: the actor with the least to do;
* :mod:`pending`: one request's answer to come;
* :mod:`pool`: all of it, behind one name.
"""

from rllib_vlm_reward.serving.pending import PendingScores
from rllib_vlm_reward.serving.pool import RewardPool

__all__ = ["PendingScores", "RewardPool"]
