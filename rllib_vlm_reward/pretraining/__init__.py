"""Trains the embedded CLIPs on frames for which the true statements are known.

    dataset: play ─ statements: which hold ─ training: contrast ─ scores ─ card

* :mod:`statements`: the statements that the CLIPs learn, and which of them hold in a view;
* :mod:`dataset`: play in BabyAI rooms, and its distinct views;
* :mod:`training`: the loss and the optimiser;
* :mod:`scores`: held-out scores of the paper's reward, by family;
* :mod:`card`: the model card.
"""

from rllib_vlm_reward.pretraining.training import Progress, Settings, train_clip

__all__ = ["Progress", "Settings", "train_clip"]
