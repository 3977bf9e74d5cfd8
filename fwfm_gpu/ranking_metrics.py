"""Metrics of ranked lists: how well rows are ordered inside their group (a user, a query, a page view).

All groups at once, in float64. Rows are first put into an order of their own (group, score, target, weight), so that
equal rows in another order give equal bits; then sums go over ties and groups left to right, or are exactly rounded.

Rows of equal score share their places: a metric is the mean over all orders of them (McSherry and Najork, 2008).

Conventions: those of `fwfm_gpu.metrics`; group_b : (rows,) int64 group numbers, or None for one group. Rows of weight 0
are left out. A group counts with the mean weight of its rows in precision, recall and NDCG, with their sum in gauc.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fwfm_gpu.errors import InputError
from fwfm_gpu.parameters import Array

__all__ = ["AT_K", "gauc", "ndcg", "precision", "recall"]


@dataclass(frozen=True)
class Ranking:
    """Rows in order: group by group, the largest score first. A tie is a run of rows of one group and score."""

    rows: Array  # (rows,) intp: where each place's row is
    group_starts: Array  # (G,) intp: first place of each group
    tie_starts: Array  # (t,) intp: first place of each tie
    tie_groups: Array  # (t,) intp: the group of each tie, from 0

    @property
    def sizes(self) -> Array:
        """Rows of each group, (G,) intp."""
        return np.diff(self.group_starts, append=len(self.rows))

    @property
    def spans(self) -> tuple[Array, Array]:
        """Places above each tie in its group, and through it, (t,) intp each."""
        above = self.tie_starts - self.group_starts[self.tie_groups]
        return above, above + np.diff(self.tie_starts, append=len(self.rows))

    def over_ties(self, number_b: Array) -> Array:
        """Sum of each tie, (t,) float64."""
        tie = np.repeat(np.arange(len(self.tie_starts)), np.diff(self.tie_starts, append=len(self.rows)))
        return np.bincount(tie, number_b[self.rows], len(self.tie_starts))

    def over_groups(self, number_t: Array) -> Array:
        """Sum of each group over its ties, (G,) float64."""
        return np.bincount(self.tie_groups, number_t, len(self.group_starts))


def rank(group_b: Array, s_b: Array, *summed: Array) -> Ranking:
    """The order of the rows. What is to be summed over ties settles their order, unless no order can show."""
    shows = [number for number in summed if number.min() != number.max() and not np.all((number == 0) | (number == 1))]
    rows = np.arange(len(s_b))
    for key in (*shows, -s_b, group_b):  # as lexsort does, in half of its time
        rows = rows[np.argsort(key[rows], kind="stable")]
    group, s = group_b[rows], s_b[rows]
    new_group = np.append(True, group[1:] != group[:-1])
    new_tie = new_group | np.append(True, s[1:] != s[:-1])
    tie_starts = np.flatnonzero(new_tie)
    return Ranking(rows, np.flatnonzero(new_group), tie_starts, (np.cumsum(new_group) - 1)[tie_starts])


def counting(y_b: Array, s_bc: Array, weight_b: Array, group_b: Array | None) -> tuple[Array, Array, Array, Array]:
    """Group, score, target and weight of the rows that count, (rows,) each."""
    group_b = np.zeros(len(y_b), np.int64) if group_b is None else group_b
    kept = weight_b > 0
    parts = (group_b, s_bc[:, 0], y_b, weight_b)
    return parts if kept.all() else (group_b[kept], s_bc[kept, 0], y_b[kept], weight_b[kept])


def weighted_mean(value_g: Array, weight_g: Array) -> float:
    """Mean over groups; both sums are exactly rounded, so the groups' numbers are without effect."""
    return math.fsum(value_g * weight_g) / math.fsum(weight_g)


def over_lists(name: str, y_b: Array, ranking: Ranking, weight_b: Array, value_g: Array) -> float:
    """Mean of a metric over the groups, each with the mean weight of its rows."""
    if not np.any(y_b > 0):
        raise InputError(
            f"{name} needs a row whose target is above 0 and that weighs something: got none among {len(y_b)}. "
            "Evaluate on rows that hold some, or choose another eval_metric."
        )
    return weighted_mean(value_g, ranking.over_groups(ranking.over_ties(weight_b)) / ranking.sizes)


def hits(ranking: Ranking, y_b: Array, k: int) -> Array:
    """Rows of class 1 among the first k places of each group, (G,); of a tie that place k cuts, their share."""
    above, through = ranking.spans
    share = (np.minimum(through, k) - np.minimum(above, k)) / (through - above)
    return ranking.over_groups(ranking.over_ties(y_b) * share)


def precision(k: int, y_b: Array, s_bc: Array, weight_b: Array, group_b: Array | None) -> float:
    """Share of the first k places that class 1 holds, the mean over groups; a place that no row fills is a miss."""
    group_b, s_b, y_b, weight_b = counting(y_b, s_bc, weight_b, group_b)
    ranking = rank(group_b, s_b, weight_b, y_b)
    return over_lists(f"precision@{k}", y_b, ranking, weight_b, hits(ranking, y_b, k) / k)


def recall(k: int, y_b: Array, s_bc: Array, weight_b: Array, group_b: Array | None) -> float:
    """Share of a group's rows of class 1 that its first k places hold, the mean over groups; 0 where there is none."""
    group_b, s_b, y_b, weight_b = counting(y_b, s_bc, weight_b, group_b)
    ranking = rank(group_b, s_b, weight_b, y_b)
    there = ranking.over_groups(ranking.over_ties(y_b))
    return over_lists(f"recall@{k}", y_b, ranking, weight_b, hits(ranking, y_b, k) / np.maximum(there, 1))


def ndcg(k: int, y_b: Array, s_bc: Array, weight_b: Array, group_b: Array | None) -> float:
    """Normalised discounted cumulative gain: sum of y / log2(1 + place) over the first k places, beside the best order.

    The gain is the target itself, 0 or 1 or a grade, as in scikit-learn's ``ndcg_score``; a group without a target
    above 0 counts as 0, as there.

    Raises
    ------
    InputError
        A target below 0, or none above 0.
    """
    group_b, s_b, y_b, weight_b = counting(y_b, s_bc, weight_b, group_b)
    if np.any(y_b < 0):
        raise InputError(
            f"ndcg@{k} needs targets of 0 or above, which are what a place gains: got {y_b.min()}. "
            "Pass grades as they are, not standardised, or choose another eval_metric."
        )
    ranking = rank(group_b, s_b, weight_b, y_b)
    found, best = discounted(ranking, y_b, k), discounted(rank(group_b, y_b), y_b, k)
    value_g = np.divide(found, best, out=np.zeros_like(found), where=best > 0)
    return over_lists(f"ndcg@{k}", y_b, ranking, weight_b, value_g)


def discounted(ranking: Ranking, y_b: Array, k: int) -> Array:
    """Discounted gain of each group, (G,): the mean gain of a tie times the discounts of its places."""
    above, through = ranking.spans
    # log2 is the machine's own: the last bit may differ between two maths libraries, never between two engines.
    discount = 1 / np.log2(np.arange(2, min(k, int(ranking.sizes.max())) + 2))
    summed = np.append(0.0, np.add.accumulate(discount))
    last = len(discount)
    discounts = summed[np.minimum(through, last)] - summed[np.minimum(above, last)]
    return ranking.over_groups(ranking.over_ties(y_b) / (through - above) * discounts)


def gauc(y_b: Array, s_bc: Array, weight_b: Array, group_b: Array | None) -> float:
    """AUC inside each group, averaged by the weight of the groups' rows; groups of one class are left out.

    As Zhou et al. (Deep Interest Network, KDD 2018) compare models: what a user's own list looks like, not whether
    users who click much stand above those who do not. Without groups it is auc.

    Raises
    ------
    InputError
        No group has rows of both classes.
    """
    group_b, s_b, y_b, weight_b = counting(y_b, s_bc, weight_b, group_b)
    ranking = rank(group_b, s_b, weight_b, y_b)
    positive, negative = ranking.over_ties(weight_b * (y_b == 1)), ranking.over_ties(weight_b * (y_b == 0))
    positives, negatives = ranking.over_groups(positive), ranking.over_groups(negative)
    both = (positives > 0) & (negatives > 0)
    if not both.any():
        raise InputError(
            f"gauc needs a group with rows of both classes and weight above 0: got none among {len(both)} groups. "
            "Pass group=, the id of each row's user or query, or choose another eval_metric."
        )
    first_tie = np.flatnonzero(np.append(True, np.diff(ranking.tie_groups) > 0))
    # Scores descend: a row of class 1 beats what comes after it in its group.
    beaten = negatives[ranking.tie_groups] - running_sums(negative, first_tie[ranking.tie_groups]) + negative / 2
    pairs = ranking.over_groups(positive * beaten)[both]
    return weighted_mean(pairs / (positives * negatives)[both], (positives + negatives)[both])


def running_sums(value_t: Array, start_t: Array) -> Array:
    """Sums from the start of each run through each element, (t,) float64; start_t : (t,) where its run starts.

    One sum over all runs less what came before would lose the digits of the small ones. Here each run is added up by
    itself, in a tree whose shape depends on places alone.
    """
    within = np.arange(len(value_t)) - start_t
    longest, step = int(within.max()) + 1, 1
    while step < longest:
        value_t = value_t + np.where(within >= step, np.roll(value_t, step), 0.0)
        step *= 2
    return value_t


AT_K = {"precision": precision, "recall": recall, "ndcg": ndcg}
