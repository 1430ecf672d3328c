"""How does a reward enter an episode? RLlib's env-to-module connectors and callbacks.

    env.step ─ VLMReward: frames ─▶ pool ─▶ scores ─▶ rewards, at once or when the fragment ends
             ─ GoalWeights: which goals the envs draw
             ─ GoalEmbedding: the goal beside the observation

* :mod:`collector`: the stepped sub-envs' frames and goals;
* :mod:`reward`: the piece that RLlib calls, with a stream for each reward;
* :mod:`stream`: asks the pool for one reward's scores, and has them paid;
* :mod:`economy`: which steps are scored;
* :mod:`ledger`: which score belongs to which step;
* :mod:`normalizer`: rewards scaled by running moments;
* :mod:`totals`: an episode's returns, VLM's and ground truth's;
* :mod:`constancy`: scores that never change;
* :mod:`digest`: what a fragment's scores say of the reward;
* :mod:`highlights`: the frames that scored highest;
* :mod:`series`: how both reach the algorithm;
* :mod:`alarm`: when a reward is not to be trusted;
* :mod:`watch`: the driver's metrics and alarms of an iteration;
* :mod:`goal_embedding`: the piece that shows the policy its goal;
* :mod:`goal_weights`: the piece that carries a curriculum to the envs;
* :mod:`drawn_goal`: the env wrapper that draws an episode's goal;
* :mod:`course`: from an iteration's outcomes to the goals of the next;
* :mod:`early_end`: the env wrapper that resets from outside;
* :mod:`episodes`: those of one agent or of several, seen alike;
* :mod:`comparison`: is a checkpoint's reward this one?
* :mod:`failure`: how an error in an env runner reaches the driver;
* :mod:`preflight`: can frames and goals be had?
* :mod:`callbacks`: the pool's life, the end of a fragment, and loud failures.
"""

from rllib_vlm_reward.connectors.callbacks import VLMRewardCallbacks
from rllib_vlm_reward.connectors.early_end import ExternalReset
from rllib_vlm_reward.connectors.goal_embedding import GoalEmbedding
from rllib_vlm_reward.connectors.reward import VLMReward

__all__ = ["ExternalReset", "GoalEmbedding", "VLMReward", "VLMRewardCallbacks"]
