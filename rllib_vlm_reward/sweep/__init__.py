"""Searches over experiments with Ray Tune.

* :mod:`trial`: a Tune trainable that trains an experiment;
* :mod:`resources`: the resources of a trial, with those of its reward actors;
* :mod:`search`: runs a search, with one pool for all trials;
* :mod:`results`: the results of a search as a table, a picture and a YAML; means over seeds;
* :mod:`search_chart`: the picture of a search;
* :mod:`command`: the command line of the searches in ``tune_experiments/``.
"""

from rllib_vlm_reward.sweep.command import Setting, command
from rllib_vlm_reward.sweep.results import SweepResults, interval
from rllib_vlm_reward.sweep.search import search
from rllib_vlm_reward.sweep.trial import REPORTS, ExperimentTrial

__all__ = ["REPORTS", "ExperimentTrial", "Setting", "SweepResults", "command", "interval", "search"]
