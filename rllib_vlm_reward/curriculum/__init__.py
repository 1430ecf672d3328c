"""Curricula choose the next goals from the outcomes of episodes. Needs neither Ray nor torch.

    outcomes of episodes ─▶ Curriculum.observe ─▶ each goal's last values of the signal
        ─▶ Curriculum.weights ─▶ the probabilities with which envs draw their next goals

* :mod:`curriculum_config`: the settings, and the table of the built-in kinds;
* :mod:`curriculum`: the base class, the outcome of an episode, and how to make a curriculum;
* :mod:`uniform`: all goals with equal probability;
* :mod:`staged`: one family of goals after another, from easy to hard;
* :mod:`success_window`: goals neither too hard nor too easy;
* :mod:`learning_progress`: goals whose signal is changing.
"""

from rllib_vlm_reward.curriculum.curriculum import Curriculum, Outcome, make_curriculum
from rllib_vlm_reward.curriculum.curriculum_config import CurriculumConfig

__all__ = ["Curriculum", "CurriculumConfig", "Outcome", "make_curriculum"]
