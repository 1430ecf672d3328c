"""Rewards that are wrong in a known way: wrong weights, other goals' prompts, or wrong frames."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import open_clip
import safetensors.torch
import torch

from rllib_vlm_reward import VLMRewardConfig
from rllib_vlm_reward.config import GoalConfig
from rllib_vlm_reward.connectors import SteppedEnvs
from rllib_vlm_reward.envs.babyai.level import COLORS, KINDS
from rllib_vlm_reward.reward_model import spec
from rllib_vlm_reward.reward_model.encoder import Encoder, load_encoder

Frames = npt.NDArray[np.uint8]
Infos = Sequence[Mapping[str, Any]]
CLIPS = Path(spec.__file__).parent / "checkpoints"
Weights = dict[str, torch.Tensor]
Wrong = Callable[[str, int], Weights]  # from the name of a shipped CLIP, and a seed


def trained(clip: str, seed: int = 0) -> Weights:
    """Return the weights that a shipped CLIP ships with."""
    return dict(safetensors.torch.load_file(CLIPS / clip / "open_clip_model.safetensors"))


def untrained(clip: str, seed: int) -> Weights:
    """Return the random weights of open_clip."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = open_clip.create_model(f"local-dir:{CLIPS / clip}", load_weights=False)
    return dict(model.state_dict())


def mixed(clip: str, seed: int) -> Weights:
    """Return the weights with the numbers of each tensor in random order."""
    order = torch.Generator().manual_seed(seed)
    return {
        name: each.flatten()[torch.randperm(each.numel(), generator=order)].view(each.shape)
        for name, each in trained(clip).items()
    }


def half(clip: str, seed: int) -> Weights:
    """Return a trained text tower with an untrained image tower."""
    text, image = trained(clip), untrained(clip, seed)
    return {name: (image if name.startswith("visual") else text)[name] for name in text}


def blind(clip: str, seed: int = 0) -> Weights:
    """Return weights with which all frames have the same embedding."""
    weights = trained(clip)
    return {**weights, "visual.proj": torch.zeros_like(weights["visual.proj"])}


def save_clip(clip: str, weights: Weights, folder: Path) -> str:
    """Write a CLIP with the architecture of a shipped one; return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(CLIPS / clip / "open_clip_config.json", folder)
    given = {name: each.contiguous().clone() for name, each in weights.items()}
    safetensors.torch.save_file(given, folder / "open_clip_model.safetensors")
    return str(folder)


def shuffled(config: VLMRewardConfig, seed: int) -> VLMRewardConfig:
    """Return the reward with each goal's prompt replaced by another goal's."""
    goals = config.goal_set.goals
    rng, order = np.random.default_rng(seed), np.arange(len(goals))
    while (order == np.arange(len(goals))).any():
        order = rng.permutation(len(goals))
    swapped = tuple(
        GoalConfig(text=goal.text, prompt=goals[other].prompt)
        for goal, other in zip(goals, order, strict=True)
    )
    return config.model_copy(update={"goals": swapped})


class TurnsBlack:
    """A frame source: the observations, and black frames from the 3,000th on."""

    def __init__(self) -> None:
        self._seen = 0

    def __call__(
        self, env: SteppedEnvs | None, observations: Sequence[Frames], infos: Infos
    ) -> list[Frames]:
        """Return B frames."""
        self._seen += len(observations)
        if self._seen < 3_000:
            return list(observations)
        return [np.zeros_like(frame) for frame in observations]


class OneFrozen:
    """A frame source: the observations, but for the first sub-env always its first one."""

    def __init__(self) -> None:
        self._first: Frames | None = None

    def __call__(
        self, env: SteppedEnvs | None, observations: Sequence[Frames], infos: Infos
    ) -> list[Frames]:
        """Return B frames."""
        frames, rows = list(observations), () if env is None else env.rows
        for place in (place for place, row in enumerate(rows) if row == 0):
            if self._first is None:
                self._first = frames[place].copy()
            frames[place] = self._first
        return frames


class OtherGoals(Encoder):
    """An encoder that reads each goal as another one: with the next colour and the next kind.

    Attributes:
        encoder: the name of the encoder that it asks.
    """

    encoder = "small"

    def __init__(self, device: str = "cpu") -> None:
        super().__init__(device)
        self._asked = load_encoder(self.encoder, device=device, precision="fp32")
        self.embed_dim, self.image_size = self._asked.embed_dim, self._asked.image_size
        self.logit_scale, self.logit_bias = self._asked.logit_scale, self._asked.logit_bias
        self.fingerprint = f"{self._asked.fingerprint[:-1]}~"

    def encode_frames(self, frames: Frames) -> Any:
        """Embed frames."""
        return self._asked.encode_frames(frames)

    def encode_texts(self, texts: Sequence[str]) -> Any:
        """Embed the texts of other goals."""
        return self._asked.encode_texts([_of_another_goal(text) for text in texts])


class OtherGoalsOfM(OtherGoals):
    """The same with a CLIP of tune_experiments/paper_clips."""

    encoder = str(Path(__file__).parent.parent / "tune_experiments" / "paper_clips" / "m")


def _of_another_goal(text: str) -> str:
    following = {}
    for names in (COLORS, KINDS):
        following |= dict(zip(names, (*names[1:], names[0]), strict=True))
    return " ".join(following.get(word, word) for word in text.split())
