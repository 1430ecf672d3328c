"""Where do the embedded CLIPs come from? Training on frames whose true statements are known.

    dataset: play ─ statements: which hold ─ training: contrast ─ scores ─ card

* :mod:`statements`: what the CLIPs can say, and which statements hold in a view;
* :mod:`dataset`: play in BabyAI rooms, and the distinct views of it;
* :mod:`training`: the loss and the optimiser;
* :mod:`scores`: held-out scores of the paper's reward, by family;
* :mod:`card`: the model card.
"""

from rllib_vlm_reward.pretraining.training import Progress, Settings, train_clip

__all__ = ["Progress", "Settings", "train_clip"]
