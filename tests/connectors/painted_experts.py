"""Three experts of the painted world, and what each of them would say, computed here."""

import numpy as np
from painted import BANK

from rllib_vlm_reward.config import TrustCalibration
from rllib_vlm_reward.reward_model.clip import CLIPEncoder
from rllib_vlm_reward.reward_model.heads import head_summary
from rllib_vlm_reward.reward_model.model import RewardModel

NAMES = ("soft", "flat", "negative")
EXPERTS = {
    "soft": {},
    "flat": {"head": {"kind": "softmax", "temperature": 1.0}},
    "negative": {"frames": {"source": "painted_experts.negative_frames"}},
}
FIGURE = {"value": 0.4, "low": 0.3, "high": 0.5}
CENTERS, SCALES = (-0.5, 0.2, -0.9), (0.5, 1.5, 0.7)


def negative_frames(env, observations, infos):
    """Return the photographic negative of each rendered frame."""
    return [255 - np.asarray(frame) for frame in env.render()]


def darker_infos(env, observations, infos):
    """Return the frames of the infos, half as bright."""
    return [info["rgb"] // 2 for info in infos]


def tables(config):
    """Return what each expert says of every bank frame for every goal, float32 [E, G, F]."""
    model = RewardModel(CLIPEncoder.load(config.encoder, precision="fp32"))
    every = []
    for name, reward in config.by_expert.items():
        bank = 255 - BANK if name == "negative" else BANK
        goals = range(len(reward.goal_set))
        rows = [model.score(bank, np.full(len(bank), g, np.int64), reward.scorer) for g in goals]
        every.append(np.stack(rows))
    return np.stack(every)


def numbers(experts, goal):
    """Return the bias, then the weight of each of these experts, for a goal."""
    bias = 0.3 * goal - 0.1 * len(experts)
    return [bias, *(0.4 + 0.3 * NAMES.index(name) + 0.2 * goal for name in experts)]


def calibration(config, threshold=0.5):
    """Return a calibration of made-up weights for the three experts."""
    weights = CLIPEncoder.load(config.encoder).fingerprint
    sets = [NAMES, NAMES[:2], (NAMES[0], NAMES[2]), NAMES[1:], *((name,) for name in NAMES)]
    texts = config.goal_set.texts
    return TrustCalibration(
        version=2,
        experts={
            name: {
                "encoder": reward.encoder,
                "weights": weights,
                "encoder_precision": "fp32",
                "frame_source": reward.frames.source,
                "head": head_summary(reward.head),
                "head_sha256": reward.head.digest(),
                "goals_sha256": reward.goal_set.fingerprint,
                "probability": True,
                "center": CENTERS[place],
                "scale": SCALES[place],
                "average_precision": 0.5,
            }
            for place, (name, reward) in enumerate(config.by_expert.items())
        },
        combinations=[
            {
                "experts": experts,
                "families": {goal.family: numbers(experts, 0) for goal in config.goal_set.goals},
                "goals": {text: numbers(experts, goal) for goal, text in enumerate(texts)},
                "threshold": threshold - 0.05 * (3 - len(experts)),
                "reached": True,
                "average_precision": 0.6,
            }
            for experts in sets
        ],
        goals=texts,
        threshold={**FIGURE, "value": threshold},
        target={"precision": 0.9},
        precision=FIGURE,
        recall=FIGURE,
        false_positives=FIGURE,
        frames=1,
        successes=1,
        episodes=1,
    )


def combined(said, goal, threshold=0.5):
    """Return the probability that a calibrated combination gives, from the experts' scores.

    ``said`` maps the names of those who answered to their scores.
    """
    bias, *weights = numbers(tuple(said), goal)
    own = threshold - 0.05 * (3 - len(said))
    total = bias + np.log(threshold / (1 - threshold)) - np.log(own / (1 - own))
    for weight, (name, score) in zip(weights, said.items(), strict=True):
        place, p = NAMES.index(name), min(max(float(score), 1e-6), 1 - 1e-6)
        total += weight * (np.log(p / (1 - p)) - CENTERS[place]) / SCALES[place]
    return 1 / (1 + np.exp(-total))
