"""Is the reward still good? Read from the scores that training pays anyway.

    env runner: ScoredSteps ─ ScoreCounter, Highlights ─▶ RLlib's metrics
        ─▶ algorithm: RewardMonitor ─ Alarms ─▶ metrics, log, TensorBoard

* :mod:`scored_steps`: the arrays of a scored vector step, and what observes them;
* :mod:`score_statistics`: counts over scores, which add up over env runners;
* :mod:`constancy`: scores that never change;
* :mod:`highlights`: the frames that scored highest;
* :mod:`alarms`: when a reward is not to be trusted;
* :mod:`monitor`: an iteration's statistics and alarms, on the driver;
* :mod:`metric_names`: the names of all metrics.
"""

from rllib_vlm_reward.monitoring.monitor import RewardMonitor
from rllib_vlm_reward.monitoring.score_statistics import ScoreStatistics
from rllib_vlm_reward.monitoring.scored_steps import Recorder, ScoredFrame, ScoredSteps

__all__ = ["Recorder", "RewardMonitor", "ScoreStatistics", "ScoredFrame", "ScoredSteps"]
