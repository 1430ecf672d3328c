"""Monitors whether the reward is still good, from the scores that training computes anyway.

    env runner: ScoredSteps ─ ScoreCounter, Highlights; frames ─ FrameCounter ─▶ RLlib's metrics
        ─▶ algorithm: RewardMonitor ─ Alarms, FrameAlarms, HintAlarms ─▶ metrics, log, TensorBoard

* :mod:`scored_steps`: the arrays of a scored vector step, and the interface of its observers;
* :mod:`score_statistics`: counts over scores, which can be added up over env runners;
* :mod:`frame_statistics`: detects frames of one colour, and frames that never change;
* :mod:`hint_alarms`: detects hints that never hold, or always from the start;
* :mod:`constancy`: detects scores that never change;
* :mod:`highlights`: keeps the frames with the highest scores;
* :mod:`alarms`: decides when a reward cannot be trusted;
* :mod:`monitor`: the statistics and alarms of an iteration, on the driver;
* :mod:`metric_names`: the names of all metrics.
"""

from rllib_vlm_reward.monitoring.monitor import RewardMonitor
from rllib_vlm_reward.monitoring.score_statistics import ScoreStatistics
from rllib_vlm_reward.monitoring.scored_steps import Recorder, ScoredFrame, ScoredSteps

__all__ = ["Recorder", "RewardMonitor", "ScoreStatistics", "ScoredFrame", "ScoredSteps"]
