"""One training run: its YAML file, its loop, its evaluation, and its output folder.

* :mod:`experiment`: the YAML file, which becomes an RLlib configuration with the reward added;
* :mod:`loop`: trains, saves, evaluates; :mod:`run_check`: checks whether a run can start;
* :mod:`progress`: the progress after each iteration, and the names of its figures;
* :mod:`console`, :mod:`training_charts`, :mod:`frame_pictures`, :mod:`goal_table`: show a run;
* :mod:`run_folder`: the output folder of a run, from which it can be resumed; :mod:`manifest`: the
  files of its checkpoint;
* :mod:`evaluator`: evaluates a single trained agent; :mod:`agents_evaluation`: several agents;
* :mod:`recorded_rollout`, :mod:`run_env`: use a run's policy and env outside of training;
* :mod:`agent`: a trained policy, without Ray or an env; :mod:`play`: plays it in the run's env.
"""

from rllib_vlm_reward.run.agent import Agent
from rllib_vlm_reward.run.console import Display, headline
from rllib_vlm_reward.run.experiment import Experiment
from rllib_vlm_reward.run.loop import train
from rllib_vlm_reward.run.run_check import check

__all__ = ["Agent", "Display", "Experiment", "check", "headline", "train"]
