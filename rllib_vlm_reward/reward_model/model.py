"""The reward model: frames and goals in, scores out."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rllib_vlm_reward.errors import GoalError, RewardError
from rllib_vlm_reward.frames import Frames
from rllib_vlm_reward.goals import GoalSet
from rllib_vlm_reward.reward_model.bank import TextBank
from rllib_vlm_reward.reward_model.cache import EmbeddingCache, content_keys
from rllib_vlm_reward.reward_model.encoder import Encoder, Tower, checked
from rllib_vlm_reward.reward_model.frame_batches import as_frame_batches, select
from rllib_vlm_reward.reward_model.scorer import Scorer, Scores

__all__ = ["CACHE_FRAMES", "RewardModel"]

CACHE_FRAMES = 16_384
_TEXTS_KEPT = 32_768
_BANKS_KEPT = 64  # the goals of many agents, and of runs that share an actor
_GOALS_PROBED = 64  # for what a precision does to scores


class RewardModel:
    """Scores frames against goals with one encoder; any number of threads may ask at once.

    No text is encoded twice, and no frame whose like was scored lately or is in the same batch.

    Args:
        encoder: embeds frames and texts.
        cache_frames: embeddings of frames that are kept, see :class:`.EmbeddingCache`; 0 keeps
            none, and encodes every frame.

    Example:
        >>> from rllib_vlm_reward.reward_model.encoder import load_encoder
        >>> from rllib_vlm_reward.reward_model.heads import Softmax
        >>> model = RewardModel(load_encoder("small"))
        >>> scorer = Scorer(GoalSet.from_texts(["a ball", "a key"]), Softmax())
        >>> scores = model.score(np.zeros((3, 64, 64, 3), np.uint8), np.array([0, 1, 1]), scorer)
        >>> scores.dtype, scores.shape
        (dtype('float32'), (3,))
        >>> model.counts()
        {'frames_encoded': 1, 'cache_hits': 2, 'texts_encoded': 2}
    """

    def __init__(self, encoder: Encoder, *, cache_frames: int = CACHE_FRAMES) -> None:
        self.encoder = encoder
        self._frames = EmbeddingCache(cache_frames, encoder.embed_dim) if cache_frames else None
        self._texts = EmbeddingCache(_TEXTS_KEPT, encoder.embed_dim)
        self._banks: OrderedDict[str, TextBank] = OrderedDict()
        self._towers: OrderedDict[str, Tower] = OrderedDict()
        self._counts = {"frames_encoded": 0, "cache_hits": 0, "texts_encoded": 0}
        self._kept_in_use = threading.Lock()  # of banks, towers and counts; never held for long

    @torch.inference_mode()
    def score(
        self, frames: Frames | Sequence[Frames], goals: npt.NDArray[np.integer], scorer: Scorer
    ) -> Scores:
        """Score each frame against its own goal.

        Args:
            frames: uint8 ``[B, H, W, 3]``, or a sequence of these of one H and W, B in all. They
                are read where they lie, and may be read-only.
            goals: integer ``[B]``, each frame's goal in ``scorer.goals``.
            scorer: the goals and the head.

        Returns:
            float32 ``[B]``, in the head's range.

        Raises:
            FrameError: anything but batches of uint8 RGB frames of one size.
            GoalError: indices of another type, shape or range.
            RewardError: a score that is not finite, scores of another shape, a head that the model
                or goals forbid, or a precision that moves the scores too far
                (:meth:`.CLIPEncoder.tower_for`).
        """
        pieces = as_frame_batches(frames)
        _check_indices(goals, sum(map(len, pieces)), scorer.goals)
        images = self._embed(pieces, self._tower(scorer)).to(self.encoder.device)
        indices = torch.from_numpy(goals.astype(np.int64)).to(images.device)
        bank = self._bank(scorer.goals)
        scores: Scores = scorer.head(images, bank, indices).float().cpu().numpy()
        _check_scores(scores, goals, scorer)
        return scores

    @torch.inference_mode()
    def embed_frames(
        self, frames: Frames | Sequence[Frames], scorer: Scorer
    ) -> npt.NDArray[np.float32]:
        """Embed frames as :meth:`score` does for a scorer: B frames to float32 ``[B, D]``.

        Raises:
            FrameError, RewardError: see :meth:`score`.
        """
        return self._embed(as_frame_batches(frames), self._tower(scorer)).cpu().numpy()

    def embed_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Embed texts: N strings to float32 ``[N, D]``, unit norm."""
        return self._embed_texts(texts).cpu().numpy()

    def admit(self, goals: GoalSet, embeddings: npt.NDArray[np.float32]) -> None:
        """Take a goal set's texts as embedded elsewhere, by the same CLIP.

        Args:
            goals: the goal set.
            embeddings: float32 ``[N, D]``, unit norm, of ``goals.statements`` in their order.

        Raises:
            RewardError: another type or shape, or what is no unit norm.
        """
        expected = (len(goals.statements), self.encoder.embed_dim)
        if embeddings.dtype != np.float32 or embeddings.shape != expected:
            raise RewardError(
                f"admit: got {embeddings.dtype} {list(embeddings.shape)}, expected float32 "
                f"{list(expected)}, one row for each statement of the goals. Embed them with the "
                "same model."
            )
        norms = np.linalg.norm(embeddings, axis=1)
        if not np.allclose(norms, 1, atol=1e-3):  # nor where one is not finite
            raise RewardError(
                f"admit: got norms from {norms.min()} to {norms.max()}, expected 1. Give the "
                "embeddings as RewardModel.embed_texts returns them."
            )
        self._texts.put(goals.statements, embeddings)
        self._keep_bank(goals, torch.from_numpy(embeddings.copy()))

    def precision(self, scorer: Scorer) -> str:
        """Return what a scorer's frames are encoded in: ``fp32``, ``bf16`` or ``fp16``.

        Raises:
            RewardError: a precision that was asked for moves the scores too far.
        """
        return self._tower(scorer).precision

    def counts(self) -> dict[str, int]:
        """Return the ``frames_encoded`` by the image tower, ``cache_hits`` and ``texts_encoded``.

        Hits are the frames that needed no encoding, so both together are all frames scored.
        """
        with self._kept_in_use:
            return dict(self._counts)

    def _tower(self, scorer: Scorer) -> Tower:
        with self._kept_in_use:
            tower = _used(self._towers, scorer.fingerprint)
        if tower is None:
            tower = self.encoder.tower_for(self._probe(scorer), str(scorer.head))
            with self._kept_in_use:
                _keep(self._towers, scorer.fingerprint, tower)
        return tower

    def _probe(self, scorer: Scorer) -> Callable[[Tensor], Tensor]:
        """Return a function of embeddings ``[P, D]``: scores ``[P, G]`` of at most 64 goals."""
        number = min(len(scorer.goals), _GOALS_PROBED)
        probed = np.linspace(0, len(scorer.goals) - 1, number).astype(int).tolist()

        @torch.inference_mode()
        def score(images: Tensor) -> Tensor:
            bank = self._bank(scorer.goals)
            each = (torch.full((len(images),), goal, device=images.device) for goal in probed)
            return torch.stack([scorer.head(images, bank, goals) for goals in each], dim=1)

        return score

    def _embed(self, pieces: Sequence[Frames], tower: Tower) -> Tensor:
        """Embed frames: pieces of uint8 ``[B, H, W, 3]`` to float32 ``[B, D]``."""
        size = sum(map(len, pieces))
        encoded = 0

        def encode(positions: Sequence[int]) -> Tensor:
            nonlocal encoded
            encoded += len(positions)
            return tower(pieces if len(positions) == size else select(pieces, positions))

        if self._frames is None or not size:
            images = encode(range(size))
        else:
            images = self._frames.embed(content_keys(pieces, tower.fingerprint), encode)
        self._count(frames_encoded=encoded, cache_hits=size - encoded)
        return images

    def _embed_texts(self, texts: Sequence[str]) -> Tensor:
        def encode(positions: Sequence[int]) -> Tensor:
            self._count(texts_encoded=len(positions))
            new = [texts[position] for position in positions]
            self.encoder.check_texts(new)
            return checked(self.encoder, "encode_texts", len(new), new)

        return self._texts.embed(texts, encode)

    def _bank(self, goals: GoalSet) -> TextBank:
        with self._kept_in_use:
            bank = _used(self._banks, goals.fingerprint)
        return bank or self._keep_bank(goals, self._embed_texts(goals.statements))

    def _keep_bank(self, goals: GoalSet, embeddings: Tensor) -> TextBank:
        encoder = self.encoder
        bank = TextBank(
            goals, embeddings.to(encoder.device), encoder.logit_scale, encoder.logit_bias
        )
        with self._kept_in_use:
            _keep(self._banks, goals.fingerprint, bank)
        return bank

    def _count(self, **more: int) -> None:
        with self._kept_in_use:
            for what, number in more.items():
                self._counts[what] += number


Kept = TypeVar("Kept")


def _used(kept: OrderedDict[str, Kept], key: str) -> Kept | None:
    """Return what is kept, as the one used last."""
    if key in kept:
        kept.move_to_end(key)
    return kept.get(key)


def _keep(kept: OrderedDict[str, Kept], key: str, value: Kept) -> None:
    kept[key] = value
    if len(kept) > _BANKS_KEPT:
        kept.popitem(last=False)


def _check_scores(scores: Scores, goals: npt.NDArray[np.integer], scorer: Scorer) -> None:
    if scores.shape != goals.shape:
        raise RewardError(
            f"head {type(scorer.head).__name__}: it gave scores {list(scores.shape)} for "
            f"{len(goals)} frames, expected {list(goals.shape)}. Return one score for each frame."
        )
    finite = np.isfinite(scores)
    if not finite.all():
        first = int(np.argmin(finite))
        raise RewardError(
            f"score: {int((~finite).sum())} of {len(scores)} scores are not finite; frame "
            f"{first}, goal {scorer.goals[int(goals[first])].text!r} got {scores[first]}. "
            "Expected finite scores. Try precision fp32, or another temperature; a goal "
            "whose text CLIP cannot tell from its baseline has no line between them."
        )


def _check_indices(goals: npt.NDArray[np.integer], size: int, known: GoalSet) -> None:
    got = f"{goals.dtype} {list(goals.shape)}" if isinstance(goals, np.ndarray) else type(goals)
    expected = f"expected an integer array [{size}], one goal index for each frame"
    if not isinstance(goals, np.ndarray) or goals.dtype.kind not in "iu":
        raise GoalError(f"goals: got {got}, {expected}. GoalSet.index gives a text's index.")
    if goals.shape != (size,):
        raise GoalError(f"goals: got {got}, {expected}.")
    given: list[int] = goals.tolist()
    if given and not (min(given) >= 0 and max(given) < len(known)):
        raise GoalError(
            f"goals: got indices {min(given)} to {max(given)}, expected 0 to {len(known) - 1}. "
            "Score with the goal set that the indices were taken from."
        )
