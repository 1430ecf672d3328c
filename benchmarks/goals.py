"""How much longer does scoring take with 10,000 goals than with 10?

    python benchmarks/goals.py

Each goal has 1 to 32 negatives, drawn from the statements of the other goals.
The texts are encoded before the measurement; the time of this is reported too.
Every request has new frames. Prints one JSON object at the end.
"""

import random
import time

import numpy as np
from report import finish, in_turn, parser, ratio, reward, shape_of, spread, start_ray

from rllib_vlm_reward import Goal, GoalSet, RewardPool, Scorer
from rllib_vlm_reward.bench.traffic import StandInEnv
from rllib_vlm_reward.reward_model.heads import Softmax

NOUNS = ("ball", "box", "key", "door", "cup", "lamp", "book", "shoe", "coin", "leaf")
PLACES = ("left", "right", "top", "bottom", "middle", "edge", "corner", "front", "back", "side")


def main() -> None:
    """Measure, and print."""
    options = parser(__doc__)
    options.add_argument("--model", default="small")
    options.add_argument("--request", type=int, default=64, help="frames of a request")
    options.add_argument("--frames", type=int, default=16384, help="frames of each measurement")
    options.add_argument(
        "--goals", type=int, nargs=2, default=[10, 10_000], help="numbers of goals"
    )
    args = options.parse_args()
    start_ray()
    config = reward(args, serving={"timeout_s": 600})
    pool = RewardPool.start(config, name="goals")
    env, rng = StandInEnv(args.request, shape_of(args.model), seed=0), np.random.default_rng(0)
    scorers = {str(count): Scorer(goal_set(count), Softmax(1.0)) for count in args.goals}

    def seconds(count: str, frames: int = args.frames) -> float:
        scorer, begin, pending = scorers[count], time.perf_counter(), []
        for _ in range(frames // args.request):
            goals = rng.integers(0, len(scorer.goals), args.request)
            pending.append(pool.submit(env.render(), goals, scorer))
            if len(pending) > config.serving.max_in_flight:
                pending.pop(0).result()
        for each in pending:
            each.result()
        return time.perf_counter() - begin

    first = {count: round(seconds(count, args.request), 2) for count in scorers}
    for count in scorers:
        seconds(count)
    measured = in_turn(
        {count: lambda count=count: seconds(count) for count in scorers}, args.repeats
    )
    few, many = map(str, args.goals)
    figures = {
        "goals_10k_over_10": ratio(measured[many], measured[few]),
        "seconds": {count: spread(values) for count, values in measured.items()},
        "first_request_s": first,
        "negatives": sum(len(goal.negatives) for goal in scorers[many].goals.goals),
    }
    pool.close()
    finish("goals", figures, vars(args), args.out)


def goal_set(count: int) -> GoalSet:
    """Return ``count`` goals, each with 1 to 32 negatives."""
    texts = [
        f"a {NOUNS[i % 10]} at the {PLACES[i // 10 % 10]} of room {i // 100}" for i in range(count)
    ]
    rng = random.Random(0)
    goals = []
    for i, text in enumerate(texts):
        drawn = rng.sample(range(count), min(rng.randint(1, 32), count - 1))
        negatives = tuple(texts[j] for j in drawn if j != i) or (texts[(i + 1) % count],)
        goals.append(Goal(text, text, negatives))
    return GoalSet(tuple(goals))


if __name__ == "__main__":
    main()
