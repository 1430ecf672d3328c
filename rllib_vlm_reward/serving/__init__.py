"""Where is it computed? Ray actors that each hold one CLIP on one device. Ray core; never RLlib.

    RewardPool.submit ─ router: which actor ─▶ RewardActor ─ batcher: join what waits ─▶ RewardModel
        ◀─ Pending.result: the scores, from another actor where the first is late or gone

* :mod:`request`: what travels, and the check at the door;
* :mod:`batcher`: joins the requests that wait; neither Ray nor torch;
* :mod:`meter`: how busy an actor is;
* :mod:`actor`: one device, one model, one batcher, one meter;
* :mod:`placement`: whether a pool fits the cluster, and its actors put there;
* :mod:`readiness`: placed, loaded, and able to score;
* :mod:`routing`: the actor with the least under way;
* :mod:`pending`: one request's answer to come;
* :mod:`pool`: all of it, behind one name.
"""

from rllib_vlm_reward.serving.pending import PendingScores
from rllib_vlm_reward.serving.pool import RewardPool

__all__ = ["PendingScores", "RewardPool"]
