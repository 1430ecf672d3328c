"""Searches over experiments with Ray Tune.

* :mod:`trial`: an experiment as Tune trains it;
* :mod:`resources`: what a trial asks of the cluster, its reward actors included;
* :mod:`search`: a search from its space to its results, with one pool for all trials;
* :mod:`results`: what a search found, as a table, a picture and a YAML, and means over seeds;
* :mod:`command`: the command line that all scripts of ``tune_experiments/`` share.
"""

from rllib_vlm_reward.sweep.command import Setting, command
from rllib_vlm_reward.sweep.results import SweepResults, interval
from rllib_vlm_reward.sweep.search import search
from rllib_vlm_reward.sweep.trial import REPORTS, ExperimentTrial

__all__ = ["REPORTS", "ExperimentTrial", "Setting", "SweepResults", "command", "interval", "search"]
