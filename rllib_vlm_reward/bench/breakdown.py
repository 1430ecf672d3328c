"""Where the time goes, and which part is the bottleneck."""

import dataclasses
from typing import Any

from rllib_vlm_reward.bench.iteration import Iteration
from rllib_vlm_reward.bench.served import Load, Served

__all__ = ["Breakdown", "Part", "break_down"]


@dataclasses.dataclass(frozen=True)
class Part:
    """One part of the work.

    Attributes:
        name: ``env``, ``transport``, ``preprocess``, ``forward`` or ``learner``.
        seconds: seconds of an iteration, or of 1,000 frames if no run was measured.
        share: share of the seconds of all parts, in [0, 1].
    """

    name: str
    seconds: float
    share: float


@dataclasses.dataclass(frozen=True)
class Breakdown:
    """Where the time goes for a load, and the bottleneck.

    Attributes:
        load: the load that was measured.
        served: frames/s of the CLIP alone, and through the pool.
        iteration: seconds of the run's iterations; None if no run was measured.
        parts: the parts in the order in which a frame passes them; their shares sum to 1.
        bottleneck: ``env``, ``transport``, ``reward`` (preprocess and forward) or ``learner``.
        sentence: says which part is the bottleneck, and its share.
        remedy: says what would help.
    """

    load: Load
    served: Served
    iteration: Iteration | None
    parts: tuple[Part, ...]
    bottleneck: str
    sentence: str
    remedy: str

    @property
    def caveat(self) -> str:
        """What the frames/s leave out of the reward that was given; empty if nothing."""
        if not self.load.reward.goal_map:
            return ""
        return (
            "The frames/s are those without goal_map: the actors of the run also compute a map of "
            "each frame."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the breakdown for JSON."""
        return {
            "load": self.load.model_dump(mode="json", exclude_defaults=True),
            "served": dataclasses.asdict(self.served),
            "iteration": self.iteration and dataclasses.asdict(self.iteration),
            "parts": [dataclasses.asdict(part) for part in self.parts],
            "bottleneck": self.bottleneck,
            "sentence": self.sentence,
            "remedy": self.remedy,
            "caveat": self.caveat,
        }


_NAMES = {
    "env": "Stepping the envs",
    "transport": "Sending the frames to the model",
    "reward": "The CLIP",
    "learner": "The learner",
}
_REMEDIES = {
    "env": "Use more env runners (num_env_runners), or a faster env.",
    "transport": "Send more frames in a request (num_envs_per_env_runner), or smaller frames.",
    "reward": "Use one or more GPUs (serving.num_actors), a smaller CLIP, or score fewer steps "
    "(scored_steps).",
    "learner": "Use fewer epochs, larger minibatches, or a learner on a GPU "
    "(num_gpus_per_learner).",
}


def break_down(load: Load, served: Served, iteration: Iteration | None) -> Breakdown:
    """Divide the time among the parts, and find the largest.

    In deferred mode the parts of a run work at the same time if they have different cores, so the
    sum of their seconds may exceed the seconds of an iteration.
    """
    frames = iteration.frames if iteration else 1000
    seconds = {
        "transport": frames * served.transport_s,
        "preprocess": frames * served.preprocess_s,
        "forward": frames * served.forward_s,
    }
    if iteration:
        seconds = {"env": iteration.env_s, **seconds, "learner": iteration.learner_s}
    total = sum(seconds.values())
    shares = {name: each / total for name, each in seconds.items()}
    parts = tuple(Part(name, seconds[name], share) for name, share in shares.items())
    merged = {"reward": shares.pop("preprocess") + shares.pop("forward"), **shares}
    bottleneck = max(merged, key=lambda name: merged[name])
    return Breakdown(
        load,
        served,
        iteration,
        parts,
        bottleneck,
        f"{_NAMES[bottleneck]} takes the largest part of the time, {merged[bottleneck]:.0%}.",
        _REMEDIES[bottleneck],
    )
