"""What is kept of the goals that hold in the frames of an episode."""

import msgpack
import numpy as np
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

from rllib_vlm_reward.connectors.custom_data import FIRST_STEPS, GOAL_INDEX
from rllib_vlm_reward.connectors.first_steps import FirstSteps
from rllib_vlm_reward.goals import GoalSet, Template
from rllib_vlm_reward.monitoring.scored_steps import ScoredSteps

GOALS = GoalSet.from_texts(
    ["lift a ball", "lift a key", "get a ball", "lift a box"],
    templates=[Template("lift {}", "holding {}"), Template("get {}", "holding {}")],
)


def chunk(id_, start, length, goal=0, done=False):
    made = SingleAgentEpisode(
        id_=id_,
        observations=[0] * (length + 1),
        actions=[0] * length,
        rewards=[0.0] * length,
        infos=[{}] * (length + 1),
        terminated=done,
        t_started=start,
        len_lookback_buffer=0,
    )
    made.custom_data[GOAL_INDEX] = goal
    return made


def holding(*rows):
    """Return float32 [B, 4] of two goals each, -1 for none."""
    pairs = [[*row, -1, -1][:2] for row in rows]
    return np.float32([[a, 0.9 * (a >= 0), b, 0.8 * (b >= 0)] for a, b in pairs])


def test_a_goal_has_held_since_its_first_step_in_whichever_chunk():
    kept, metrics = FirstSteps(GOALS, num_candidates=2), MetricsLogger(root=True)
    kept.begin(["a", "b"], holding([1], []))
    first, other = chunk("a", 0, 2), chunk("b", 0, 1)
    kept.see(ScoredSteps.begin([first, other], [0, 0], [0, 0], ()), holding([1, 3], [3]))
    kept.write([first, other], metrics)
    assert first.custom_data[FIRST_STEPS] == {"1": 0, "3": 2}
    assert other.custom_data[FIRST_STEPS] == {"3": 1}
    kept.keep_only({"a"})
    # RLlib reads recordings like this.
    assert msgpack.unpackb(msgpack.packb(first.custom_data)) == first.custom_data
    later = chunk("a", 2, 3, done=True)
    kept.see(ScoredSteps.begin([later], [0], [0], ()), holding([3, 2]))
    kept.write([later, chunk("c", 0, 0)], metrics)
    # Goal 2 is the episode's own goal in other words.
    assert later.custom_data[FIRST_STEPS] == {"1": 0, "3": 2}
    assert metrics.peek(("vlm_reward", "hindsight", "goals_by_chance")) == 1
    again = chunk("b", 0, 1)
    kept.write([again], metrics)
    assert again.custom_data[FIRST_STEPS] == {}


def test_nothing_more_is_known_once_a_frame_names_as_many_goals_as_it_can():
    kept = FirstSteps(GOALS, num_candidates=4)
    kept.begin(["a", "b"], holding([1], [1, 3]))
    chunks = [chunk("a", 0, 1), chunk("b", 0, 1)]
    # In b's reset, goal 2 may have held too.
    kept.see(ScoredSteps.begin(chunks, [0, 0], [0, 0], ()), holding([1, 3], [1, 2]))
    kept.write(chunks, MetricsLogger(root=True))
    assert [each.custom_data[FIRST_STEPS] for each in chunks] == [
        {"1": 0, "3": 1},
        {"1": 0, "3": 0},
    ]
    later = chunk("a", 1, 1)
    kept.see(ScoredSteps.begin([later], [0], [0], ()), holding([2]))
    kept.write([later], MetricsLogger(root=True))
    assert later.custom_data[FIRST_STEPS] == {"1": 0, "3": 1}
