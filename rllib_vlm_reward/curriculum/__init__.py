"""Curricula choose the next goals from the outcomes of episodes. Needs neither Ray nor torch.

    outcomes of episodes ─▶ Curriculum.observe ─▶ each goal's last values of the signal
        ─▶ Curriculum.weights ─▶ the probabilities with which envs draw their next goals

* :mod:`curriculum_config`: the settings, and the table of the built-in kinds;
* :mod:`curriculum`: the base class, the outcome of an episode, and how to make a curriculum;
* :mod:`uniform`: all goals with equal probability;
* :mod:`staged`: one family of goals after another, from easy to hard;
* :mod:`success_window`: goals neither too hard nor too easy;
* :mod:`learning_progress`: goals whose signal is changing.

Goals may be added while a run trains:

    Proposer.propose ─▶ admit: texts, encoder, env ─▶ GoalSet.grow ─▶ Curriculum.grow

* :mod:`proposer`: the base class of those who propose goals, and how to make one;
* :mod:`compositions`: composes the words of the goals anew;
* :mod:`admission`: which of the proposed goals a run gets;
* :mod:`growth`: when a proposer is asked, and what is known of all goals.
"""

from rllib_vlm_reward.curriculum.admission import Judge, Rules, Verdict, admit
from rllib_vlm_reward.curriculum.curriculum import Curriculum, Outcome, make_curriculum
from rllib_vlm_reward.curriculum.curriculum_config import CurriculumConfig, ProposeConfig
from rllib_vlm_reward.curriculum.growth import Growth
from rllib_vlm_reward.curriculum.proposer import Proposer, make_proposer

__all__ = [
    "Curriculum",
    "CurriculumConfig",
    "Growth",
    "Judge",
    "Outcome",
    "ProposeConfig",
    "Proposer",
    "Rules",
    "Verdict",
    "admit",
    "make_curriculum",
    "make_proposer",
]
