"""What a policy's step of learning costs by memory that is kept, and by threads that sleep.

    python benchmarks/learner.py

A step is FilmEncoder's forward and backward pass and Adam's update, for 256 frames of 64 x 64
pixels, two of them stacked. Each figure is a ratio of times, of several processes in turn:

- memory kept (`rllib_vlm_reward.freed_memory`) ÷ given back, CPU time with one thread;
- threads that sleep while they wait (OMP_WAIT_POLICY=PASSIVE, which the command line sets) ÷
  threads that spin at first, as OpenMP does by itself; time by the clock with a thread for each
  core; alone, and beside a busy process for each core.

Ray is not started. Prints one JSON object last.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from report import finish, in_turn, parser, ratio, spread

from rllib_vlm_reward.freed_memory import keep_freed_memory
from rllib_vlm_reward.policies.film import FilmEncoder
from rllib_vlm_reward.serving.lanes import cores

STEP = "--step"  # of the processes in which a step is timed
SLEEP = {"OMP_WAIT_POLICY": "PASSIVE"}


def main() -> None:
    """Measure, and print."""
    args = parser(__doc__, repeats=5, precision=None).parse_args()
    one = {"OMP_NUM_THREADS": "1"}
    os.environ.pop("OMP_WAIT_POLICY", None)
    threads = {"spin": partial(timed, "ms", {}), "sleep": partial(timed, "ms", SLEEP)}
    memory = {
        "kept": partial(timed, "cpu_ms", one),
        "given back": partial(timed, "cpu_ms", one, keep=False),
    }
    found = in_turn({**memory, **threads}, args.repeats)
    with busy_cores():
        beside = in_turn(threads, args.repeats)
    figures = {
        "kept_over_given_back": ratio(found["kept"], found["given back"]),
        "sleep_over_spin, alone": ratio(found["sleep"], found["spin"]),
        "sleep_over_spin, beside others": ratio(beside["sleep"], beside["spin"]),
        "ms": {
            **{name: spread(times) for name, times in found.items()},
            **{f"{name}, beside others": spread(times) for name, times in beside.items()},
        },
    }
    finish("learner", figures, vars(args), args.out)


def timed(which: str, environment: Mapping[str, str], *, keep: bool = True) -> float:
    """Return the milliseconds of a step in a new process, which reads the environment."""
    done = subprocess.run(
        [sys.executable, __file__, STEP, *["keep"] * keep],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(json.loads(done.stdout)[which])


@contextlib.contextmanager
def busy_cores() -> Iterator[None]:
    """Run a process that computes all the time for each core."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(cores())]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def step(steps: int = 20) -> dict[str, Any]:
    """Return the milliseconds of a step, by the clock and of CPU time."""
    frames = gym.spaces.Box(0, 255, (64, 64, 6), np.uint8)
    goals = gym.spaces.Box(-1, 1, (64,), np.float32)
    encoder = FilmEncoder(gym.spaces.Dict(observation=frames, goal=goals), {})
    optimiser = torch.optim.Adam(encoder.parameters())
    shown = torch.randint(0, 256, (256, *frames.shape), dtype=torch.uint8)
    batch = {"obs": {"observation": shown, "goal": torch.randn(256, 64)}}
    for number in range(steps + 5):
        if number == 5:  # the first ones are slower
            began, cpu = time.perf_counter(), time.process_time()
        optimiser.zero_grad()
        encoder(batch)["encoder_out"].sum().backward()
        optimiser.step()
    return {
        "ms": (time.perf_counter() - began) / steps * 1e3,
        "cpu_ms": (time.process_time() - cpu) / steps * 1e3,
    }


if __name__ == "__main__":
    if STEP in sys.argv:
        if "keep" in sys.argv:
            keep_freed_memory()
        print(json.dumps(step()))
    else:
        main()
