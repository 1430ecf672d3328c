"""One training run: its YAML, its loop, its evaluation, and what it leaves in its folder.

* :mod:`experiment`: the YAML, as RLlib's configuration with the reward added;
* :mod:`loop`: trains, saves, evaluates; :mod:`run_check`: would it start?
* :mod:`progress`: what is known after each iteration, and the names of its figures;
* :mod:`console`, :mod:`training_charts`, :mod:`frame_pictures`: how a run is shown;
* :mod:`run_folder`: what a run leaves, and resumes from;
* :mod:`evaluator`: plays a trained agent; :mod:`agents_evaluation`: several agents, as RLlib does;
* :mod:`recorded_rollout`, :mod:`run_env`: a run's policy and its env, played outside of training.
"""

from rllib_vlm_reward.run.console import Display
from rllib_vlm_reward.run.experiment import Experiment
from rllib_vlm_reward.run.loop import train
from rllib_vlm_reward.run.run_check import check

__all__ = ["Display", "Experiment", "check", "train"]
