"""The RLlib connectors and callbacks that write the reward into the episodes.

    env.step ─ VLMReward: frames ─▶ pool ─▶ scores ─▶ rewards, at once or when the fragment ends
             ─ GoalWeights: which goals the envs draw
             ─ GoalEmbedding: the goal's embedding in the observation, and where the goal is
             ─ StackedFrames: the last frames in place of one

The reward:

* :mod:`reward`: the connector piece that RLlib calls, and the comparison of two rewards;
* :mod:`stream`: sends the frames of one reward, and passes the scores to the observers;
* :mod:`frame_source`: where frames come from;
* :mod:`episode_goal`: the goal of an episode, as the env names it;
* :mod:`frame_selection`: selects the steps to score, and reduces a window of scores to one;
* :mod:`ledger`: records which reward belongs to which step;
* :mod:`normalizer`: scales rewards by running moments;
* :mod:`bonus`: computes what is paid beside them;
* :mod:`hints`: pays what leads to the goal, the less the more often it was paid;
* :mod:`novelty`: counts that, and how new a hint is by it;
* :mod:`newest`: merges what several env runners counted;
* :mod:`expert_record`: records what each of several experts said;
* :mod:`first_steps`: after which step of an episode other goals than its own first held;
* :mod:`episode_metrics`: computes and logs the returns of the VLM reward and of the env reward;
* :mod:`custom_data`: the keys under which an episode stores them.

What the policy sees, and the goals:

* :mod:`stacked_frames`: the connector piece that stacks the last frames for the policy;
* :mod:`goal_embedding`: the connector piece that adds the goal's embedding to the observation, and
  the map of where the goal is;
* :mod:`map_reader`: reads such a map outside of training;
* :mod:`code_usage`: reports how the goals use the codebook of a policy with ``goal_code``;
* :mod:`known_goals`: the goals that a process knows, with those that were added later;
* :mod:`goal_weights`: the connector piece that sends a curriculum's weights to the envs;
* :mod:`drawn_goal`: the env wrapper that draws the goal of an episode;
* :mod:`curriculum_progress`: updates the curriculum from the outcomes of an iteration;
* :mod:`goal_growth`: asks a proposer for goals, and adds those that are admitted;
* :mod:`single_env`: one env outside of the vector envs, in which goals are tried.

The connection to RLlib:

* :mod:`callbacks`: start and stop the pool, finish fragments, and raise failures;
* :mod:`preflight`: checks before training that an env gives frames and goals;
* :mod:`played_frames`: the frames of random steps, on which precisions are compared;
* :mod:`pipeline`: access to RLlib's pipelines, and to all that has no public name in RLlib;
* :mod:`episodes`: one interface to single-agent and multi-agent episodes;
* :mod:`early_end`: the env wrapper that can be reset from outside;
* :mod:`failure`: reports an error in an env runner to the driver;
* :mod:`sampling`: raises an error if env runners fail, or if nothing is sampled any more.
"""

from rllib_vlm_reward.connectors.callbacks import VLMRewardCallbacks
from rllib_vlm_reward.connectors.early_end import ExternalReset
from rllib_vlm_reward.connectors.frame_source import FrameSource, SteppedEnvs
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
