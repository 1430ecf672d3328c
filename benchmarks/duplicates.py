"""How many encoded frames could the cache have answered?

    python benchmarks/duplicates.py

A random policy plays BabyAI, and every frame is sent to the pool. The script
also hashes the frames. It simulates a cache of the same size that drops the
least recently used frame, which says how many frames must be encoded at least,
and compares this with the pool's count. Prints one JSON object at the end.
"""

import argparse
import hashlib
from collections import OrderedDict, deque

import gymnasium as gym
import numpy as np
from report import finish, parser, reward, say, start_ray

from rllib_vlm_reward import RewardPool, VLMRewardConfig

LEVEL = {"room_size": 5, "num_objects": 3, "max_steps": 30}


def main() -> None:
    """Play, count, and print."""
    options = parser(__doc__, repeats=None)
    options.add_argument("--envs", type=int, default=32)
    options.add_argument("--frames", type=int, default=50_000)
    options.add_argument(
        "--cache-frames", type=int, default=None, help="size of the cache; default: the pool's"
    )
    args = options.parse_args()
    start_ray()
    given = {} if args.cache_frames is None else {"serving": {"cache_frames": args.cache_frames}}
    config = reward(args, **given)
    pool = RewardPool.start(config, name="duplicates")
    before = pool.stats()[0]
    recount = play(args, config, pool)
    after = pool.stats()[0]
    encoded = after["frames_encoded"] - before["frames_encoded"]
    hits = after["cache_hits"] - before["cache_hits"]
    figures = {
        "duplicate_forward_share": max(0, encoded - recount.misses) / encoded,
        "hit_share": hits / recount.frames,
        "frames": recount.frames,
        "distinct": len(recount.seen),
        "encoded": encoded,
        "cache_hits": hits,
        "must_encode": recount.misses,
    }
    pool.close()
    settings = vars(args) | {"env": LEVEL, "serving": {"cache_frames": config.serving.cache_frames}}
    finish("duplicates", figures, settings, args.out)


def play(args: argparse.Namespace, config: VLMRewardConfig, pool: RewardPool) -> "Recount":
    """Send every frame that a random policy sees, and return the counts."""
    envs = gym.make_vec(
        "rllib_vlm_reward/Lift-v0",
        num_envs=args.envs,
        vectorization_mode="sync",
        **LEVEL,
    )
    observations, _ = envs.reset(seed=0)
    envs.action_space.seed(0)
    recount, goals = Recount(config.serving.cache_frames), np.zeros(args.envs, np.int64)
    scorer = config.scorer
    pending: deque = deque()
    while recount.frames < args.frames:
        recount.see(observations)
        pending.append(pool.submit(observations, goals, scorer))
        if len(pending) > config.serving.max_in_flight:
            pending.popleft().result()
        observations, *_ = envs.step(envs.action_space.sample())
        if recount.frames % (args.envs * 200) == 0:
            say(f"{recount.frames} frames, {recount.misses} to encode")
    for each in pending:
        each.result()
    return recount


class Recount:
    """Hashes every frame, and simulates a cache of this size."""

    def __init__(self, size: int) -> None:
        self.frames = self.misses = 0
        self.seen: set[bytes] = set()
        self._size, self._kept = size, OrderedDict()

    def see(self, frames: np.ndarray) -> None:
        """Count these frames, uint8 [B, H, W, 3]."""
        for frame in frames:
            key = hashlib.blake2b(np.ascontiguousarray(frame).data, digest_size=16).digest()
            self.frames += 1
            self.seen.add(key)
            if key in self._kept:
                self._kept.move_to_end(key)
                continue
            self.misses += 1
            self._kept[key] = True
            if len(self._kept) > self._size:
                self._kept.popitem(last=False)


if __name__ == "__main__":
    main()
