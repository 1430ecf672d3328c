"""How much does the VLM reward slow down an iteration of PPO?

    python benchmarks/training.py

The reward device is emulated (see emulated.py): for the frames of a vector step
it needs 60 % of the time that the envs take for the step. The envs wait too, as
a simulator on other cores would, so that two cores are enough; the learner is a
small MLP and takes little time. Three algorithms take turns: without reward,
deferred mode and synchronous mode. Prints one JSON object at the end.
"""

import argparse
import time
from typing import Any

import gymnasium as gym
import numpy as np
from emulated import hook
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.ppo import PPOConfig
from report import finish, in_turn, parser, ratio, reward, spread, start_ray

from rllib_vlm_reward import add_vlm_reward

SHAPE = (56, 56, 3)


class SlowEnv(gym.Env):
    """Waits at each step, and renders frames made in advance."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012
    render_mode = "rgb_array"
    observation_space = gym.spaces.Box(-1, 1, (8,), np.float32)
    action_space = gym.spaces.Discrete(4)

    def __init__(self, config: dict[str, Any]) -> None:
        self._wait, self._rng = config["step_ms"] / 1000, np.random.default_rng()
        self._frames = self._rng.integers(0, 256, (64, *SHAPE), np.uint8)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict]:
        """Begin an episode of 100 steps."""
        self._t = 0
        return self._rng.random(8, np.float32), {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict]:
        """Wait, as a simulator would."""
        time.sleep(self._wait)
        self._t += 1
        return self._rng.random(8, np.float32), 0.0, False, self._t == 100, {}

    def render(self) -> np.ndarray:
        """Return a frame, uint8 [H, W, 3]."""
        return self._frames[self._t % 64]


def main() -> None:
    """Measure, and print."""
    options = parser(__doc__)
    options.add_argument("--step-ms", type=float, default=2.0, help="time of a step of one sub-env")
    options.add_argument("--envs", type=int, default=16, help="sub-envs of the env runner")
    options.add_argument(
        "--device-share", type=float, default=0.6, help="time of the device ÷ time of the envs"
    )
    options.add_argument("--steps", type=int, default=2048, help="env steps of an iteration")
    args = options.parse_args()
    start_ray(runtime_env=hook(args.device_share * args.step_ms / 1000))
    algorithms = {mode: build(args, mode) for mode in ("none", "deferred", "synchronous")}
    for algorithm in algorithms.values():
        algorithm.train()
    results: dict[str, Any] = {}

    def train(mode: str) -> float:
        begin = time.perf_counter()
        results[mode] = algorithms[mode].train()
        return time.perf_counter() - begin

    measured = in_turn({mode: lambda mode=mode: train(mode) for mode in algorithms}, args.repeats)
    timers = {
        mode: {
            "sampling_s": result["timers"]["env_runner_sampling_timer"],
            "learner_s": result["timers"]["learner_update_timer"],
        }
        for mode, result in results.items()
    }
    for algorithm in algorithms.values():
        algorithm.stop()
    figures = {
        "training_over_no_reward": ratio(measured["deferred"], measured["none"]),
        "synchronous_over_no_reward": ratio(measured["synchronous"], measured["none"]),
        "iteration_s": {mode: spread(seconds) for mode, seconds in measured.items()},
        "timers_of_the_last_iteration": timers,
        "env_s_of_an_iteration": args.step_ms / 1000 * args.steps,
        "device_s_of_an_iteration": args.device_share * args.step_ms / 1000 * args.steps,
    }
    finish("training", figures, vars(args), args.out)


def build(args: argparse.Namespace, mode: str) -> Algorithm:
    """Build PPO with a reward in this mode, or without a reward."""
    config = (
        PPOConfig()
        .environment(SlowEnv, env_config={"step_ms": args.step_ms})
        .env_runners(num_env_runners=1, num_envs_per_env_runner=args.envs)
        .training(train_batch_size_per_learner=args.steps, minibatch_size=512, num_epochs=1)
        .rl_module(model_config={"fcnet_hiddens": [32]})
    )
    if mode != "none":
        add_vlm_reward(config, reward(args, mode=mode, serving={"num_gpus_per_actor": 0}))
    return config.build_algo()


if __name__ == "__main__":
    main()
