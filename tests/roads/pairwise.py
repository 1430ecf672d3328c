"""Fewer cells of a matrix, with every pair of values that meets in the whole of it."""

from itertools import combinations


def pairs(cell):
    """Return the pairs of values in a cell, a tuple; each value with the place that it has."""
    return set(combinations(enumerate(cell), 2))


def pairwise(cells):
    """Choose cells until they have all pairs of values that any cell has.

    Greedy: the cell with the most pairs that are still missing comes next, of equal ones the first.
    """
    chosen, missing = [], set().union(*map(pairs, cells))
    while missing:
        chosen.append(max(cells, key=lambda cell: len(pairs(cell) & missing)))
        missing -= pairs(chosen[-1])
    return chosen
