"""Do hints hold when they should? Those of Place, by what the env says of its frames.

    python benchmarks/hints.py

Random actions and BabyAI's bot play episodes with the same layouts. A hint is paid in the first
step after which the CLIP says that it holds, unless it holds in the first frame. Whether it is true
is the env's caption. Prints one JSON object at the end.
"""

from collections import Counter
from typing import Any

import gymnasium as gym
import numpy as np
from report import finish, parser, say

import rllib_vlm_reward
from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.evaluation.models import load_model
from rllib_vlm_reward.run import Experiment

PATTERN = "put {} next to {}"
STATEMENTS = ("the agent is facing {0}", "the agent is carrying {0}", "the agent is facing {1}")


def main() -> None:
    """Play, score, and print."""
    options = parser(__doc__, repeats=None, precision=None)
    options.add_argument("--episodes", type=int, default=200, help="episodes of each player")
    options.add_argument("--encoders", nargs="+", default=["small", "base"])
    args = options.parse_args()
    playroom = Experiment.from_file("playroom").vlm_reward
    hints = {"goals": {PATTERN: list(STATEMENTS)}, "weight": 1.0}
    episodes = {player: play(player, args.episodes) for player in ("random", "expert")}
    figures: dict[str, Any] = {}
    for encoder in args.encoders:
        changes = {"encoder": encoder, "evaluation_goals": (), "hints": hints}
        config = playroom.model_copy(update={"goals": all_goals(episodes), **changes})
        figures[encoder] = {}
        for player, played in episodes.items():
            figures[encoder][player] = counted(config, played)
            say(f"{encoder}, {player}: {figures[encoder][player]}")
    finish("hints", figures, vars(args), args.out)


def all_goals(episodes: dict[str, list[Any]]) -> list[str]:
    """Return the goals of all episodes, and those of the other families about their things."""
    goals = sorted({goal for played in episodes.values() for goal, _, _ in played})
    template = rllib_vlm_reward.Template(PATTERN, PATTERN)
    things = sorted({thing for goal in goals for thing in template.blanks_of(goal) or ()})
    return [*goals, *(f"{verb} {thing}" for verb in ("go to", "pick up") for thing in things)]


def play(player: str, number: int) -> list[tuple[str, np.ndarray, list[set[str]]]]:
    """Return of each episode its goal, all frames, and what is true in each."""
    env: Any = gym.make("rllib_vlm_reward/Place-v0", room_size=5, num_objects=3, max_steps=40)
    env.action_space.seed(0)
    played = []
    for seed in range(number):
        frame, info = env.reset(seed=seed)
        frames, true, done = [frame], [truths(env)], False
        while not done:
            sampled = env.action_space.sample()
            action = sampled if player == "random" else env.get_wrapper_attr("expert_action")()
            frame, _, terminated, truncated, _ = env.step(action)
            frames.append(frame)
            true.append(truths(env))
            done = terminated or truncated
        played.append((info["goal"], np.stack(frames), true))
    return played


def truths(env: Any) -> set[str]:
    """Return the statements that are true in the present frame."""
    captions = env.get_wrapper_attr("captions")()
    found = (statement for family in captions.true.values() for statement in family)
    return {statement.replace("{a|the}", "the") for statement in found}


def counted(config: VLMRewardConfig, played: list[Any]) -> dict[str, Any]:
    """Return for each statement how often it was paid, and how often that was right."""
    assert config.hint_set is not None
    model = load_model(config, frames=sum(len(frames) for _, frames, _ in played), device="cpu")
    found = {statement: Counter() for statement in STATEMENTS}
    for goal, frames, true in played:
        index = config.goal_set.index(goal)
        scorer = config.rater
        answers = model.answer(frames, np.full(len(frames), index), scorer)
        holds = answers[:, scorer.columns_of("hints")] > config.hint_threshold
        for place, (line, statement) in enumerate(config.hint_set.of_goal[index]):
            text = config.hint_set.goals[statement].prompt
            is_true = np.array([text in each for each in true])
            count, paid, right = found[STATEMENTS[line]], first(holds[:, place]), first(is_true)
            count["episodes"] += 1
            count["held at reset"] += int(holds[0, place])
            count["reached"] += right is not None
            count["paid"] += paid is not None
            count["paid rightly"] += paid is not None and bool(is_true[paid])
            count["paid at once"] += paid is not None and paid == right
            count["frames"] += len(frames)
            count["true"] += int(is_true.sum())
            count["holds"] += int(holds[:, place].sum())
            count["holds rightly"] += int((holds[:, place] & is_true).sum())
    return {statement: dict(count) for statement, count in found.items()}


def first(holds: np.ndarray) -> int | None:
    """Return the first step at which something holds that did not hold at the reset."""
    return None if holds[0] or not holds.any() else int(holds.argmax())


if __name__ == "__main__":
    main()
