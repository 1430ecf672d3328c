"""How does a reward enter an episode? RLlib's env-to-module connectors and callbacks.

    env.step ─ VLMReward: frames ─▶ pool ─▶ scores ─▶ rewards, at once or when the fragment ends
             ─ GoalWeights: which goals the envs draw
             ─ GoalEmbedding: the goal beside the observation
             ─ StackedFrames: the last frames in place of one

The reward:

* :mod:`reward`: the piece that RLlib calls, and what makes two rewards differ;
* :mod:`stream`: sends the frames of one reward, and shows its scores to those who observe them;
* :mod:`collector`: frame sources, and the goals of episodes;
* :mod:`frame_selection`: which steps are scored, and what the scores of a window make;
* :mod:`ledger`: which reward belongs to which step;
* :mod:`normalizer`: rewards scaled by running moments;
* :mod:`episode_metrics`: the returns of an episode, the VLM's and the env's own;
* :mod:`custom_data`: the keys under which an episode keeps them.

What the policy sees, and the goals:

* :mod:`stacked_frames`: the piece that shows the policy the last frames at once;
* :mod:`goal_embedding`: the piece that shows the policy its goal;
* :mod:`goal_weights`: the piece that carries a curriculum to the envs;
* :mod:`drawn_goal`: the env wrapper that draws the goal of an episode;
* :mod:`curriculum_progress`: from an iteration's outcomes to the goals of the next.

RLlib around them:

* :mod:`callbacks`: the pool's life, the end of a fragment, and loud failures;
* :mod:`preflight`: does an env give frames and goals?
* :mod:`pipeline`: where RLlib keeps pipelines, pieces and what else has no public name;
* :mod:`episodes`: those of one agent or of several, seen alike;
* :mod:`early_end`: the env wrapper that resets from outside;
* :mod:`failure`: how an error in an env runner reaches the driver.
"""

from rllib_vlm_reward.connectors.callbacks import VLMRewardCallbacks
from rllib_vlm_reward.connectors.collector import FrameSource, SteppedEnvs
from rllib_vlm_reward.connectors.early_end import ExternalReset
from rllib_vlm_reward.connectors.goal_embedding import GoalEmbedding
from rllib_vlm_reward.connectors.reward import VLMReward

__all__ = [
    "ExternalReset",
    "FrameSource",
    "GoalEmbedding",
    "SteppedEnvs",
    "VLMReward",
    "VLMRewardCallbacks",
]
