"""How fast is the CLIP alone, in each precision, layout, and compiled?

    python benchmarks/bare.py --model ViT-B-32 --precisions fp32 bf16

Measures the frames/s of the image tower with its preprocessing, at the best
batch size of each variant, and how much its embeddings differ from those in
fp32: the largest difference of a cosine with a text. The variants are the
precisions, with and without channels-last, and compiled with torch.compile.
Prints one JSON object at the end.
"""

import argparse
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from report import encoder_of, finish, in_turn, parser, say, shape_of, spread
from torch.nn import functional

from rllib_vlm_reward.bench.limit import frames_per_second
from rllib_vlm_reward.reward_model.clip import CLIPEncoder
from rllib_vlm_reward.serving.lanes import cores

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TEXTS = ["a red ball", "a blue key", "a robot that kneels", "nothing"]


def main() -> None:
    """Measure, and print."""
    options = parser(__doc__, repeats=3, precision=None)
    options.add_argument("--model", default="ViT-B-32")
    options.add_argument("--precisions", nargs="+", default=["fp32", "bf16", "fp16"])
    options.add_argument("--sizes", type=int, nargs="+", default=[16, 64, 256])
    options.add_argument("--seconds", type=float, default=1.0, help="duration of each measurement")
    options.add_argument("--threads", type=int, default=cores(), help="torch's threads on a CPU")
    options.add_argument("--no-compile", action="store_true")
    args = options.parse_args()
    frames = np.random.default_rng(0).integers(
        0, 256, (max(args.sizes), *shape_of(args.model), 3), np.uint8
    )
    exact = cosines(
        CLIPEncoder.load(encoder_of(args.model), device=DEVICE, precision="fp32"), frames
    )
    figures: dict[str, Any] = {}
    for precision in args.precisions:
        for name, variant in variants(args, precision, frames, exact):
            figures[name] = variant
            say(f"{name}: {variant}")
    finish("bare", figures, vars(args) | {"device": DEVICE}, args.out)


def variants(
    args: argparse.Namespace, precision: str, frames: np.ndarray, exact: np.ndarray
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each variant of a precision: both layouts, and channels-last compiled."""
    encoder = CLIPEncoder.load(encoder_of(args.model), device=DEVICE, precision=precision)
    best = max(args.sizes)
    for layout in (torch.contiguous_format, torch.channels_last):
        encoder.model.visual.to(memory_format=layout)
        variant = measure(args, encoder, frames, exact, args.sizes)
        best = variant["batch_size"]
        yield f"{precision} {str(layout).removeprefix('torch.')}", variant
    if args.no_compile:
        return
    encoder.model.visual = torch.compile(encoder.model.visual)
    name = f"{precision} channels_last, compiled"
    try:  # at one batch size only, since each size is compiled anew
        yield name, measure(args, encoder, frames[:best], exact[:best], [best])
    except RuntimeError as error:  # no compiler on this machine
        yield name, {"error": str(error).splitlines()[0]}


def measure(
    args: argparse.Namespace,
    encoder: CLIPEncoder,
    frames: np.ndarray,
    exact: np.ndarray,
    sizes: list[int],
) -> dict[str, Any]:
    """Measure an encoder with its current image tower."""
    begin = time.perf_counter()
    drift = float(np.abs(cosines(encoder, frames) - exact).max())
    first = time.perf_counter() - begin
    threads = args.threads if DEVICE == "cpu" else 1

    def speed(size: int) -> float:
        batch = frames[:size]
        return frames_per_second(
            lambda it: encode(encoder, it).cpu(), batch, 1, threads, args.seconds
        )

    measured = in_turn({str(size): lambda size=size: speed(size) for size in sizes}, args.repeats)
    speeds = {int(size): spread(each) for size, each in measured.items()}
    best = max(speeds, key=lambda size: speeds[size]["median"])
    return {
        "frames_per_s": speeds[best],
        "batch_size": best,
        "cosine_drift": drift,
        "first_batch_s": round(first, 2),
    }


@torch.inference_mode()
def encode(encoder: CLIPEncoder, frames: np.ndarray) -> torch.Tensor:
    """Embed uint8 frames [B, H, W, 3] with the model's current image tower."""
    images = encoder.model.encode_image(encoder.preprocess(frames))
    return functional.normalize(images.float(), dim=1)


def cosines(encoder: CLIPEncoder, frames: np.ndarray) -> np.ndarray:
    """Return the cosines of the frames with a few texts, [B, 4]."""
    return (encode(encoder, frames) @ encoder.encode_texts(TEXTS).T).cpu().numpy()


if __name__ == "__main__":
    main()
