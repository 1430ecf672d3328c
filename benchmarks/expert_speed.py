"""How fast are three experts, beside the slowest of them, or beside all of them one by one?

    python benchmarks/expert_speed.py --out docs/benchmarks/expert_speed.json

First, each expert has an emulated device (see emulated.py), and the devices take
100, 60 and 30 ms for 64 frames: the three are asked at the same time, so that
they should be as fast as the slowest alone. Then three CLIPs share the cores of
this machine, where a frame costs the sum of what it costs each of them. One
client keeps as many unanswered requests as the option says. Prints one JSON
object at the end.
"""

import argparse
import collections
import time
from pathlib import Path
from typing import Any

import numpy as np
import ray
from emulated import hook
from report import Sides, finish, in_turn, parser, ratio, say, spread, start_ray

from rllib_vlm_reward import VLMRewardConfig
from rllib_vlm_reward.bench.traffic import StandInEnv
from rllib_vlm_reward.reward_model.encoder import load_encoder
from rllib_vlm_reward.serving.service import RewardService, start_service

CLIPS = Path(__file__).parent.parent / "tune_experiments" / "paper_clips"
# The device of the first takes --device-ms for a request, the others' these shares of it.
SHARES = {"m": 1.0, "s": 0.6, "xs": 0.3}
SHAPE = (56, 56)


def reward(args: argparse.Namespace, *sizes: str) -> VLMRewardConfig:
    """Return a reward of one CLIP, or of several experts."""
    given: dict[str, Any] = {
        "goals": ["a red ball", "a blue ball"],
        "head": "cosine",
        "serving": {"num_gpus_per_actor": 0, "num_cpus_per_actor": 0, "precision": args.precision},
    }
    if len(sizes) == 1:
        return VLMRewardConfig(encoder=str(CLIPS / sizes[0]), **given)
    experts = {size: {"encoder": str(CLIPS / size)} for size in sizes}
    return VLMRewardConfig(encoder=str(CLIPS / sizes[0]), experts=experts, combine="mean", **given)


def speed(args: argparse.Namespace, config: VLMRewardConfig, service: RewardService) -> float:
    """Return the frames/s of one client."""
    env, goals = StandInEnv(args.request, SHAPE, seed=0), np.arange(args.request) % 2
    asked: collections.deque[Any] = collections.deque()
    begin, answered = time.monotonic(), 0
    while time.monotonic() - begin < args.seconds:
        # The bank's frames are drawn over in a later step, when a request may still need them.
        asked.append(service.ask([env.render().copy()], goals, config.rater))
        if len(asked) == args.in_flight:
            asked.popleft().result()
            answered += args.request
    while asked:
        asked.popleft().result()
        answered += args.request
    return answered / (time.monotonic() - begin)


def measure(args: argparse.Namespace, groups: list[tuple[str, ...]]) -> Sides:
    """Return the frames/s of each group of experts, in turn."""
    services = {}
    for group in groups:
        config = reward(args, *group)
        services["+".join(group)] = (config, start_service(config, name="+".join(group)))
    for config, service in services.values():
        speed(argparse.Namespace(**{**vars(args), "seconds": 1.0}), config, service)
    sides = {name: lambda given=given: speed(args, *given) for name, given in services.items()}
    measured = in_turn(sides, args.repeats)
    for _, service in services.values():
        service.close()
    return measured


def main() -> None:
    """Measure, and print."""
    options = parser(__doc__)
    options.add_argument("--request", type=int, default=64, help="frames of a request")
    options.add_argument("--in-flight", type=int, default=4, help="unanswered requests")
    options.add_argument(
        "--device-ms", type=float, default=100.0, help="time of the slowest device for a request"
    )
    options.add_argument("--seconds", type=float, default=10.0, help="duration of each measurement")
    args = options.parse_args()
    everyone = tuple(SHARES)
    slowest, together = everyone[0], "+".join(everyone)
    shares = {load_encoder(str(CLIPS / size)).fingerprint: SHARES[size] for size in everyone}
    start_ray(runtime_env=hook(args.device_ms / 1000 / args.request, shares))
    emulated = measure(args, [(slowest,), everyone])
    say(f"emulated: {emulated}")
    ray.shutdown()
    start_ray()
    shared = measure(args, [*((size,) for size in everyone), everyone])
    say(f"on shared cores: {shared}")
    one_by_one = [
        1 / sum(1 / shared[size][repeat] for size in everyone) for repeat in range(args.repeats)
    ]
    figures = {
        "over_slowest": ratio(emulated[together], emulated[slowest]),
        "over_one_by_one": ratio(shared[together], one_by_one),
        "frames_per_s_emulated": {name: spread(speeds) for name, speeds in emulated.items()},
        "frames_per_s_on_shared_cores": {name: spread(speeds) for name, speeds in shared.items()},
    }
    finish("expert_speed", figures, vars(args), args.out)


if __name__ == "__main__":
    main()
