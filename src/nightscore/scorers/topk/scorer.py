"""The best k items of each user: user factors x item factors, less what may not be given.

The model is a Parquet file with one row per item and the columns `item` (an integer or a text, distinct),
`factors` (as many floats in every row), and, where they are wanted, `bias` (a float that is added to the
item's score) and `available` (a boolean: an item that is not is never given). A row to score is a user: its
factors, and a list of items that it must not be given, where the job names such a column. What may not be
given is left out before the best k are chosen. So a user gets k distinct items, or all that are left if
they are fewer.

A score is the sum of products in float64, rounded once to float32; equal scores go to the smaller item. That
holds whatever chunks, blocks or threads there are (select.py says how).

Runs on the CPU and was tried on no other device: NumPy's BLAS multiplies, with one thread, because pieces run
in parallel. Items are sorted by the length of their factors, longest first, and a block of users is done as
soon as no item that is left can reach what its users have.
"""

import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from threadpoolctl import ThreadpoolController

from nightscore.scorers.arrays import tensor
from nightscore.scorers.contract import Options, Signature
from nightscore.scorers.errors import ChunkError, MissingValueError, ModelError
from nightscore.scorers.files.model_file import ModelFile
from nightscore.scorers.topk import select
from nightscore.scorers.topk.items import BLOCK_ITEMS, LARGEST, Doubles, Floats, Ints, norms, read_items

BLOCK_BYTES = 1 << 20  # scores of a block: users x items; they are read again while they are in the cache
CANDIDATE_BYTES = 16 << 20  # candidates of a block of users


@dataclass(frozen=True)
class Denied:
    """Items that may not be given: the places of row r are `places[starts[r]:starts[r + 1]]`, sorted."""

    places: Ints
    starts: Ints


class TopkScorer:
    """The best k items of each row."""

    def __init__(self, model: ModelFile, options: Options) -> None:
        """Read the items.

        Raises:
            ModelError: the items, or what the job asks for, are wrong.
        """
        if options.device not in ("auto", "cpu"):
            raise ModelError(
                f"{model.name}: kind topk has no device {options.device!r}; allowed: cpu", "device"
            )
        k, self._outputs = _asked(model.name, options)
        self._user, self._deny = _columns(model.name, options.columns)
        self._items = items = read_items(model)
        self._k = min(k, len(items.ids))
        candidates = CANDIDATE_BYTES // (8 * select.capacity(self._k))
        self._rows = max(1, min(BLOCK_BYTES // (4 * BLOCK_ITEMS), candidates))
        needed = [(self._user, pa.list_(pa.float32(), items.dimensions))]
        if self._deny is not None:
            needed.append((self._deny, pa.list_(items.ids.type)))
        kinds = {"items": pa.list_(items.ids.type), "scores": pa.list_(pa.float32())}
        outputs = [(name, kinds[source]) for name, source in self._outputs]
        self._signature = Signature(pa.schema(needed), pa.schema(outputs))

    @property
    def signature(self) -> Signature:
        """The columns needed and given."""
        return self._signature

    def score(self, chunk: pa.RecordBatch) -> pa.RecordBatch:
        """Each row's best items, the best first, as lists of at most k."""
        users = self._users(chunk)
        denied = self._denied(chunk)
        block = np.empty((self._rows, BLOCK_ITEMS), np.float32)
        with ONE_THREAD:
            keys = [
                self._best(users[first : first + self._rows], denied, first, block)
                for first in range(0, chunk.num_rows, self._rows)
            ]
        return self._lists(keys)

    def _users(self, chunk: pa.RecordBatch) -> Floats:
        """The users' factors [rows, filled], with a 1 for the bias."""
        items, name = self._items, self._user
        users = np.zeros((chunk.num_rows, items.factors.shape[1]), np.float32)
        with np.errstate(over="ignore"):
            users[:, : items.dimensions] = tensor(chunk.column(name), name, (items.dimensions,), np.float32)
        wrong = np.flatnonzero(~np.isfinite(users).all(axis=1))
        if len(wrong):
            raise ChunkError(
                f"column {name!r} has a null, NaN or infinite factor in row {wrong[0]} of the chunk"
            )
        if items.biased:
            users[:, items.dimensions] = 1
        wrong = np.flatnonzero(norms(users) * items.norms[0] > LARGEST)
        if len(wrong):
            raise ChunkError(
                f"column {name!r}: scores of row {wrong[0]} of the chunk may be above {LARGEST:g}, "
                "which float32 does not hold"
            )
        return users

    def _denied(self, chunk: pa.RecordBatch) -> Denied:
        rows, items = chunk.num_rows, self._items
        if self._deny is None:
            return Denied(np.empty(0, np.int64), np.zeros(rows + 1, np.int64))
        lists = chunk.column(self._deny)
        flat = lists.flatten()
        if lists.null_count or flat.null_count:
            raise MissingValueError(
                f"column {self._deny!r} has null values; a row that denies nothing has an empty list: "
                "coalesce(…, []) in the features SQL"
            )
        number = pc.index_in(flat.cast(items.ids.type), value_set=items.ids)
        lengths = pc.list_value_length(lists).to_numpy(zero_copy_only=False).astype(np.int64)
        row = np.repeat(np.arange(rows), lengths)[number.is_valid().to_numpy(zero_copy_only=False)]
        size = len(items.places)
        both = np.sort(row * size + items.places[number.drop_null().to_numpy()])
        starts = np.searchsorted(both, np.arange(rows + 1) * size)
        return Denied(both % size, starts)

    def _best(self, users: Floats, denied: Denied, first: int, block: Floats) -> select.Keys:
        """The keys of the best items [rows, k or fewer], sorted, NONE at the end of short lists."""
        items, k, rows = self._items, self._k, len(users)
        width, most = items.blocks.shape[1], select.capacity(k)
        lengths = norms(users)
        margins = _margins(lengths * items.norms[0], width)
        cuts = np.full(rows, -np.inf, np.float32)
        ranks, candidates = np.empty((rows, most), np.int32), np.empty((rows, most), np.int32)
        counts = np.zeros(rows, np.int64)
        at, ends = (denied.starts[first + i : first + i + rows].copy() for i in (0, 1))
        scores = block[:rows]
        for number, factors in enumerate(items.blocks):
            longest = items.norms[number * BLOCK_ITEMS]
            if ((lengths * longest * (1 + 1e-9) < cuts) | (counts < 0)).all():
                break
            np.matmul(users[:, :width], factors, out=scores)
            select.add_candidates(
                scores,
                number * BLOCK_ITEMS,
                denied.places,
                ends,
                at,
                k,
                margins,
                cuts,
                ranks,
                candidates,
                counts,
            )
        select.drop_the_rest(k, margins, cuts, ranks, candidates, counts)
        many = np.flatnonzero(counts < 0)
        keys = np.full((rows, max(counts.max(), k if len(many) else 0)), select.NONE)
        select.exact_keys(users, items.factors, items.numbers, candidates, counts, keys)
        keys.sort(axis=1)
        for row in many:
            best = self._best_of_all(users[row], denied, first + int(row))
            keys[row, : len(best)] = best
        return keys[:, :k]

    def _best_of_all(self, user: Floats, denied: Denied, row: int) -> select.Keys:
        """The same of one row, in whose scores there are too many ties to choose candidates."""
        items = self._items
        is_allowed = np.ones(len(items.ids), np.bool_)
        is_allowed[denied.places[denied.starts[row] : denied.starts[row + 1]]] = False
        candidates = np.flatnonzero(is_allowed).astype(np.int32)[None]
        counts = np.array([candidates.shape[1]])
        keys = np.empty(candidates.shape, np.uint64)
        select.exact_keys(user[None], items.factors, items.numbers, candidates, counts, keys)
        return np.sort(keys[0])[: self._k]

    def _lists(self, keys: Sequence[select.Keys]) -> pa.RecordBatch:
        lengths = [np.count_nonzero(part != select.NONE, axis=1) for part in keys]
        offsets = np.cumsum(np.concatenate([np.zeros(1, np.int64), *lengths]))
        flat = np.concatenate([np.empty(0, np.uint64), *(part[part != select.NONE] for part in keys)])
        values = {
            "items": self._items.ids.take(pa.array(select.items_of(flat))),
            "scores": pa.array(select.scores_of(flat)),
        }
        starts = pa.array(offsets.astype(np.int32))
        lists = [pa.ListArray.from_arrays(starts, values[source]) for _, source in self._outputs]
        return pa.RecordBatch.from_arrays(lists, schema=self._signature.outputs)


def open_topk(model: ModelFile, options: Options) -> TopkScorer:
    """A scorer for a file of item factors. Errors as `TopkScorer`'s."""
    return TopkScorer(model, options)


def _asked(name: str, options: Options) -> tuple[int, list[tuple[str, str]]]:
    """The number of items that a row gets, and the outputs: (column, `items` or `scores`)."""
    outputs, sizes = [], set()
    for column, source in options.outputs.items():
        match = re.fullmatch(r"(items|scores)\[([1-9][0-9]{0,8})\]", source)
        if match is None:
            raise ModelError(
                f"{name}: output {column!r}: {source!r} is no output of kind topk; allowed: items[k] and "
                "scores[k], k being how many a row gets, such as items[100]",
                "outputs",
            )
        outputs.append((column, match[1]))
        sizes.add(int(match[2]))
    if len(sizes) != 1:
        raise ModelError(
            f"{name}: outputs ask for {' and '.join(map(str, sorted(sizes)))} items a row; allowed: one k",
            "outputs",
        )
    return sizes.pop(), outputs


def _columns(name: str, columns: Sequence[str] | None) -> tuple[str, str | None]:
    """The columns of the user's factors and of the items that it must not be given."""
    names = list(columns or ("factors",))
    if len(names) > 2 or len(set(names)) != len(names):
        raise ModelError(
            f"{name}: columns {names}: kind topk takes the column of the user's factors and, if there is "
            "one, that of the items that it must not be given",
            "columns",
        )
    return names[0], names[1] if len(names) == 2 else None


def _margins(largest: Doubles, width: int) -> Floats:
    """Twice the most by which a float32 sum of `width` products, in any order, may be beside the exact one.

    `largest` bounds the sum of the products' sizes (Cauchy and Schwarz). The eight more are for the roundings
    of the exact score and of the cut; the last term is for products so small that they lose digits.
    """
    margins: Floats = (2 * ((width + 8) * 2.0**-24 * 1.01 * largest + 1e-37)).astype(np.float32)
    return margins


class _OneThread:
    """While any chunk is scored, BLAS has one thread in this process; afterwards as many as before.

    Two threads that call an OpenBLAS of two threads each take six times as long as two of one.
    """

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0
        self._libraries = ThreadpoolController().select(user_api="blas").lib_controllers
        self._before: list[int] = []

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._before = [library.num_threads for library in self._libraries]
                self._set([1] * len(self._libraries))
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._set(self._before)

    def _set(self, threads: Sequence[int]) -> None:
        for library, count in zip(self._libraries, threads, strict=True):
            # threadpoolctl 3.8's public function does nothing, and says nothing, for any thread but
            # the first that called it. Here whoever comes first or goes last calls it, under a lock.
            getattr(library, "_real_set_num_threads", library.set_num_threads)(count)


ONE_THREAD = _OneThread()
