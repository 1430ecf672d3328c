"""Scores a CLIP on held-out frames with the paper's reward, by family of statements."""

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

    A goal's probability is the paper's equation 1 at the model's temperature, against the
    family's other objects (or pairs) and its "nothing". Frames in which several goals of a family
    hold are left out: there the goals share the probability, however good the model is.

    Attributes:
        average_precision: area under the precision-recall curve over all frames and goals.
        precision: precision at β = 0.5.
        recall: recall at β = 0.5.
        false_per_1000: number of times that any goal fires wrongly in 1,000 frames, with one
            article.
        true_p05: 95 % of the true pairs of frame and goal have a higher probability.
        false_p999: 99.9 % of the false pairs have a lower probability.
        frames: number of scored frames.
        true: number of true pairs of frame and goal.
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
"""Scores by family."""


def score_families(encoder: CLIPEncoder, views: View, things: Sequence[str] = NAMES) -> Scores:
    """Score a CLIP on views, whose true statements are computed from the view.

    Args:
        encoder: the CLIP.
        views: uint8 ``[N, V, V, 3]``.
        things: only goals that name one of these things are scored; other goals remain negatives.
    """
    batches = np.array_split(views, -(-len(views) // BATCH))
    images = torch.cat([encoder.encode_frames(draw_tiles(batch)) for batch in batches])
    holds = truth(views)
    scores = {}
    for name, family in FAMILIES.items():
        columns = np.array([1 + family.objects.index(names) for names in _objects(family)])
        is_scored = family.about(things)[columns]
        held = holds[name][:, columns]
        kept = held.sum(axis=1) <= 1
        probabilities = np.stack(
            [_probabilities(images[kept], encoder, family, article) for article in ARTICLES]
        )
        probabilities = probabilities[..., is_scored]
        scores[name] = _score(
            probabilities, np.broadcast_to(held[kept][:, is_scored], probabilities.shape)
        )
    return scores


def _objects(family: Family) -> list[tuple[str, ...]]:
    """Return a family's objects, each pair in one order only, since both orders mean the same."""
    rng = random.Random(0)
    chosen = combinations(NAMES, len(family.objects[0]))
    return [tuple(rng.sample(names, len(names))) for names in chosen]


def _probabilities(
    images: Tensor, encoder: CLIPEncoder, family: Family, article: str
) -> npt.NDArray[np.float32]:
    """Return each goal's probability in each frame, float32 ``[N, G]``."""
    prompt = family.template.prompt.replace("{}", f"{article} %s")
    statements = [str(family.template.nothing), *(prompt % names for names in _objects(family))]
    cosines = images @ encoder.encode_texts(statements).T
    # Every goal with its negatives makes up the same set of statements: one softmax is enough.
    probabilities: npt.NDArray[np.float32]
    probabilities = (encoder.logit_scale * cosines).softmax(dim=1)[:, 1:].cpu().numpy()
    return probabilities


def _score(probabilities: npt.NDArray[np.float32], held: npt.NDArray[np.bool_]) -> FamilyScores:
    """Compute the scores from probabilities and truth, both ``[articles, N, G]``."""
    fires = probabilities > BETA
    right, wrong, true = (int(each.sum()) for each in (fires & held, fires & ~held, held))
    return FamilyScores(
        average_precision=average_precision(probabilities.ravel(), held.ravel()),
        precision=right / max(1, right + wrong),
        recall=right / max(1, true),
        false_per_1000=1000 * wrong / (probabilities.shape[0] * probabilities.shape[1]),
        true_p05=float(np.quantile(probabilities[held], 0.05)),
        false_p999=float(np.quantile(probabilities[~held], 0.999)),
        frames=probabilities.shape[1],
        true=true,
    )
