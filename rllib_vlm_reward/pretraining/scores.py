"""Held-out scores of the paper's reward, by family of statements."""

import dataclasses
import random
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rllib_vlm_reward.envs.babyai.tiles import View, draw_tiles
from rllib_vlm_reward.metrics.precision_recall import average_precision
from rllib_vlm_reward.pretraining.statements import ARTICLES, FAMILIES, NAMES, Family, truth
from rllib_vlm_reward.reward_model.clip import CLIPEncoder

__all__ = ["FamilyScores", "Scores", "score_families"]

BETA = 0.5
BATCH = 512


@dataclasses.dataclass(frozen=True)
class FamilyScores:
    """Scores of one family: every goal is scored on every frame, with "a" and with "the".

    A goal's probability is the paper's equation 1 at the model's own temperature, against the
    family's other objects (or pairs) and its "nothing". Frames in which several of a family's
    goals hold are left out: they share the probability, whatever the model.

    Attributes:
        average_precision: area under the precision-recall curve over all frames and goals.
        precision, recall: where the probability exceeds β = 0.5.
        false_per_1000: times that any goal fires wrongly, per 1,000 frames and one article.
        true_p05: the probability that 95 % of the true pairs of frame and goal exceed.
        false_p999: the probability that 99.9 % of the false pairs stay under.
        frames: the number of frames scored.
        true: the number of pairs of frame and goal that are true.
    """

    average_precision: float
    precision: float
    recall: float
    false_per_1000: float
    true_p05: float
    false_p999: float
    frames: int
    true: int


Scores = dict[str, FamilyScores]
"""By family."""


def score_families(encoder: CLIPEncoder, views: View, things: Sequence[str] = NAMES) -> Scores:
    """Score a CLIP on views whose truth is known.

    Args:
        encoder: the CLIP.
        views: uint8 ``[N, V, V, 3]``.
        things: only goals that name one of these are scored; the others remain negatives.
    """
    batches = np.array_split(views, -(-len(views) // BATCH))
    images = torch.cat([encoder.encode_frames(draw_tiles(batch)) for batch in batches])
    holds = truth(views)
    scores = {}
    for name, family in FAMILIES.items():
        columns = np.array([1 + family.objects.index(names) for names in _objects(family)])
        asked = family.about(things)[columns]
        held = holds[name][:, columns]
        kept = held.sum(axis=1) <= 1
        chances = np.stack([_ask(images[kept], encoder, family, said) for said in ARTICLES])
        chances = chances[..., asked]
        scores[name] = _score(chances, np.broadcast_to(held[kept][:, asked], chances.shape))
    return scores


def _objects(family: Family) -> list[tuple[str, ...]]:
    """Return a family's objects, each pair in one order, since both orders say the same."""
    rng = random.Random(0)
    chosen = combinations(NAMES, len(family.objects[0]))
    return [tuple(rng.sample(names, len(names))) for names in chosen]


def _ask(
    images: Tensor, encoder: CLIPEncoder, family: Family, article: str
) -> npt.NDArray[np.float32]:
    """Return each goal's probability in each frame, float32 ``[N, G]``."""
    prompt = family.template.prompt.replace("{}", f"{article} %s")
    statements = [str(family.template.nothing), *(prompt % names for names in _objects(family))]
    cosines = images @ encoder.encode_texts(statements).T
    # A goal and its negatives are all of these, whichever goal is asked: one softmax for all.
    chances: npt.NDArray[np.float32]
    chances = (encoder.logit_scale * cosines).softmax(dim=1)[:, 1:].cpu().numpy()
    return chances


def _score(chances: npt.NDArray[np.float32], held: npt.NDArray[np.bool_]) -> FamilyScores:
    """Score chances and truth ``[articles, N, G]``."""
    fires = chances > BETA
    right, wrong, true = (int(each.sum()) for each in (fires & held, fires & ~held, held))
    return FamilyScores(
        average_precision=average_precision(chances.ravel(), held.ravel()),
        precision=right / max(1, right + wrong),
        recall=right / max(1, true),
        false_per_1000=1000 * wrong / (chances.shape[0] * chances.shape[1]),
        true_p05=float(np.quantile(chances[held], 0.05)),
        false_p999=float(np.quantile(chances[~held], 0.999)),
        frames=chances.shape[1],
        true=true,
    )
