"""What is a frame worth? CLIP embeddings, and the heads that score them. torch; never Ray.

    frames uint8 [B, H, W, 3] ─ preprocess ─ encode [B, D] ─ head(images, bank, goals) ─ scores [B]

* :mod:`spec`: one string that names a CLIP;
* :mod:`preprocess`: open_clip's image transform, batched, on the device;
* :mod:`weights`: read without running code, loaded whole or not at all;
* :mod:`encoder`: the CLIP, the only module that knows open_clip;
* :mod:`bank`: the goals' texts, encoded once;
* :mod:`heads`: embeddings to scores;
* :mod:`model`: all of it, behind one call.

Letters: B frames, D embedding length, G goals, K negatives of a goal, N statements.
"""

from rllib_vlm_reward.reward_model.bank import TextBank
from rllib_vlm_reward.reward_model.encoder import CLIPEncoder, check_encoder, embed_dim
from rllib_vlm_reward.reward_model.heads import (
    Cosine,
    Dense,
    GoalBaseline,
    Head,
    Sigmoid,
    Softmax,
)
from rllib_vlm_reward.reward_model.model import RewardModel, Scorer, pay

__all__ = [
    "CLIPEncoder",
    "Cosine",
    "Dense",
    "GoalBaseline",
    "Head",
    "RewardModel",
    "Scorer",
    "Sigmoid",
    "Softmax",
    "TextBank",
    "check_encoder",
    "embed_dim",
    "pay",
]
