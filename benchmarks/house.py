"""Steps, resets, captions and plans of the house a second, on one core.

    python benchmarks/house.py

Counts seconds of CPU time, so that what runs beside it hardly matters. A step draws a frame; the
actions are random, and the reset after an episode is not counted. `captions`
are labelled frames, each with the statements that it shows. Ray is not started. Prints one JSON
object last.
"""

import time
from collections.abc import Callable
from typing import Any

from report import finish, in_turn, parser, spread

from rllib_vlm_reward.envs.house.env import House

HOUSES: dict[str, dict[str, Any]] = {
    "one room, 3 things": {"num_rooms": 1, "num_things": 3},
    "two rooms, 7 things": {},
    "four rooms, 14 things": {"num_rooms": 4, "num_things": 14},
}


def main() -> None:
    """Measure, and print."""
    options = parser(__doc__, repeats=5, precision=None)
    options.add_argument("--sizes", type=int, nargs="+", default=[64, 84, 96], help="of frames")
    options.add_argument("--steps", type=int, default=300, help="of each measurement")
    args = options.parse_args()
    sides: dict[str, Callable[[], float]] = {}
    for name, settings in HOUSES.items():
        for size in args.sizes:
            env = House(frame_size=size, **settings)
            env.reset(seed=0)
            sides[f"steps, {name}, {size} pixels"] = lambda env=env: steps(env, args.steps)
        sides[f"resets, {name}"] = lambda env=env: rate(env.reset, args.steps // 10)
    env = House()
    env.reset(seed=0)
    sides["captions, two rooms, 7 things, 64 pixels"] = lambda: captions(env, args.steps // 5)
    sides["plans, two rooms, 7 things"] = lambda: plans(env, args.steps // 10)
    found = in_turn(sides, args.repeats)
    finish("house", {name: spread(found[name]) for name in sides}, vars(args), args.out)


def steps(env: House, number: int) -> float:
    """Return random steps a second of CPU time, without resets."""
    seconds = 0.0
    for _ in range(number):
        action, began = env.action_space.sample(), time.process_time()
        _, _, terminated, truncated, _ = env.step(action)
        seconds += time.process_time() - began
        if terminated or truncated:
            env.reset()
    return number / seconds


def captions(env: House, number: int) -> float:
    """Return labelled frames a second of CPU time: a step and the statements after it."""

    def labelled() -> None:
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        env.captions()
        if terminated or truncated:
            env.reset()

    return rate(labelled, number)


def plans(env: House, number: int) -> float:
    """Return plans of a whole episode a second of CPU time."""
    seconds = 0.0
    for _ in range(number):
        env.reset()
        began = time.process_time()
        env.steps_to_go()
        seconds += time.process_time() - began
    return number / seconds


def rate(call: Callable[[], Any], number: int) -> float:
    """Return calls a second of CPU time."""
    began = time.process_time()
    for _ in range(number):
        call()
    return number / (time.process_time() - began)


if __name__ == "__main__":
    main()
