"""RLModules for goal-conditioned policies, which read CLIP's embedding of the goal.

    {"observation", "goal"} ─ FilmEncoder ─ (RecurrentEncoder) ─▶ features ─▶ actor, critic or Q

* :mod:`film`: the encoder of frame and goal, which all modules use;
* :mod:`sizes`: the sizes of all their networks;
* :mod:`goal_code`: a discrete code, which the goal may pass before the encoder sees it;
* :mod:`spatial`: scores of places of the frame, for actions such as taps on a screen;
* :mod:`memory`: an LSTM after the encoder, and the choice of the encoder by ``model_config``;
* :mod:`goal_conditioned`: actor and critic, for PPO, APPO and IMPALA;
* :mod:`replayed`: the modules for DQN and SAC;
* :mod:`default`: which of them a run has by default, where RLlib has no module;
* :mod:`module_check`: checks before training that a module suits its settings and spaces.
"""

from rllib_vlm_reward.policies.default import SETTINGS, default_module
from rllib_vlm_reward.policies.goal_conditioned import GoalConditionedModule
from rllib_vlm_reward.policies.replayed import GoalConditionedQModule, GoalConditionedSACModule

__all__ = [
    "SETTINGS",
    "GoalConditionedModule",
    "GoalConditionedQModule",
    "GoalConditionedSACModule",
    "default_module",
]
