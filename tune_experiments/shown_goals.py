"""A policy that sees its goal in another form: with noise, or through another bottleneck."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from ray.rllib.core.columns import Columns
from torch import Tensor, nn
from torch.nn.functional import one_hot

from rllib_vlm_reward import GoalConditionedModule, load_encoder
from rllib_vlm_reward.policies.film import FilmEncoder

NOISES = 4096  # how many different ones there are


class ShownGoals(GoalConditionedModule):
    """A goal-conditioned policy that also reads these keys of ``model_config``.

    * ``noise``: the length of the noise that each step adds to the goal, which has length 1;
    * ``continuous``: the goal passes a bottleneck of so many numbers;
    * ``one_hot``: the policy sees which goal it is, not CLIP's embedding, as the ``encoder`` and
      all ``prompts`` say.
    """

    def setup(self) -> None:
        """Build the network, and what the goal passes on its way to it."""
        super().setup()
        dim = self.observation_space["goal"].shape[0]
        if "continuous" in self.model_config:
            size = self.model_config["continuous"]
            self.encoder.goal_code = nn.Sequential(nn.Linear(dim, size), nn.Linear(size, dim))
        elif "one_hot" in self.model_config:
            self.encoder.goal_code = OneHot(dim, **self.model_config["one_hot"])
        if self.model_config.get("noise"):
            self.encoder = NoisyGoals(self.encoder, dim, self.model_config["noise"])


class OneHot(nn.Module):
    """Returns the number of the nearest prompt, as a vector with one entry that is not 0."""

    def __init__(self, dim: int, encoder: str, prompts: Sequence[str]) -> None:
        super().__init__()
        with torch.no_grad():
            embeddings = load_encoder(encoder).encode_texts(list(prompts)).float().cpu()
        self.register_buffer("embeddings", embeddings, persistent=False)

    def forward(self, goal: Tensor) -> Tensor:
        """Return float32 ``[N, D]`` with a mean square of 1, like the goal."""
        dim = goal.shape[-1]
        return one_hot((goal @ self.embeddings.T).argmax(-1), dim).float() * dim**0.5


class NoisyGoals(nn.Module):
    """Adds noise to the goal. The frame says which, so that a learner sees what was acted on."""

    def __init__(self, encoder: FilmEncoder, dim: int, length: float) -> None:
        super().__init__()
        self.encoder = encoder
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(NOISES, dim, generator=generator) * length / dim**0.5
        self.register_buffer("noise", noise, persistent=False)

    def forward(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return the features, float32 ``[..., hidden]``."""
        seen = batch[Columns.OBS]
        frames = seen["observation"].flatten(-3).long()
        places = torch.arange(frames.shape[-1], device=frames.device)
        which = (frames * (places + 1)).sum(-1) % NOISES
        return self.encoder(
            {**batch, Columns.OBS: {**seen, "goal": seen["goal"] + self.noise[which]}}
        )
