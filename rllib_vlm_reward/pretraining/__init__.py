"""Trains a CLIP on frames for which the true statements are known, of any world.

    world ─ recorded_play ─ sources: frames and captions ─ training: contrast ─ scores ─ card

* :mod:`world`: an env that brings captions, and who plays it;
* :mod:`recorded_play`: plays it, and keeps the frames;
* :mod:`captioned`: frames, which statements hold in them, and draws from them;
* :mod:`sources`: where a training's frames come from;
* :mod:`captioned_folder`: frames from a folder of images with a table of captions;
* :mod:`training`: the loss and the optimiser;
* :mod:`grounding`: the loss and the scores of patches that learn what they show;
* :mod:`scores`: held-out scores of the paper's reward, by family;
* :mod:`card`: the model card.
"""

from rllib_vlm_reward.pretraining.captioned_folder import FolderSource
from rllib_vlm_reward.pretraining.sources import EnvSource
from rllib_vlm_reward.pretraining.training import Progress, Settings, score_clip, train_clip

__all__ = ["EnvSource", "FolderSource", "Progress", "Settings", "score_clip", "train_clip"]
