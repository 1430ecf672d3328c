"""The keys under which the connectors keep what they know of an episode.

In ``episode.custom_data``, which RLlib copies into the chunk that goes on after a cut: numbers and
bools only, for it copies them at each cut.
"""

__all__ = [
    "ENV_RETURN",
    "ENV_REWARD",
    "FIRES",
    "GOAL_INDEX",
    "OF_REWARDS",
    "SHOWN_GOAL",
    "SUCCESS",
    "VLM_RETURN",
]

GOAL_INDEX = "goal_index"  # in config.goal_set
SHOWN_GOAL = "shown_goal"  # the goal that a goal-blind policy is shown in its place
ENV_RETURN = "env_return"  # the sum of the env's own rewards so far
SUCCESS = "success"  # whether any step was a success; missing where the env has no ground truth
VLM_RETURN = "vlm_return"  # the sum of what the VLM paid in the fragments that ended
FIRES = "fires"  # how many steps of these it paid for

# What says something about the rewards, so no longer holds when an episode is rewarded anew.
OF_REWARDS = (ENV_RETURN, VLM_RETURN, FIRES, SHOWN_GOAL)

# In the info of each step: the env's own reward.
ENV_REWARD = "env_reward"
