"""Teaches the patches of a CLIP what each of them shows, and scores that on held-out frames."""

import copy
import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from rllib_vlm_reward.envs.captions import ARTICLES, Box
from rllib_vlm_reward.errors import LabelError
from rllib_vlm_reward.goals import wordings
from rllib_vlm_reward.metrics.ranking import auroc
from rllib_vlm_reward.pretraining.captioned import CaptionedFrames, Family
from rllib_vlm_reward.reward_model.clip import CLIPEncoder
from rllib_vlm_reward.reward_model.patches import with_patches

__all__ = [
    "Grounding",
    "PatchScores",
    "no_boxes",
    "patch_labels",
    "score_patches",
    "words_of_things",
]

NOTHING = "nothing"
KEEP = 10.0
"""Weight of the cosine by which the embeddings of whole frames may move."""

UNCLEAR = -100  # what torch's cross entropy ignores
BATCH = 256


def words_of_things(data: CaptionedFrames) -> Family:
    """Return the words for what a patch may show: ``nothing``, and the things in the boxes.

    Raises:
        LabelError: no frame has a box, or the source does not say where things are.
    """
    names = sorted({box.name for shown in data.boxes or () for box in shown})
    if not names:
        raise no_boxes()
    return Family((NOTHING, *(f"{ARTICLES} {name}" for name in names)), NOTHING)


def no_boxes() -> LabelError:
    """Return the error of a source that does not say where things are."""
    return LabelError(
        "patches: got frames without boxes, expected some that show things. Give the env a method "
        "boxes() that returns a list of rllib_vlm_reward.Box; a folder of images has none."
    )


def patch_labels(
    boxes: Sequence[Box], words: Family, grid: tuple[int, int]
) -> npt.NDArray[np.int64]:
    """Return which word says what each patch shows, int64 ``[h, w]``.

    A patch shows a thing if the thing's box covers half of the patch, or if half of the box lies
    in the patch. A patch that a box touches otherwise is unclear.

    Args:
        boxes: what the frame shows where; of several on one patch, the last counts.
        words: see :func:`words_of_things`.
        grid: h and w, the number of patches along the frame's height and width.

    Example:
        >>> words = Family(("nothing", "{a|the} cup"), "nothing")
        >>> patch_labels([Box("cup", 0.0, 0.0, 0.6, 1.0)], words, (1, 3))
        array([[1, 1, 0]])
        >>> patch_labels([Box("cup", 0.0, 0.0, 0.4, 1.0)], words, (1, 3))
        array([[   1, -100,    0]])
    """
    height, width = grid
    labels = np.zeros(grid, np.int64)
    places = {wordings(text)[0].removeprefix("a "): at for at, text in enumerate(words.statements)}
    for box in boxes:
        rows = _shared(box.top, box.bottom, height)
        columns = _shared(box.left, box.right, width)
        covered = rows[:, None] * columns  # in patches
        size = (box.bottom - box.top) * height * (box.right - box.left) * width
        shows = (covered > 0) & ((covered >= 0.5) | (covered >= 0.5 * size))
        labels[(covered > 0.01) & ~shows & (labels == 0)] = UNCLEAR
        labels[shows] = places.get(box.name, UNCLEAR)
    return labels


def _shared(low: float, high: float, number: int) -> npt.NDArray[np.float64]:
    """Return how much of each of ``number`` equal parts of [0, 1] lies in [low, high]."""
    edges = np.arange(number)
    return (np.minimum(high * number, edges + 1) - np.maximum(low * number, edges)).clip(0)


class Grounding:
    """The losses of a step that teaches patches their words; the text tower stays as it is.

    Args:
        encoder: the CLIP, before the training.
        data: the frames to train on.
        unnamed: things that are not named.
    """

    def __init__(self, encoder: CLIPEncoder, data: CaptionedFrames, unnamed: Sequence[str]) -> None:
        words = words_of_things(data)
        kept = ~words.about(unnamed)
        statements = tuple(text for text, keep in zip(words.statements, kept, strict=True) if keep)
        self._encoder, self._data, self._words = encoder, data, Family(statements, NOTHING)
        self._before = copy.deepcopy(encoder.model.visual).eval().requires_grad_(False)

    def __call__(self, rows: npt.NDArray[np.intp], rng: np.random.Generator) -> dict[str, Tensor]:
        """Return the losses of some frames.

        ``things`` and ``nothing`` are the mean cross entropies of the patches that show a thing and
        of those that show none; ``kept`` is by how much the embeddings of whole frames have moved.
        """
        encoder, words = self._encoder, self._words
        boxes = self._data.boxes or ()
        pixels = encoder.preprocess(np.asarray(self._data.frames[rows]))
        features, patches = with_patches(encoder.model.visual, pixels)
        with torch.no_grad():
            said = words.say([*range(len(words.statements))], rng)
            texts = encoder.encode_texts(said).clone()  # no inference tensor, for autograd
            before = normalize(self._before(pixels), dim=1)
        grid = (patches.shape[1], patches.shape[2])
        labels = torch.from_numpy(np.stack([patch_labels(boxes[row], words, grid) for row in rows]))
        labels = labels.to(patches.device).flatten()
        logits = (encoder.logit_scale * patches @ texts.T).flatten(0, 2)
        losses = cross_entropy(logits, labels, reduction="none", ignore_index=UNCLEAR)
        cosine = (normalize(features, dim=1) * before).sum(dim=1)
        return {
            "things": losses[labels > 0].sum() / (labels > 0).sum().clamp(min=1),
            "nothing": losses[labels == 0].sum() / (labels == 0).sum().clamp(min=1),
            "kept": KEEP * (1 - cosine.mean()),
        }


@dataclasses.dataclass(frozen=True)
class PatchScores:
    """How well patches say where things are, in a statement's first wording.

    Attributes:
        patch_auroc: how often, in a frame that shows a thing, one of the thing's patches has a
            higher probability of its word than a patch that does not show it.
        present_auroc: how often a frame that shows a thing has a higher probability of its word, in
            its highest patch, than a frame that does not.
        frames: the number of frames.
        pairs: the number of pairs of a frame and a thing that it shows.
    """

    patch_auroc: float
    present_auroc: float
    frames: int
    pairs: int


def score_patches(
    encoder: CLIPEncoder, data: CaptionedFrames, words: Family | None = None
) -> PatchScores:
    """Score the patches of a CLIP on frames with boxes.

    Args:
        encoder: the CLIP.
        data: the frames.
        words: the words for what a patch may show; None takes those of the frames.
    """
    words = words or words_of_things(data)
    texts = encoder.encode_texts([wordings(text)[0] for text in words.statements])
    probabilities, labels = [], []
    for batch in np.array_split(np.arange(len(data)), -(-len(data) // BATCH)):
        patches = encoder.tower.with_patches(np.asarray(data.frames[batch]))[1]
        grid = (patches.shape[1], patches.shape[2])
        softmax = (encoder.logit_scale * patches @ texts.T).softmax(dim=3)
        probabilities.append(softmax.flatten(1, 2).cpu().numpy())
        shown = [patch_labels((data.boxes or ())[row], words, grid).ravel() for row in batch]
        labels.append(np.stack(shown))
    return _scores(np.concatenate(probabilities), np.concatenate(labels))


def _scores(probabilities: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> PatchScores:
    """Score probabilities ``[N, P, W]`` of the words by the labels ``[N, P]``."""
    numbers, truths = list[npt.NDArray[np.float32]](), list[npt.NDArray[np.bool_]]()
    highest, shows = list[npt.NDArray[np.float32]](), list[npt.NDArray[np.bool_]]()
    for word in range(1, probabilities.shape[2]):
        of_word, is_word = probabilities[:, :, word], labels == word
        present = is_word.any(axis=1)
        clear = labels[present] != UNCLEAR
        numbers.append(of_word[present][clear])
        truths.append(is_word[present][clear])
        highest.append(of_word.max(axis=1))
        shows.append(present)
    pairs = np.concatenate(shows)
    return PatchScores(
        patch_auroc=auroc(np.concatenate(numbers), np.concatenate(truths)),
        present_auroc=auroc(np.concatenate(highest), pairs),
        frames=len(labels),
        pairs=int(pairs.sum()),
    )
