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
from rllib_vlm_reward.reward_model.readouts import PatchReadout, Readout, ScoreReadout
from rllib_vlm_reward.reward_model.scorer import Scorer, Scores
from rllib_vlm_reward.reward_model.tokens import check_distinct, check_distinct_words

__all__ = ["CACHE_FRAMES", "RewardModel"]

CACHE_FRAMES = 16_384
_TEXTS_KEPT = 32_768
_BANKS_KEPT = 64  # enough for the goals of many agents, and of several runs on one actor
# As a share of the head's range. Norms of embeddings may differ from 1 by 1e-3, see `checked`.
_RANGE_TOLERANCE = 5e-3
_GOALS_PROBED = 64  # goals for which the precisions' scores are compared


class RewardModel:
    """Scores frames against goals with one encoder. It is thread-safe.

    Texts are encoded once. A frame is not encoded again if an equal frame is in the same batch or
    was scored recently.

    Args:
        encoder: embeds frames and texts.
        cache_frames: how many frames' embeddings to keep, see :class:`.EmbeddingCache`; with 0
            every frame is encoded.

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
        self._cache_frames = cache_frames
        self._answers: OrderedDict[str, EmbeddingCache] = OrderedDict()  # of scorers with readouts
        self._words: OrderedDict[str, list[Tensor]] = OrderedDict()
        self._texts = EmbeddingCache(_TEXTS_KEPT, encoder.embed_dim)
        self._banks: OrderedDict[str, TextBank] = OrderedDict()
        self._towers: OrderedDict[str, Tower] = OrderedDict()
        self._counts = {"frames_encoded": 0, "cache_hits": 0, "texts_encoded": 0}
        self._lock = threading.Lock()  # guards the dicts above; held only briefly

    @torch.inference_mode()
    def score(
        self, frames: Frames | Sequence[Frames], goals: npt.NDArray[np.integer], scorer: Scorer
    ) -> Scores:
        """Score each frame against its own goal.

        Args:
            frames: uint8 ``[B, H, W, 3]``, or a sequence of such arrays of one size with B frames
                in total. They may be read-only.
            goals: integer ``[B]``, the index of each frame's goal in ``scorer.goals``.
            scorer: the goals and the head.

        Returns:
            The scores, float32 ``[B]``, in the head's range.

        Raises:
            FrameError: the frames are not batches of uint8 RGB frames of one size.
            GoalError: the indices have another type, shape or range; a text is too long for the
                model, or the model cannot distinguish two statements of a goal.
            RewardError: a score is not finite or outside the head's range, the scores have another
                shape, the head does not suit the model or the goals, or the precision changes the
                scores too much (:meth:`.CLIPEncoder.tower_for`).
        """
        batches = as_frame_batches(frames)
        _check_indices(goals, sum(map(len, batches)), scorer.goals)
        images = self._embed(batches, self._tower(scorer)).to(self.encoder.device)
        indices = torch.from_numpy(goals.astype(np.int64)).to(images.device)
        bank = self._bank(scorer.goals)
        scores: Scores = scorer.head(images, bank, indices).float().cpu().numpy()
        _check_scores(scores, goals, scorer)
        return scores

    @torch.inference_mode()
    def answer(
        self, frames: Frames | Sequence[Frames], goals: npt.NDArray[np.integer], scorer: Scorer
    ) -> Scores:
        """Score frames as :meth:`score` does, and read what the scorer's readouts say of them.

        A frame's patches take 100 times the memory of its embedding, so with readouts of these the
        cache keeps answers: an equal frame with the same goal is not encoded again.

        Args:
            frames: see :meth:`score`.
            goals: see :meth:`score`.
            scorer: the goals, the head and the readouts.

        Returns:
            The scores, float32 ``[B]``; with readouts, float32 ``[B, C]``: the scores, and the
            numbers of each readout.

        Raises:
            FrameError: see :meth:`score`.
            GoalError: see :meth:`score`.
            RewardError: see :meth:`score`; or the encoder has no patches, or a readout is not
                finite.
        """
        if not scorer.readouts:
            return self.score(frames, goals, scorer)
        batches = as_frame_batches(frames)
        size = sum(map(len, batches))
        _check_indices(goals, size, scorer.goals)
        tower, indices = self._tower(scorer), torch.tensor(goals, dtype=torch.int64)
        if scorer.reads_patches:
            found = self._read_patches(batches, indices, tower, scorer)
        else:
            images = self._embed(batches, tower).to(self.encoder.device)
            found = self._read(images, None, indices, scorer)
        answers: Scores = found.cpu().numpy()
        _check_scores(answers[:, 0], goals, scorer)
        _check_readouts(answers[:, 1:], scorer)
        return answers

    def _read_patches(
        self, batches: Sequence[Frames], goals: Tensor, tower: Tower, scorer: Scorer
    ) -> Tensor:
        """Return the answers of B frames from the cache, or encode them with their patches."""
        size, encoded = len(goals), 0

        def read(positions: Sequence[int]) -> Tensor:
            nonlocal encoded
            encoded += len(positions)
            chosen = batches if len(positions) == size else select(batches, positions)
            images, patches = tower.with_patches(chosen)
            return self._read(images, patches, goals[list(positions)], scorer)

        cache = self._answers_of(scorer)
        if cache is None or not size:
            found = read(range(size))
        else:
            content = content_keys(batches, tower.fingerprint)
            found = cache.embed(list(zip(content, goals.tolist(), strict=True)), read)
        self._count(frames_encoded=encoded, cache_hits=size - encoded)
        return found

    @torch.inference_mode()
    def embed_frames(
        self, frames: Frames | Sequence[Frames], scorer: Scorer
    ) -> npt.NDArray[np.float32]:
        """Embed B frames as :meth:`score` does for a scorer: float32 ``[B, D]``, unit norm.

        Raises:
            FrameError: see :meth:`score`.
            RewardError: see :meth:`score`.
        """
        return self._embed(as_frame_batches(frames), self._tower(scorer)).cpu().numpy()

    def embed_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Embed N texts: float32 ``[N, D]``, unit norm.

        Raises:
            GoalError: a text is too long for the model.
            RewardError: the encoder returns another shape, or norms that are not 1.
        """
        return self._embed_texts(texts).cpu().numpy()

    def admit(
        self, goals: GoalSet, embeddings: npt.NDArray[np.float32], words: Sequence[str] = ()
    ) -> None:
        """Add a goal set's embeddings that another process computed with the same model.

        Args:
            goals: the goal set.
            embeddings: float32 ``[N, D]``, unit norm: the embeddings of ``goals.statements``, in
                order, and of ``words``.
            words: :attr:`.Scorer.words`.

        Raises:
            RewardError: the embeddings have another type or shape, or their norms are not 1.
        """
        number = len(goals.statements)
        expected = (number + len(words), self.encoder.embed_dim)
        if embeddings.dtype != np.float32 or embeddings.shape != expected:
            raise RewardError(
                f"admit: got {embeddings.dtype} {list(embeddings.shape)}, expected float32 "
                f"{list(expected)}, one row for each statement of the goals. Embed them with the "
                "same model."
            )
        norms = np.linalg.norm(embeddings, axis=1)
        if not np.allclose(norms, 1, atol=1e-3):  # also if one is not finite
            raise RewardError(
                f"admit: got norms from {norms.min()} to {norms.max()}, expected 1. Pass the "
                "embeddings as RewardModel.embed_texts returns them."
            )
        self._texts.put([*goals.statements, *words], embeddings)
        self._keep_bank(goals, torch.from_numpy(embeddings[:number].copy()))

    def precision(self, scorer: Scorer) -> str:
        """Return the precision that encodes a scorer's frames: ``fp32``, ``bf16`` or ``fp16``.

        Raises:
            RewardError: the precision changes the scores too much and is not ``auto``.
        """
        return self._tower(scorer).precision

    def drift(self, frames: Frames | Sequence[Frames], scorer: Scorer) -> float | None:
        """Return how far the encoder's precision moves the scores of frames, see Encoder.drift.

        Args:
            frames: uint8 ``[P, H, W, 3]``, or batches of them, which are encoded one by one.
            scorer: the goals, of which up to 64 are compared, and the head.
        """
        return self.encoder.drift(frames, self._probe(scorer))

    def counts(self) -> dict[str, int]:
        """Return how often frames and texts were encoded, or found in the cache.

        Returns:
            ``frames_encoded`` by the image tower; ``cache_hits``, the other frames that were
            scored; and ``texts_encoded``.
        """
        with self._lock:
            return dict(self._counts)

    def _tower(self, scorer: Scorer) -> Tower:
        with self._lock:
            tower = _get(self._towers, scorer.fingerprint)
        if tower is None:
            if scorer.precision is None:
                tower = self.encoder.tower_for(self._probe(scorer), str(scorer.head))
            else:
                tower = self.encoder.tower_in(scorer.precision)
            with self._lock:
                _put(self._towers, scorer.fingerprint, tower)
        return tower

    def _probe(self, scorer: Scorer) -> Callable[[Tensor], Tensor]:
        """Return a function from embeddings ``[P, D]`` to scores ``[P, G]`` of up to 64 goals."""
        number = min(len(scorer.goals), _GOALS_PROBED)
        probed = np.linspace(0, len(scorer.goals) - 1, number).astype(int).tolist()

        @torch.inference_mode()
        def score(images: Tensor) -> Tensor:
            bank = self._bank(scorer.goals)
            columns = (torch.full((len(images),), goal, device=images.device) for goal in probed)
            return torch.stack([scorer.head(images, bank, goals) for goals in columns], dim=1)

        return score

    def _read(
        self, images: Tensor, patches: Tensor | None, goals: Tensor, scorer: Scorer
    ) -> Tensor:
        """Return the answers of encoded frames, float32 ``[M, C]``; goals are int64 ``[M]``."""
        goals, bank = goals.to(images.device), self._bank(scorer.goals)
        scores = scorer.head(images, bank, goals).float()
        _check_shape(scores.shape, goals.shape, scorer)
        numbers = [scores[:, None]]
        for readout, texts in zip(scorer.readouts, self._readout_texts(scorer), strict=True):
            if isinstance(readout, ScoreReadout):
                candidates = torch.from_numpy(readout.indices).to(images.device)
                found = scorer.head.each(images, bank, candidates).float()
                numbers.append(readout(found, goals))
            elif isinstance(readout, PatchReadout) and patches is not None:
                numbers.append(readout(patches, texts, goals, self.encoder.logit_scale))
        return torch.cat(numbers, dim=1)

    def _readout_texts(self, scorer: Scorer) -> list[Tensor]:
        """Return the embeddings of each readout's texts, on the device."""
        with self._lock:
            embedded = _get(self._words, scorer.fingerprint)
        if embedded is None:
            embedded = [self._embed_words(readout) for readout in scorer.readouts]
            with self._lock:
                _put(self._words, scorer.fingerprint, embedded)
        return embedded

    def _embed_words(self, readout: Readout) -> Tensor:
        if not readout.texts:
            return torch.empty(0, self.encoder.embed_dim)
        ids = self.encoder.token_ids(readout.texts)
        check_distinct_words(readout.texts, ids, type(self.encoder).__name__)
        return self._embed_texts(readout.texts).to(self.encoder.device)

    def _answers_of(self, scorer: Scorer) -> EmbeddingCache | None:
        """Return the cache of a scorer's answers; None if nothing is to be kept."""
        if not self._cache_frames:
            return None
        with self._lock:
            cache = _get(self._answers, scorer.fingerprint)
            if cache is None:
                cache = EmbeddingCache(self._cache_frames, scorer.columns)
                _put(self._answers, scorer.fingerprint, cache)
        return cache

    def _embed(self, batches: Sequence[Frames], tower: Tower) -> Tensor:
        """Embed batches of frames, uint8 ``[b, H, W, 3]``: float32 ``[B, D]``."""
        size = sum(map(len, batches))
        encoded = 0

        def encode(positions: Sequence[int]) -> Tensor:
            nonlocal encoded
            encoded += len(positions)
            return tower(batches if len(positions) == size else select(batches, positions))

        if self._frames is None or not size:
            images = encode(range(size))
        else:
            images = self._frames.embed(content_keys(batches, tower.fingerprint), encode)
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
        with self._lock:
            bank = _get(self._banks, goals.fingerprint)
        return bank or self._keep_bank(goals, self._embed_texts(goals.statements))

    def _keep_bank(self, goals: GoalSet, embeddings: Tensor) -> TextBank:
        encoder = self.encoder
        ids = encoder.token_ids(goals.statements)
        check_distinct(goals, ids, type(encoder).__name__)
        bank = TextBank(
            goals, embeddings.to(encoder.device), encoder.logit_scale, encoder.logit_bias
        )
        with self._lock:
            _put(self._banks, goals.fingerprint, bank)
        return bank

    def _count(self, **increments: int) -> None:
        with self._lock:
            for name, number in increments.items():
                self._counts[name] += number


Value = TypeVar("Value")


def _get(cache: OrderedDict[str, Value], key: str) -> Value | None:
    """Return a cached value, and mark it as the one used last."""
    if key in cache:
        cache.move_to_end(key)
    return cache.get(key)


def _put(cache: OrderedDict[str, Value], key: str, value: Value) -> None:
    cache[key] = value
    if len(cache) > _BANKS_KEPT:
        cache.popitem(last=False)


def _check_shape(got: Sequence[int], expected: Sequence[int], scorer: Scorer) -> None:
    if tuple(got) != tuple(expected):
        raise RewardError(
            f"head {type(scorer.head).__name__}: it returned scores {list(got)} for "
            f"{expected[0]} frames, expected {list(expected)}. Return one score for each frame."
        )


def _check_readouts(numbers: Scores, scorer: Scorer) -> None:
    finite = np.isfinite(numbers).all(axis=0)
    if not finite.all():
        raise RewardError(
            f"readout {scorer.names[1 + int(np.argmin(finite))]!r}: got a number that is not "
            "finite. Try precision fp32."
        )


def _check_scores(scores: Scores, goals: npt.NDArray[np.integer], scorer: Scorer) -> None:
    _check_shape(scores.shape, goals.shape, scorer)
    finite = np.isfinite(scores)
    if not finite.all():
        first = int(np.argmin(finite))
        raise RewardError(
            f"score: {int((~finite).sum())} of {len(scores)} scores are not finite; frame "
            f"{first}, goal {scorer.goals[int(goals[first])].text!r} got {scores[first]}. "
            "Expected finite scores. Try precision fp32, or another temperature. With the head "
            "goal_baseline, check that no goal has the same embedding as its baseline."
        )
    _check_range(scores, goals, scorer)


def _check_range(scores: Scores, goals: npt.NDArray[np.integer], scorer: Scorer) -> None:
    """Check the range that the head declares, which thresholds, alarms and plots rely on."""
    low, high = scorer.head.range
    excess = np.maximum(low - scores, scores - high)
    if not len(scores) or excess.max() <= _RANGE_TOLERANCE * (high - low):
        return
    worst = int(np.argmax(excess))
    raise RewardError(
        f"head {type(scorer.head).__name__}: goal {scorer.goals[int(goals[worst])].text!r} got the "
        f"score {scores[worst]:.6g}, expected {low:g} to {high:g}, the head's `range`. Correct "
        "`range`, or clamp the scores."
    )


def _check_indices(goals: npt.NDArray[np.integer], size: int, goal_set: GoalSet) -> None:
    got = f"{goals.dtype} {list(goals.shape)}" if isinstance(goals, np.ndarray) else type(goals)
    expected = f"expected an integer array [{size}], one goal index for each frame"
    if not isinstance(goals, np.ndarray) or goals.dtype.kind not in "iu":
        raise GoalError(f"goals: got {got}, {expected}. Use GoalSet.index.")
    if goals.shape != (size,):
        raise GoalError(f"goals: got {got}, {expected}. Pass as many goals as frames.")
    given: list[int] = goals.tolist()
    if given and not (min(given) >= 0 and max(given) < len(goal_set)):
        raise GoalError(
            f"goals: got indices {min(given)} to {max(given)}, expected 0 to {len(goal_set) - 1}. "
            "Use the goal set from which the indices were taken."
        )
