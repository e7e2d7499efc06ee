"""Lists without training: what a household bought, counted less the older it is, and what its neighbours did.

They are what the ranker has to beat, so each is told in a few lines: decayed counts (half-life 84 days), the
same beside those of 300 neighbours, and TIFU-KNN (Hu, He, Gao and Zhang, "Modeling personalized item
frequency information for next-basket recommendation", SIGIR 2020) with the settings (7, 0.9, 0.7, 300, 0.7).
"""

import datetime as dt
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from lists import TEN, Ints, Receipts, Top
from scipy.sparse import csr_matrix

HALF_LIFE = 84  # days
NEIGHBOURS = 300
OWN_SHARE = 0.7  # of a household's own purchases beside those of its neighbours; TIFU-KNN's alpha
GROUPS, WITHIN, BETWEEN = (
    7,
    0.9,
    0.7,
)  # of TIFU-KNN: groups of trips, what a trip and a group counts less a step
BLOCK = 200  # households at once
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Tastes:
    """How much each household [h] wants each product [p]; ids are sorted, `wants` is sparse [h, p].

    With `neighbours` it is a mean with those of the nearest households: own share 0.7, the rest theirs.
    """

    household: Ints
    product: Ints
    wants: csr_matrix
    neighbours: bool = False

    def tens(self, *left_out: Ints) -> list[Top]:
        """The ten most wanted of each household, once without each of `left_out`; ties to the smaller id."""
        kept = [~np.isin(self.product, products) for products in left_out]
        rows: list[list[tuple[Ints, Ints, Floats]]] = [[] for _ in kept]
        for start in range(0, len(self.household), BLOCK):
            wants = self._block(start)
            for row in range(wants.shape[0]):
                mine = slice(wants.indptr[row], wants.indptr[row + 1])
                for columns, found in zip(kept, rows, strict=True):
                    found.append(self._best(start + row, wants.indices[mine], wants.data[mine], columns))
        tops = ([np.concatenate(column) for column in zip(*found, strict=True)] for found in rows)
        return [Top.of(household, product, -wanted) for household, product, wanted in tops]

    def _best(
        self, row: int, columns: Ints, wants: Floats, kept: npt.NDArray[np.bool_]
    ) -> tuple[Ints, Ints, Floats]:
        """The products of one household that are among its ten, or tie with the last of them."""
        some = kept[columns]
        columns, wants = columns[some], wants[some]
        least = np.partition(wants, -TEN)[-TEN] if len(wants) > TEN else 0.0
        best = wants >= least
        return np.full(best.sum(), self.household[row]), self.product[columns[best]], wants[best]

    def _block(self, start: int) -> csr_matrix:
        mine = self.wants[start : start + BLOCK]
        if not self.neighbours:
            return mine
        squares = np.asarray(self.wants.multiply(self.wants).sum(axis=1)).ravel()
        distance = squares[None, :] - 2 * mine.dot(self.wants.T).toarray()  # of Euclid, but for a constant
        here = np.arange(mine.shape[0])
        distance[here, start + here] = np.inf  # nobody is a neighbour of itself
        nearest = np.argpartition(distance, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
        places = np.repeat(here, NEIGHBOURS), nearest.ravel()
        theirs = csr_matrix((np.ones(nearest.size), places), shape=distance.shape).dot(self.wants)
        return csr_matrix(OWN_SHARE * mine + (1 - OWN_SHARE) / NEIGHBOURS * theirs)


def decayed_counts(known: Receipts, day: dt.date) -> Tastes:
    """Purchases, each counted half after every 84 days."""
    return _tastes(known, _decayed(known, day))


def decayed_counts_with_neighbours(known: Receipts, day: dt.date) -> Tastes:
    """The same over the household's trips, counted the same way, beside the 300 nearest households."""
    weight = _decayed(known, day)
    _, rows = np.unique(known.household, return_inverse=True)
    first = np.unique(known.basket, return_index=True)[1]
    trips = np.bincount(rows[first], weight[first])
    return _tastes(known, weight / trips[rows], neighbours=True)


def tifu_knn(known: Receipts) -> Tastes:
    """A household's trips in 7 groups, the later the heavier, within groups and between; with neighbours."""
    trips, first = np.unique(known.basket, return_index=True)
    household, day = known.household[first], known.day[first]
    order = np.lexsort((trips, day, household))
    _, starts, sizes = np.unique(household[order], return_index=True, return_counts=True)
    place = np.arange(len(order)) - np.repeat(starts, sizes)  # of a trip among its household's, oldest 0
    count = np.repeat(sizes, sizes)
    groups = np.minimum(GROUPS, count)
    # As equal as they can be: the first `count % groups` groups have one trip more.
    small, more = count // groups, count % groups
    border = more * (small + 1)
    group = np.where(place < border, place // (small + 1), more + (place - border) // small)
    start = np.where(group < more, group * (small + 1), border + (group - more) * small)
    size = small + (group < more)
    decay = WITHIN ** (size - 1 - (place - start)) / size * BETWEEN ** (groups - 1 - group) / groups
    weight = np.empty(len(order))
    weight[order] = decay
    return _tastes(known, weight[np.searchsorted(trips, known.basket)], neighbours=True)


def _decayed(known: Receipts, day: dt.date) -> Floats:
    ago = (np.datetime64(day) - known.day).astype(np.int64)
    weights: Floats = 0.5 ** (ago / HALF_LIFE)
    return weights


def _tastes(known: Receipts, weight: Floats, neighbours: bool = False) -> Tastes:
    households, rows = np.unique(known.household, return_inverse=True)
    products, columns = np.unique(known.product, return_inverse=True)
    wants = csr_matrix((weight, (rows, columns)), shape=(len(households), len(products)))
    return Tastes(households, products, wants, neighbours)
