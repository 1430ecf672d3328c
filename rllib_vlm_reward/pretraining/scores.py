"""Scores a CLIP on held-out frames with the paper's reward, by family of statements."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rllib_vlm_reward.goals import wordings
from rllib_vlm_reward.metrics.bootstrap import bootstrap
from rllib_vlm_reward.metrics.precision_recall import average_precision
from rllib_vlm_reward.pretraining.captioned import CaptionedFrames, Family
from rllib_vlm_reward.reward_model.clip import CLIPEncoder

__all__ = ["FamilyScores", "Scores", "score_families"]

BETA = 0.5
BATCH = 512


@dataclasses.dataclass(frozen=True)
class FamilyScores:
    """Scores of one family: every goal is scored on every frame, in two wordings.

    The wordings are a statement's first and its last one. A goal's probability is the paper's
    equation 1 at the model's temperature, against the other statements of its family. Frames in
    which several goals of a family hold are left out: there the goals share the probability,
    however good the model is. So are frames of which a statement of the family is unclear.

    Attributes:
        average_precision: area under the precision-recall curve over all frames and goals.
        precision: precision at β = 0.5.
        recall: recall at β = 0.5.
        false_per_1000: number of times that any goal fires wrongly in 1,000 frames, in one
            wording.
        true_p05: 95 % of the true pairs of frame and goal have a higher probability.
        false_p999: 99.9 % of the false pairs have a lower probability.
        frames: number of scored frames.
        all_frames: number of frames with those that were left out.
        true: number of true pairs of frame and goal, in both wordings.
        intervals: by name, the ends of the 95 % interval of the first four scores, from resampled
            episodes; empty without resamples. Where no error was seen, the interval extends to 3
            episodes with an error (the rule of three).
    """

    average_precision: float
    precision: float
    recall: float
    false_per_1000: float
    true_p05: float
    false_p999: float
    frames: int
    all_frames: int
    true: int
    intervals: dict[str, tuple[float, float]] = dataclasses.field(default_factory=dict)


Scores = dict[str, FamilyScores]
"""Scores by family."""


def score_families(
    encoder: CLIPEncoder,
    data: CaptionedFrames,
    things: Sequence[str] | None = None,
    *,
    repeats: int = 0,
) -> Scores:
    """Score a CLIP on frames with their captions.

    A family without a frame in which one of the scored goals holds is left out.

    Args:
        encoder: the CLIP.
        data: the frames.
        things: only goals that name one of these things are scored; other goals remain negatives.
            None scores all.
        repeats: the number of resamples for the intervals; with 0 there are none.
    """
    batches = np.array_split(np.arange(len(data)), -(-len(data) // BATCH))
    images = torch.cat([encoder.encode_frames(data.frames[batch]) for batch in batches])
    scores = {}
    for name, family in data.families.items():
        goals = family.goals
        scored = goals if things is None else goals & family.about(things)
        held, kept = data.holds[name], data.scorable(name)
        if not held[kept][:, scored].any():
            continue
        probabilities = _probabilities(images[torch.from_numpy(kept)], encoder, family)[..., scored]
        scores[name] = _score(
            probabilities,
            np.broadcast_to(held[kept][:, scored], probabilities.shape),
            data.episodes[kept],
            repeats,
            all_frames=len(data),
        )
    return scores


def _probabilities(images: Tensor, encoder: CLIPEncoder, family: Family) -> npt.NDArray[np.float32]:
    """Return each statement's probability in each frame, float32 ``[2, N, S]``."""
    each = []
    for which in (0, -1):
        cosines = (
            images @ encoder.encode_texts([wordings(text)[which] for text in family.statements]).T
        )
        # Every goal with its negatives makes up the same set of statements: one softmax is enough.
        each.append((encoder.logit_scale * cosines).softmax(dim=1).cpu().numpy())
    return np.stack(each)


def _score(
    probabilities: npt.NDArray[np.float32],
    held: npt.NDArray[np.bool_],
    episodes: npt.NDArray[np.integer],
    repeats: int,
    *,
    all_frames: int,
) -> FamilyScores:
    """Compute the scores; probabilities and truth are ``[wordings, N, G]``, episodes ``[N]``."""
    fires = probabilities > BETA
    # By frame, [N].
    right, wrong, true = (each.sum(axis=(0, 2)) for each in (fires & held, fires & ~held, held))
    frames = np.full(len(episodes), len(probabilities))
    figures: dict[str, Callable[[npt.NDArray[np.intp]], float]] = {
        "average_precision": lambda rows: average_precision(
            probabilities[:, rows].ravel(), held[:, rows].ravel()
        ),
        "precision": lambda rows: _share(right[rows], (right + wrong)[rows]),
        "recall": lambda rows: _share(right[rows], true[rows]),
        "false_per_1000": lambda rows: 1000 * _share(wrong[rows], frames[rows]),
    }
    every = np.arange(len(episodes))
    values = {name: figure(every) for name, figure in figures.items()}
    intervals = {}
    for name, figure in figures.items() if repeats else ():
        found = bootstrap(figure, episodes, repeats=repeats)
        intervals[name] = found.low, found.high
    if repeats and not wrong.any():
        intervals["precision"] = 1 - 3 / _episodes(episodes, right), 1.0
        intervals["false_per_1000"] = 0.0, 1000 * 3 / frames.sum()
    if repeats and not (true - right).any():
        intervals["recall"] = 1 - 3 / _episodes(episodes, true), 1.0
    return FamilyScores(
        **values,
        true_p05=float(np.quantile(probabilities[held], 0.05)),
        false_p999=float(np.quantile(probabilities[~held], 0.999)),
        frames=len(episodes),
        all_frames=all_frames,
        true=int(true.sum()),
        intervals=intervals,
    )


def _share(part: npt.NDArray[np.integer], whole: npt.NDArray[np.integer]) -> float:
    return float(part.sum() / max(1, whole.sum()))


def _episodes(episodes: npt.NDArray[np.integer], counts: npt.NDArray[np.integer]) -> int:
    """Return the number of episodes with a count, at least 3."""
    return max(3, len(np.unique(episodes[counts > 0])))
