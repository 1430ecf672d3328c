"""Does hindsight help where random play seldom reaches its goal?

    python tune_experiments/hindsight.py

The task: in a room of 14 x 14 with sixteen things, pick up the one that the goal
names, in 20 steps. Picking up another one ends the episode, so an episode reaches
one goal at most. All agents are DQN with the settings of dqn.yaml:

- CLIP: it pays for the goal of the episode;
- CLIP, hindsight: the replay buffer also has copies for goals that were reached
  by chance (docs/hindsight.md);
- ground truth: the env pays, without hindsight.

Beside the agents, the script reports how often random play reaches its own goal
and another one, and how many copies of its episodes are wrong or missing, by the
env's ground truth.

The full setting has 3 rewards and 5 seeds. The script writes
docs/findings/hindsight.json and .png.
"""

import itertools
from pathlib import Path
from typing import Any

import gymnasium as gym
import matplotlib.pyplot as plt
import numpy as np
import scipy.stats
from paper_finding import EPISODES, Task, finding, learning_curve
from ray import tune

from rllib_vlm_reward import Experiment
from rllib_vlm_reward.goals import wordings
from rllib_vlm_reward.reward_model.encoder import load_encoder
from rllib_vlm_reward.reward_model.model import RewardModel
from rllib_vlm_reward.reward_model.readouts import Holds
from rllib_vlm_reward.sweep import SweepResults

ROOM = {"room_size": 14, "num_objects": 16, "max_steps": 20}
TASK = Task("dqn", ("training.lr=0.001",))
# No cosine of a frame and a text is so high, so CLIP pays nothing.
NEVER = {"head": "cosine", "threshold": 0.999, "alarms": "off", "env_reward_weight": 1.0}
REWARDS: dict[str, dict[str, Any]] = {
    "CLIP": {},
    "CLIP, hindsight": {"hindsight": 4},
    "ground truth": NEVER,
}
MEASURES = ("success", "vlm_return", "false_positives", "goal_blind_success", "wall_seconds")
Reached = dict[int, int]  # goals, and after which step of an episode they first held


def space(seed: int, steps: int) -> dict[str, Any]:
    """Return the search space of a seed: each reward, in the larger room."""
    base = TASK.space(seed, steps)
    each = [{**base["vlm_reward"], **reward} for reward in REWARDS.values()]
    # The shares of a training in which dqn.yaml lowers them, in one of 50,000 steps.
    epsilon = [[0, 1.0], [round(0.3 * steps), 0.1], [round(0.8 * steps), 0.02]]
    return {
        **base,
        "environment": {**base["environment"], "env_config": ROOM},
        "training": {**base["training"], "epsilon": epsilon},
        "vlm_reward": tune.grid_search(each),
    }


def play(experiment: Experiment, episodes: int) -> tuple[list[int], list[Reached], list[Reached]]:
    """Play at random, and record which goals were reached.

    Args:
        experiment: a training with hindsight.
        episodes: how many episodes are played.

    Returns:
        Of each episode the index of its goal, and the goals that were reached, by CLIP and by the
        env's captions.
    """
    config = experiment.vlm_reward
    model = RewardModel(load_encoder(config.encoder), cache_frames=0)
    of_statement = {goal.prompt: index for index, goal in enumerate(config.goal_set.goals)}
    env = gym.make(experiment.environment["env"], **experiment.environment["env_config"])
    env.action_space.seed(0)
    captions = env.get_wrapper_attr("captions")
    own, by_clip, by_truth = [], [], []
    for episode in range(episodes):
        frame, info = env.reset(seed=episode)
        goal = config.goal_set.index(info["goal"])
        frames, truth, done = [frame], [captions()], False
        while not done:
            frame, _, terminated, truncated, _ = env.step(env.action_space.sample())
            frames.append(frame)
            truth.append(captions())
            done = terminated or truncated
        answers = model.answer([np.stack(frames)], np.full(len(frames), goal), config.scorer)
        seen = answers[:, config.scorer.columns_of(Holds.kind)][:, ::2].astype(int)
        true = [
            {
                of_statement[text]
                for statement in itertools.chain(*said.true.values())
                for text in wordings(statement)
                if text in of_statement
            }
            for said in truth
        ]
        own.append(goal)
        by_clip.append(first_steps([{*row[row >= 0].tolist()} for row in seen]))
        by_truth.append(first_steps(true))
    env.close()
    return own, by_clip, by_truth


def first_steps(holding: list[set[int]]) -> Reached:
    """Return the goals that first held after a step, from those that hold in each frame."""
    first: Reached = {}
    for step, goals in enumerate(holding):
        for goal in goals:
            first.setdefault(goal, step)
    return {goal: step for goal, step in first.items() if step > 0}


def relabelling(own: list[int], by_clip: list[Reached], by_truth: list[Reached]) -> dict[str, Any]:
    """Return how often random play reaches goals, and what is wrong with copies of its episodes.

    Args:
        own: each episode's goal.
        by_clip: the goals that were reached, by CLIP: an episode gets a copy for each but its own.
        by_truth: the goals that were reached, by ground truth.
    """

    def others(reached: list[Reached]) -> set[tuple[int, int, int]]:
        return {
            (episode, goal, step)
            for episode, found in enumerate(reached)
            for goal, step in found.items()
            if goal != own[episode]
        }

    copies, true = others(by_clip), others(by_truth)
    reaches = [goal in found for goal, found in zip(own, by_truth, strict=True)]
    return {
        "episodes": len(own),
        "own_goal": share(sum(reaches), len(own)),
        "other_goals_per_episode": len(true) / len(own),
        "copies": len(copies),
        "wrong_copies": share(len(copies - true), len(copies)),
        "missed_copies": share(len(true - copies), len(true)),
    }


def share(part: int, whole: int) -> dict[str, float] | None:
    """Return a share with its 95 % interval (Wilson); None of nothing."""
    if not whole:
        return None
    low, high = scipy.stats.binomtest(part, whole).proportion_ci(method="wilson")
    return {"value": part / whole, "low": float(low), "high": float(high)}


def summarise(results: list[SweepResults]) -> dict[str, Any]:
    """Return what random play reaches, and each reward's learning curve."""
    rewards = space(0, 1)["vlm_reward"]["grid_search"]
    hindsight = {**space(0, 1), "vlm_reward": rewards[[*REWARDS].index("CLIP, hindsight")]}
    return {
        "random_play": relabelling(*play(Experiment.model_validate(hindsight), 10 * EPISODES)),
        "agents": {
            name: learning_curve(results, "vlm_reward", reward, MEASURES)
            for name, reward in zip(REWARDS, rewards, strict=True)
        },
    }


def draw(figures: dict[str, Any], path: Path) -> None:
    """Draw each reward's success over env steps."""
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for name, course in figures["agents"].items():
        success = course["success"]
        means = [point["mean"] for point in success]
        (line,) = axes.plot(course["env_steps"], means, marker="o", label=name)
        if success[0]["low"] is not None:
            low, high = ([point[end] for point in success] for end in ("low", "high"))
            axes.fill_between(course["env_steps"], low, high, color=line.get_color(), alpha=0.15)
    random = figures["random_play"]["own_goal"]["value"]
    axes.axhline(random, color="grey", ls=":", label="random play")
    axes.set(xlabel="env steps", ylabel="success by ground truth", ylim=(0, 1))
    axes.legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    finding(
        __doc__, "hindsight", space=space, summarise=summarise, draw=draw, seeds=5, steps=100_000
    )
