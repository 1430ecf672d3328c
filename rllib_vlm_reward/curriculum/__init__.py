"""Which goal next? Needs neither Ray nor torch: a few numbers per goal.

    outcomes of episodes ─▶ Curriculum.observe ─ a window of each goal's signal
        ◀─ Curriculum.weights ─▶ the weights with which the envs draw their next goals

* :mod:`curriculum_config`: every key, and the table of the built-in kinds;
* :mod:`curriculum`: an episode's outcome, what all kinds share, and how a curriculum is made;
* :mod:`uniform`: every goal alike;
* :mod:`staged`: families one after another, easy before hard;
* :mod:`success_window`: goals neither too hard nor too easy;
* :mod:`learning_progress`: goals whose signal changes.
"""

from rllib_vlm_reward.curriculum.curriculum import Curriculum, Outcome, make_curriculum
from rllib_vlm_reward.curriculum.curriculum_config import CurriculumConfig

__all__ = ["Curriculum", "CurriculumConfig", "Outcome", "make_curriculum"]
