"""The keys under which the connectors store data about an episode.

They are keys of ``episode.custom_data``. RLlib copies this dictionary whenever it cuts an episode
into chunks, so its values are numbers, bools and short texts, or few numbers by such a text.
"""

__all__ = [
    "BONUS_RETURN",
    "ENV_RETURN",
    "ENV_REWARD",
    "EXPERT_SCORES",
    "FIRES",
    "FIRST_STEPS",
    "FRAMES",
    "GOAL_INDEX",
    "GOAL_MAPS",
    "GOAL_TEXT",
    "HINT_RETURN",
    "REWARD_KEYS",
    "SHOWN_GOAL",
    "SUCCESS",
    "VLM_RETURN",
]

GOAL_INDEX = "goal_index"  # index in config.goal_set
GOAL_TEXT = "goal_text"  # text of the goal, for a policy that is used outside of training
SHOWN_GOAL = "shown_goal"  # index of the wrong goal that a goal-blind policy is shown
ENV_RETURN = "env_return"  # sum of the env's rewards so far
SUCCESS = "success"  # whether any step was a success; missing if the env has no ground truth
VLM_RETURN = "vlm_return"  # sum of the VLM rewards, over the fragments that ended
BONUS_RETURN = "bonus_return"  # sum of the bonuses, over the same fragments
HINT_RETURN = "hint_return"  # sum of what was paid for hints, over the same fragments
FIRES = "fires"  # number of steps with a VLM reward above 0, over the same fragments
# By the index of a goal: after which step it first held; 0 at the reset. The keys are texts, since
# RLlib cannot read a recording with other keys.
FIRST_STEPS = "first_steps"

# Keys that depend on the reward, so they do not hold for an episode that is relabelled.
REWARD_KEYS = (
    *(ENV_RETURN, VLM_RETURN, BONUS_RETURN, HINT_RETURN),
    *(FIRES, SHOWN_GOAL, FIRST_STEPS),
)

# Keys of the info of each step: the env's own reward, and what each expert that answered said.
ENV_REWARD = "env_reward"
EXPERT_SCORES = "expert_scores"

# Keys of RLlib's shared_data, by which the pieces of a pipeline pass on what belongs to a call.
GOAL_MAPS = "goal_maps"  # by id of the episode: where its goal is in the newest frame
FRAMES = "frames"  # by id of the episode: the newest frame, for a policy outside of training
