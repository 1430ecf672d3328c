"""Which goal next? Neither Ray nor torch: a few numbers a goal.

    outcomes of episodes ─▶ Curriculum.observe ─ a window of each goal's signal
        ◀─ Curriculum.weights ─▶ what the envs draw their next goals with

* :mod:`outcome`: what one episode brought;
* :mod:`config`: every key of every kind;
* :mod:`curriculum`: what all kinds share, and how one is made;
* :mod:`uniform`: every goal alike;
* :mod:`staged`: families one after another, easy before hard;
* :mod:`success_window`: goals neither too hard nor too easy;
* :mod:`learning_progress`: goals whose signal changes.
"""

from rllib_vlm_reward.curriculum.config import CurriculumConfig
from rllib_vlm_reward.curriculum.curriculum import Curriculum, make_curriculum
from rllib_vlm_reward.curriculum.outcome import Outcome

__all__ = ["Curriculum", "CurriculumConfig", "Outcome", "make_curriculum"]
