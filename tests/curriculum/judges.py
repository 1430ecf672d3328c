"""Judges of proposed goals, and proposers, that tests can see through."""

import hashlib

import numpy as np

from rllib_vlm_reward.curriculum import Proposer
from rllib_vlm_reward.errors import GoalError


def embedding(text):
    """Return float32 [16], unit norm: the same for the same text, whatever its case."""
    seed = hashlib.sha256(text.casefold().encode("utf-8", "surrogatepass")).digest()
    vector = np.random.default_rng(list(seed)).normal(size=16).astype(np.float32)
    return vector / np.linalg.norm(vector)


class LenientJudge:
    """Has nothing against a goal, and embeds texts without their case."""

    def __init__(self, frames=0):
        self.frames = np.random.default_rng(0).normal(size=(frames, 16)).astype(np.float32)
        self.asked = []  # texts of goals that the env was to be reset with

    def embed(self, texts):
        return np.stack([embedding(text) for text in texts])

    def cosines(self, goals, indices):
        prompts = [goals[index].prompt for index in indices]
        return (self.frames @ self.embed(prompts).T).astype(np.float32)

    def scores(self, goals, indices):
        return np.zeros((len(self.frames), len(indices)), np.float32)

    def posed(self, texts):
        self.asked.append(list(texts))
        return [True] * len(texts)


class ShortSighted(LenientJudge):
    """Reads no text with more than three words, and sees the same in all frames."""

    def embed(self, texts):
        if any(len(text.split()) > 3 for text in texts):
            raise GoalError("too long")
        return super().embed(texts)


class Said(Proposer):
    """Proposes what its settings say, or raises an error if they say nothing."""

    def propose(self, record):
        return self.config.settings["says"]
