"""How does an agent know its goal? RLModules that read CLIP's embedding of it.

    {"observation", "goal"} ─ FilmEncoder ─ (RecurrentEncoder) ─▶ features ─▶ actor, critic or Q

* :mod:`film`: the encoder of frame and goal, with which every module begins;
* :mod:`memory`: an LSTM behind it, and which encoder a ``model_config`` asks for;
* :mod:`goal_conditioned`: actor and critic, for PPO, APPO and IMPALA;
* :mod:`replayed`: Q networks and SAC's, for DQN and SAC.
"""

from rllib_vlm_reward.policies.goal_conditioned import GoalConditionedModule
from rllib_vlm_reward.policies.replayed import GoalConditionedQModule, GoalConditionedSACModule

__all__ = ["GoalConditionedModule", "GoalConditionedQModule", "GoalConditionedSACModule"]
