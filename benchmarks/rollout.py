"""Is scoring a rollout while it arrives faster than scoring it afterwards?

    python benchmarks/rollout.py --frames 1600

Afterwards, as vlmrm's method does: all frames are kept, then go through the
model in fp32 in chunks of equal size. Frames become float tensors, are resized
to a square, normalised, encoded, and compared with goal and baseline. The chunk
size is the best of several, which a part of the frames decides. While it
arrives, as this package does: one client sends requests through the pool, in
the same order. Both have the same model, the same random weights and the same cores. The
steps of the rollout cost nothing in either case. Prints one JSON object at the
end.
"""

import argparse
import time
from collections import deque
from typing import Any

import numpy as np
import ray
import torch
from report import GPU, finish, in_turn, parser, ratio, reward, say, spread, start_ray
from torch.nn import functional

from rllib_vlm_reward import RewardPool, VLMRewardConfig
from rllib_vlm_reward.reward_model.clip import CLIPEncoder
from rllib_vlm_reward.serving.lanes import cores

GOAL, BASELINE = "a humanoid robot kneeling", "a humanoid robot"
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class AfterRollout:
    """Scores a whole rollout when it has ended, in float32."""

    def __init__(self, encoder: str, device: str, goal: str, baseline: str) -> None:
        torch.set_num_threads(cores())
        self._encoder = CLIPEncoder.load(encoder, device=device, precision="fp32")
        texts = self._encoder.encode_texts([goal, baseline])
        self._goal, self._baseline = texts
        self._device, self._side = torch.device(device), self._encoder.image_size[0]

    @torch.inference_mode()
    def score(self, seed: int, count: int, side: int, chunk: int) -> float:
        """Return the seconds for ``count`` frames of ``side`` x ``side``."""
        frames = torch.from_numpy(rollout(seed, count, side))
        begin, scores = time.perf_counter(), []
        for part in frames.split(chunk):
            pixels = part.to(self._device).permute(0, 3, 1, 2).float() / 255
            pixels = functional.interpolate(
                pixels, (self._side, self._side), mode="bicubic", antialias=True
            )
            mean, std = pixels.new_tensor([MEAN, STD]).view(2, 1, 3, 1, 1)
            images = self._encoder.model.encode_image((pixels - mean) / std)
            images = functional.normalize(images.float(), dim=1)
            line = self._goal - self._baseline
            away = images - self._goal
            along = (away @ line) / (line @ line)
            scores.append(1 - 0.5 * ((away - along[:, None] * line) ** 2).sum(1))
        torch.cat(scores).cpu()
        return time.perf_counter() - begin


class DuringRollout:
    """Sends a rollout's frames to the pool as they arrive."""

    def __init__(self, name: str, config: VLMRewardConfig) -> None:
        self._pool, self._scorer = RewardPool.connect(name, config), config.scorer

    def score(self, seed: int, count: int, side: int, request: int) -> float:
        """Return the seconds for ``count`` frames of ``side`` x ``side``."""
        frames = rollout(seed, count, side)
        begin, pending = time.perf_counter(), deque()
        for start in range(0, count, request):
            part = frames[start : start + request]
            pending.append(self._pool.submit(part, np.zeros(len(part), np.int64), self._scorer))
        while pending:
            pending.popleft().result()
        return time.perf_counter() - begin


def rollout(seed: int, count: int, side: int) -> np.ndarray:
    """Return new random frames: uint8 [count, side, side, 3]."""
    small = np.random.default_rng(seed).integers(0, 256, (count, side // 8, side // 8, 3), np.uint8)
    return small.repeat(8, axis=1).repeat(8, axis=2)


def main() -> None:
    """Measure, and print."""
    options = parser(__doc__)
    options.add_argument("--model", default="ViT-B-32")
    options.add_argument("--frames", type=int, default=1600, help="frames of a rollout")
    options.add_argument("--side", type=int, default=480, help="height and width of a frame")
    options.add_argument("--request", type=int, default=16, help="frames of a request")
    options.add_argument(
        "--chunks", type=int, nargs="+", default=[16, 64, 200], help="chunk sizes to try"
    )
    args = options.parse_args()
    start_ray()
    config = reward(
        args, goals=[GOAL], baseline=BASELINE, head="goal_baseline", serving={"timeout_s": 600}
    )
    pool = RewardPool.start(config, name="rollout")
    actor = pool.describe()[0]
    after = ray.remote(num_cpus=0, num_gpus=GPU)(AfterRollout).remote(
        config.encoder, actor["device"], GOAL, BASELINE
    )
    during = ray.remote(num_cpus=0)(DuringRollout).remote(pool.name, config)
    chunk = best_chunk(args, after)
    seeds = iter(range(1, 10_000))
    ray.get(during.score.remote(0, 4 * args.request, args.side, args.request))

    def seconds(scorer: Any, size: int) -> float:
        return ray.get(scorer.score.remote(next(seeds), args.frames, args.side, size))

    measured = in_turn(
        {
            "after_rollout": lambda: seconds(after, chunk),
            "ours": lambda: seconds(during, args.request),
        },
        args.repeats,
    )
    pool.close()
    figures = {
        "over_rollout_scoring": ratio(measured["after_rollout"], measured["ours"]),
        "seconds": {name: spread(values) for name, values in measured.items()},
        "chunk": chunk,
        "precision": actor["precision"],
    }
    finish("rollout", figures, vars(args), args.out)


def best_chunk(args: argparse.Namespace, after: Any) -> int:
    """Return the chunk size that is fastest on an eighth of the frames."""
    count = max(max(args.chunks), args.frames // 8)
    ray.get(after.score.remote(0, args.chunks[0], args.side, args.chunks[0]))
    took = {
        chunk: ray.get(after.score.remote(0, count // chunk * chunk, args.side, chunk))
        / (count // chunk * chunk)
        for chunk in args.chunks
    }
    say(f"seconds a frame, by chunk: {took}")
    return min(took, key=lambda chunk: took[chunk])


if __name__ == "__main__":
    main()
