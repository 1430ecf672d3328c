"""Reads the map of a goal in a frame, for a policy that acts outside of training."""

import dataclasses

import numpy as np
import numpy.typing as npt

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.errors import GoalError
from rllib_vlm_reward.frames import Frames, check_each
from rllib_vlm_reward.goals import GoalSet
from rllib_vlm_reward.reward_model.encoder import Encoder, check_patches
from rllib_vlm_reward.reward_model.heads import Cosine
from rllib_vlm_reward.reward_model.model import RewardModel
from rllib_vlm_reward.reward_model.scorer import Scorer

__all__ = ["MapReader"]

_KEPT = 16  # frames, so that one that is drawn after the policy saw it is not encoded again


class MapReader:
    """Reads the map of a goal in a frame, with an encoder in this process and in fp32.

    Args:
        config: the reward of the run, which has a ``goal_map``.
        encoder: the encoder of the run.

    Example:
        >>> from rllib_vlm_reward.reward_model.encoder import load_encoder
        >>> config = VLMRewardConfig(
        ...     encoder="grounded",
        ...     goals=["lift the {red|blue} ball"],
        ...     templates=[{"goal": "lift {}", "noun": "{}"}],
        ...     mode="synchronous",
        ...     goal_map=True,
        ... )
        >>> read = MapReader(config, load_encoder("grounded"))
        >>> read(np.zeros((56, 56, 3), np.uint8), "lift the green key").shape
        (7, 7, 1)
    """

    def __init__(self, config: VLMRewardConfig, encoder: Encoder) -> None:
        self._config = config
        self._model = RewardModel(encoder, cache_frames=_KEPT)
        self._scorers: dict[str, Scorer] = {}  # by the text of a goal

    def __call__(self, frame: Frames, text: str) -> npt.NDArray[np.float32]:
        """Return the map, float32 ``[h, w, 1]``.

        Args:
            frame: uint8 ``[H, W, 3]``.
            text: text of a goal, which may be a new one.

        Raises:
            GoalError: no template fits the text, the goal has no noun, or the noun does not suit
                the encoder.
            FrameError: the frame is not such an array.
        """
        (frame,) = check_each([frame])
        if text not in self._scorers:
            self._scorers[text] = self._scorer(text)
        found = self._model.answer(frame[None], np.zeros(1, np.int64), self._scorers[text])
        return found[0, 1:].reshape(*self._config.map_size, 1)

    def _scorer(self, text: str) -> Scorer:
        goal, readout = self._config.goal_of(text), self._config.map_readout
        assert readout is not None
        if goal.noun is None:
            raise GoalError(
                f"goal {text!r}: the policy sees a map of the goal's noun, but the template that "
                "fits the goal has no noun. Choose a goal as in training."
            )
        alone = GoalSet((dataclasses.replace(goal, negatives=(), baseline=None),))
        of_one = dataclasses.replace(readout, nouns=(goal.noun,))
        check_patches(self._config.encoder, [of_one])
        return Scorer(alone, Cosine(), "fp32", (of_one,))
