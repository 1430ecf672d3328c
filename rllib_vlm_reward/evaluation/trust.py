"""Fits whom of several experts to trust, for each goal, from labelled frames.

Letters in shapes: N frames, E experts, G goals.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import Bounds, minimize

__all__ = ["Evidence", "TrustFit", "fit_trust", "sets_of"]

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.integer]

_FOLDS = 5
# How strongly a goal's numbers are drawn to its family's, and a family's to those of all frames.
_SHRINKAGES, _FAMILY_SHRINKAGE = (1.0, 10.0, 100.0), 0.1
_RIDGE = 1e-2


@dataclasses.dataclass(frozen=True)
class Evidence:
    """Labelled frames with the evidence of each expert.

    Attributes:
        values: ``[N, E]``, see :class:`~rllib_vlm_reward.reward_model.combiner.Trust`.
        labels: ``[N]``: whether the frame shows its goal.
        goals: ``[N]``: the index of each frame's goal.
        episodes: ``[N]``: the index of each frame's episode. Its frames are much alike, so each
            episode counts as one observation.
        families: ``[G]``: the family of each goal.
    """

    values: Floats
    labels: Labels
    goals: Integers
    episodes: Integers
    families: Sequence[str]


@dataclasses.dataclass(frozen=True)
class TrustFit:
    """The fitted combination of one set of experts. Each row has a bias and E weights >= 0.

    Attributes:
        experts: the experts of the set, as columns of the evidence.
        families: by family, ``[1 + E]``.
        goals: by the index of each goal with frames, ``[1 + E]``.
        held_out: ``[N]``: each frame's probability, by a fit without the frames of a fifth of the
            episodes, among them its own.
    """

    experts: tuple[int, ...]
    families: dict[str, Floats]
    goals: dict[int, Floats]
    held_out: Floats


def sets_of(number: int) -> Iterator[tuple[int, ...]]:
    """Yield all sets of experts but the empty one, the largest first.

    Example:
        >>> list(sets_of(2))
        [(0, 1), (0,), (1,)]
    """
    for size in range(number, 0, -1):
        yield from itertools.combinations(range(number), size)


def fit_trust(evidence: Evidence) -> list[TrustFit]:
    """Fit a logistic regression for each set of experts: the probability of success of a frame.

    Each goal has a bias and a weight for each expert. A goal's numbers are drawn to those of its
    family, and a family's to those of all frames, so that a goal with few frames does as its
    family does; how strongly is chosen by the loss on held-out episodes. Weights are not negative:
    an expert's evidence may count for nothing, but never for its contrary. An expert without whom
    the loss on held-out episodes is not worse in any family, by one standard error, gets the weight
    0, unless only such experts answer.

    Returns:
        the fits, in the order of :func:`sets_of`.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> labels = rng.random(600) < 0.3
        >>> useful, noise = labels + rng.normal(size=600) / 2, rng.normal(size=600)
        >>> values = np.stack([useful, noise], axis=1)
        >>> zeros, episodes = np.zeros(600, int), np.arange(600) // 3
        >>> both, *_ = fit_trust(Evidence(values, labels, zeros, episodes, ["find {}"]))
        >>> bias, *weights = both.goals[0].tolist()
        >>> weights[0] > 1, weights[1]
        (True, 0.0)
    """
    folds = _folds(evidence)
    everyone = tuple(range(evidence.values.shape[1]))
    useful, shrinkage = _useful(evidence, everyone, folds)
    fitted: dict[tuple[int, ...], TrustFit] = {}
    fits = []
    for experts in sets_of(len(everyone)):
        used = tuple(each for each in experts if each in useful) or experts
        if used not in fitted:
            table = _Table.of(evidence, used, np.arange(len(evidence.labels)))
            named = table.named(table.fit(shrinkage))
            held_out = _held_out(evidence, used, folds, shrinkage)
            fitted[used] = TrustFit(used, *named, held_out)
        fits.append(_widened(fitted[used], experts))
    return fits


def _useful(
    evidence: Evidence, everyone: tuple[int, ...], folds: Integers
) -> tuple[tuple[int, ...], float]:
    """Return the experts without whom held-out episodes are predicted worse, and the shrinkage.

    The shrinkage is chosen again for those that are left, so that an expert that is not used
    changes nothing.
    """

    def best(experts: tuple[int, ...]) -> tuple[float, Floats]:
        losses = {each: _loss(evidence, experts, folds, each) for each in _SHRINKAGES}
        shrinkage = min(losses, key=lambda each: losses[each].mean())
        return shrinkage, losses[shrinkage]

    used = everyone
    family_of = _family_of_episodes(evidence)
    shrinkage, loss = best(used)
    while len(used) > 1:
        harm = {}
        for each in used:
            others = tuple(e for e in used if e != each)
            harm[each] = _harm(_loss(evidence, others, folds, shrinkage) - loss, family_of)
        least = min(harm, key=lambda each: harm[each])
        if harm[least] > 1:
            break
        used = tuple(each for each in used if each != least)
        shrinkage, loss = best(used)
    return used, shrinkage


def _harm(worse: Floats, family_of: Integers) -> float:
    """Return how much larger the loss is, in standard errors, in the family that suffers most.

    Args:
        worse: ``[episodes]``, how much larger the loss of each episode is.
        family_of: ``[episodes]``, a family of each.
    """
    harms = []
    for family in np.unique(family_of):
        some = worse[family_of == family]
        error = some.std() / np.sqrt(len(some))
        harms.append(float(some.mean() / error) if error > 0 else 0.0)
    return max(harms)


def _family_of_episodes(evidence: Evidence) -> Integers:
    """Return the family of the first goal of each episode, as a number."""
    names = list(dict.fromkeys(evidence.families))
    numbers = np.array([names.index(family) for family in evidence.families])
    first = np.unique(evidence.episodes, return_index=True)[1]
    return numbers[evidence.goals[first]]


def _widened(fit: TrustFit, experts: tuple[int, ...]) -> TrustFit:
    """Return a fit of some experts as one of more, of whom the others have the weight 0."""
    places = [0, *(1 + experts.index(each) for each in fit.experts)]

    def widen(numbers: Floats) -> Floats:
        wide = np.zeros(1 + len(experts))
        wide[places] = numbers
        return wide

    return TrustFit(
        experts,
        {family: widen(numbers) for family, numbers in fit.families.items()},
        {goal: widen(numbers) for goal, numbers in fit.goals.items()},
        fit.held_out,
    )


def _loss(
    evidence: Evidence, experts: tuple[int, ...], folds: Integers, shrinkage: float
) -> Floats:
    """Return the mean loss of each episode, by fits without it."""
    return _loss_by_episode(_held_out(evidence, experts, folds, shrinkage), evidence)


def _loss_by_episode(probabilities: Floats, evidence: Evidence) -> Floats:
    right = np.where(evidence.labels, probabilities, 1 - probabilities)
    loss = -np.log(np.maximum(right, 1e-7))
    number = np.bincount(evidence.episodes)
    sums = np.bincount(evidence.episodes, weights=loss)
    return np.asarray((sums / np.maximum(number, 1))[number > 0])


def _folds(evidence: Evidence) -> Integers:
    """Return each frame's fold; the frames of an episode have the same one."""
    number = int(evidence.episodes.max()) + 1
    order = np.random.default_rng(0).permutation(number)
    return np.asarray((order % _FOLDS)[evidence.episodes])


def _held_out(
    evidence: Evidence,
    experts: tuple[int, ...],
    folds: Integers,
    shrinkage: float,
) -> Floats:
    probabilities = np.empty(len(evidence.labels))
    for fold in np.unique(folds):
        rows = np.flatnonzero(folds == fold)
        table = _Table.of(evidence, experts, np.flatnonzero(folds != fold))
        numbers = table.fit(shrinkage)
        probabilities[rows] = table.probabilities(numbers, evidence, rows)
    return probabilities


@dataclasses.dataclass(frozen=True)
class _Table:
    """The frames of a fit, sorted by goal.

    The rows of the fitted numbers are: one for all frames, one for each family, one for each goal
    with frames. The columns are the bias and the weight of each expert of the set.
    """

    experts: tuple[int, ...]
    inputs: Floats  # [N, 1 + E], the first column of ones
    labels: Floats  # [N]
    starts: Integers  # where each goal's frames begin
    goals: list[int]  # each goal with frames
    family_of: Integers  # [goals with frames], its family
    families: list[str]
    episodes: int

    @classmethod
    def of(cls, evidence: Evidence, experts: tuple[int, ...], rows: Integers) -> "_Table":
        order = rows[np.argsort(evidence.goals[rows], kind="stable")]
        goals, starts = np.unique(evidence.goals[order], return_index=True)
        families = list(dict.fromkeys(evidence.families))
        ones = np.ones((len(order), 1))
        return cls(
            experts=experts,
            inputs=np.hstack([ones, evidence.values[order][:, list(experts)]]),
            labels=evidence.labels[order].astype(np.float64),
            starts=starts,
            goals=goals.tolist(),
            family_of=np.array([families.index(evidence.families[goal]) for goal in goals]),
            families=families,
            episodes=len(np.unique(evidence.episodes[order])),
        )

    def fit(self, shrinkage: float) -> Floats:
        """Return the numbers, ``[1 + families + goals with frames, 1 + E]``."""
        width, first = self.inputs.shape[1], 1 + len(self.families)
        shape = (first + len(self.goals), width)
        low = np.zeros(shape)
        low[:, 0] = -np.inf
        start = np.zeros(shape)
        mean = self.labels.mean().clip(1e-3, 1 - 1e-3)
        start[:, 0] = np.log(mean / (1 - mean))
        start[:, 1:] = 0.5 / max(width - 1, 1)
        scale = self.episodes / len(self.labels)
        counts = np.diff([*self.starts, len(self.labels)])

        def loss(flat: Floats) -> tuple[float, Floats]:
            numbers = flat.reshape(shape)
            root, families, goals = numbers[:1], numbers[1:first], numbers[first:]
            logits = (self.inputs * np.repeat(goals, counts, axis=0)).sum(axis=1)
            value = scale * float((np.logaddexp(0, logits) - self.labels * logits).sum())
            residuals = scale * (_logistic(logits) - self.labels)
            gradient = np.zeros(shape)
            gradient[first:] = np.add.reduceat(self.inputs * residuals[:, None], self.starts)
            apart = goals - families[self.family_of]
            value += shrinkage / 2 * float((apart**2).sum())
            gradient[first:] += shrinkage * apart
            np.add.at(gradient, 1 + self.family_of, -shrinkage * apart)
            apart = families - root
            value += _FAMILY_SHRINKAGE / 2 * float((apart**2).sum())
            gradient[1:first] += _FAMILY_SHRINKAGE * apart
            gradient[0] -= _FAMILY_SHRINKAGE * apart.sum(axis=0)
            value += _RIDGE / 2 * float((root**2).sum())
            gradient[:1] += _RIDGE * root
            return value, gradient.ravel()

        bounds = Bounds(low.ravel(), np.full(low.size, np.inf))
        # Not L-BFGS-B: SciPy 1.17's calls BLAS, whose threads wait for each other if busy.
        found = minimize(
            loss,
            start.ravel(),
            jac=True,
            method="TNC",
            bounds=bounds,
            options={"maxfun": 1000, "ftol": 1e-7},
        )
        return np.asarray(found.x).reshape(shape)

    def named(self, numbers: Floats) -> tuple[dict[str, Floats], dict[int, Floats]]:
        """Return the numbers by family, and by goal."""
        first = 1 + len(self.families)
        return (
            dict(zip(self.families, numbers[1:first], strict=True)),
            dict(zip(self.goals, numbers[first:], strict=True)),
        )

    def probabilities(self, numbers: Floats, evidence: Evidence, rows: Integers) -> Floats:
        """Return the probabilities of frames; a goal without frames does as its family does."""
        families, goals = self.named(numbers)
        table = {
            goal: goals.get(goal, families[evidence.families[goal]])
            for goal in np.unique(evidence.goals[rows]).tolist()
        }
        chosen = np.array([table[goal] for goal in evidence.goals[rows].tolist()])
        values = evidence.values[rows][:, list(self.experts)]
        return _logistic(chosen[:, 0] + (chosen[:, 1:] * values).sum(axis=1))


def _logistic(log_odds: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(log_odds, -700, 700))))
