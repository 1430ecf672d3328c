"""Steps and resets of the drawn phone a second, on one core.

    python benchmarks/android.py

Counts seconds of CPU time, so that what runs beside it hardly matters. A step goes through
AndroidEnv's coordinator and asks adb for the activity; the actions are random, and the reset
after an episode is not counted. Ray is not started. Prints one JSON object last.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from report import finish, in_turn, parser, spread

if TYPE_CHECKING:
    from rllib_vlm_reward.envs.android.env import Android


def main() -> None:
    """Measure, and print."""
    options = parser(__doc__, repeats=5, precision=None)
    options.add_argument("--scales", type=int, nargs="+", default=[1, 2], help="of frames")
    options.add_argument("--steps", type=int, default=1000, help="of each measurement")
    args = options.parse_args()
    from rllib_vlm_reward.envs.android.env import Android  # needs the extra [android]

    sides: dict[str, Callable[[], float]] = {}
    for apps in ("common", "all"):
        for scale in args.scales:
            env = Android(apps, scale=scale)
            env.reset(seed=0)
            size = f"{160 * scale} x {90 * scale} pixels"
            sides[f"steps, {apps}, {size}"] = lambda env=env: steps(env, args.steps)
            sides[f"resets, {apps}, {size}"] = lambda env=env: resets(env, args.steps // 10)
    found = in_turn(sides, args.repeats)
    finish("android", {name: spread(found[name]) for name in sides}, vars(args), args.out)


def steps(env: "Android", number: int) -> float:
    """Return random steps a second of CPU time, without resets."""
    seconds = 0.0
    for _ in range(number):
        action, began = env.action_space.sample(), time.process_time()
        _, _, terminated, truncated, _ = env.step(action)
        seconds += time.process_time() - began
        if terminated or truncated:
            env.reset()
    return number / seconds


def resets(env: "Android", number: int) -> float:
    """Return resets a second of CPU time."""
    began = time.process_time()
    for _ in range(number):
        env.reset()
    return number / (time.process_time() - began)


if __name__ == "__main__":
    main()
