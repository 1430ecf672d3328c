"""Scores that are made up."""

import numpy as np

from rllib_vlm_reward.evaluation.goal_accuracy import GoalAccuracy
from rllib_vlm_reward.evaluation.images import encode
from rllib_vlm_reward.evaluation.labelled import LabelledFrames
from rllib_vlm_reward.evaluation.scored_frames import ScoredFrames


def made_up_scores(
    config, scores, labels, *, goals=None, episodes=None, steps_to_go=None, **accuracy
):
    """Return frames, each another grey, as a made-up reward scores them."""
    number = len(scores)
    frames = LabelledFrames.of(
        [encode(np.full((8, 8, 3), row % 256, np.uint8)) for row in range(number)],
        goals or [config.goal_set.texts[0]] * number,
        labels,
        episodes=episodes or [str(row) for row in range(number)],
        steps_to_go=steps_to_go,
    )
    unknown = np.full(number, np.nan)
    known = {"hits": unknown, "chance": unknown, "taken_for": {}, **accuracy}
    return ScoredFrames(
        config=config,
        fingerprint="0" * 64,
        frames=frames,
        scores=np.asarray(scores, np.float32),
        goal_accuracy=GoalAccuracy(**known),
        threshold=0.5 if config.threshold is None else config.threshold,
    )
