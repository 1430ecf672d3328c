"""Does a bonus for what the frame shows help, where the goal's reward is rare?

    python tune_experiments/focal_bonus.py

The task: in a room of 8 x 8 with eight things, pick up the one that the goal
names. Picking up another one ends the episode. All agents have the CLIP
`grounded`; their rewards differ:

- sparse: 1 where the probability of the goal exceeds 0.5, as in the quickstart;
- dense p: that probability, at each step;
- focal bonus: sparse, and COPL's focal bonus (arXiv 2408.01942) at each step;
  its weight is small enough that an episode of it is worth less than the goal;
- focal potential: sparse, and the same bonus as a potential, with COPL's weight;
- map: sparse, and the policy sees where in the frame the goal is;
- ground truth: the env's own reward.

Beside the agents, the script reports how the focal score and p of frames of
random play and of an expert rank the steps that are left to the goal.

The full setting has 6 rewards and 5 seeds. The script writes
docs/findings/focal_bonus.json and .png.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from paper_finding import EPISODES, LIFT, draw_success, finding, over_seeds, rows_of
from ray import tune

from rllib_vlm_reward import Experiment
from rllib_vlm_reward.envs.babyai.env import BabyAI
from rllib_vlm_reward.evaluation.collect import collect
from rllib_vlm_reward.evaluation.labelled import LabelledFrames
from rllib_vlm_reward.metrics.ranking import rank_correlation
from rllib_vlm_reward.reward_model.encoder import load_encoder
from rllib_vlm_reward.reward_model.model import RewardModel
from rllib_vlm_reward.sweep import SweepResults

ROOM = {"room_size": 8, "num_objects": 8, "max_steps": 60}
TEMPLATES = [
    {
        "goal": "pick up {}",
        "prompt": "the agent is carrying {}",
        "nothing": "the agent is carrying nothing",
        "noun": "{}",
    }
]
FOCAL = {"kind": "focal", "weight": 0.5, "centre": [*BabyAI.agent_position]}
POTENTIAL = {**FOCAL, "weight": 5.0, "potential": True}
# No cosine of a frame and a text is so high, so CLIP pays nothing.
NEVER = {"head": "cosine", "threshold": 0.999, "alarms": "off"}
REWARDS: dict[str, dict[str, Any]] = {
    "sparse": {},
    "dense p": {"threshold": None},
    "focal bonus": {"bonus": FOCAL},
    "focal potential": {"bonus": POTENTIAL},
    "map": {"goal_map": True, "mode": "synchronous"},
    "ground truth": {**NEVER, "env_reward_weight": 1.0},
}


def space(seed: int, steps: int) -> dict[str, Any]:
    """Return the search space of a seed: each reward, in the larger room."""
    base = LIFT.space(seed, steps, encoder="grounded", templates=TEMPLATES)
    each = [{**base["vlm_reward"], **reward} for reward in REWARDS.values()]
    environment = {**base["environment"], "env_config": ROOM}
    return {**base, "environment": environment, "vlm_reward": tune.grid_search(each)}


def correlations(frames: LabelledFrames) -> dict[str, float]:
    """Return how the focal score and p rank the steps to the goal: Spearman's rank correlation.

    Args:
        frames: frames of the task, of which an oracle knows the steps that are left.
    """
    base = space(0, 1)
    (reward, *_) = base["vlm_reward"]["grid_search"]
    settings = {**base, "vlm_reward": {**reward, "bonus": FOCAL}}
    config = Experiment.model_validate(settings).vlm_reward
    scorer = dataclasses.replace(config.scorer, precision="fp32")
    model = RewardModel(load_encoder(config.encoder), cache_frames=0)
    goals = np.array([scorer.goals.index(text) for text in frames.goals])
    answers = [model.answer(pixels, goals[rows], scorer) for rows, pixels in frames.batches()]
    p, focal = np.concatenate(answers).T
    near = -frames.steps_to_go.astype(np.float64)
    known = np.isfinite(near)
    return {
        "focal": rank_correlation(focal[known], near[known]),
        "p": rank_correlation(p[known], near[known]),
    }


def play() -> LabelledFrames:
    """Return frames of random play and of BabyAI's bot in the task."""
    base = space(0, 1)
    (reward, *_) = base["vlm_reward"]["grid_search"]
    experiment = Experiment.model_validate({**base, "vlm_reward": reward})
    return collect(experiment, players=("random", "expert"), episodes=EPISODES, seed=0)


def summarise(results: list[SweepResults]) -> dict[str, Any]:
    """Return the rank correlations, and the measures of the agents of each reward."""
    rewards = space(0, 1)["vlm_reward"]["grid_search"]
    frames = play()
    return {
        "rank_correlation_with_steps_to_go": {**correlations(frames), "frames": len(frames)},
        "agents": over_seeds(
            rows_of(results), lambda row: [*REWARDS][rewards.index(row["vlm_reward"])]
        ),
    }


def draw(figures: dict[str, Any], path: Path) -> None:
    """Draw a bar for the agents of each reward."""
    draw_success({name: figures["agents"][name] for name in REWARDS}, path, height=3)


if __name__ == "__main__":
    finding(
        __doc__, "focal_bonus", space=space, summarise=summarise, draw=draw, seeds=5, steps=150_000
    )
