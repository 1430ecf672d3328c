"""Searches over experiments with Ray Tune.

* :mod:`trial`: an experiment as Tune trains it;
* :mod:`results`: what a search found, as a table, a picture and a YAML;
* :mod:`interval`: how sure a mean over seeds is;
* :mod:`search`: a search from its space to its results, with one pool for all trials;
* :mod:`command`: what an experiment can be asked on the command line.
"""

from rllib_vlm_reward.sweep.command import Setting, command
from rllib_vlm_reward.sweep.interval import interval
from rllib_vlm_reward.sweep.results import SweepResults
from rllib_vlm_reward.sweep.search import search
from rllib_vlm_reward.sweep.trial import REPORTS, ExperimentTrial

__all__ = ["REPORTS", "ExperimentTrial", "Setting", "SweepResults", "command", "interval", "search"]
