"""The best k items of each user: against a plain recount, with ties and masks, and the same in any chunks."""

# ruff: noqa: E501 - a row of a table of cases is one line

import io
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from nightscore.scorers.contract import Options
from nightscore.scorers.errors import ChunkError, ModelError
from nightscore.scorers.files.model_file import ModelFile
from nightscore.scorers.registry import open_scorer
from nightscore.scorers.testing import check_scorer
from nightscore.scorers.topk import TopkScorer
from nightscore.scorers.topk import scorer as topk
from nightscore.scorers.topk.items import BLOCK_ITEMS

Floats = npt.NDArray[np.float32]
Lists = list[tuple[list[Any], list[float]]]
INT64 = pa.int64()
BOTH = ("factors", "deny")


def model(factors: Floats, items: Sequence[Any] | None = None, **columns: Any) -> ModelFile:
    """A model file: `factors` [items, dimensions], ids 0, 1, … where none are given."""
    ids = list(range(len(factors))) if items is None else items
    return packed(
        {
            "item": ids,
            "factors": pa.FixedSizeListArray.from_arrays(factors.ravel(), factors.shape[1]),
            **columns,
        }
    )


def packed(columns: Any) -> ModelFile:
    file = io.BytesIO()
    pq.write_table(columns if isinstance(columns, pa.Table) else pa.table(columns), file)
    return ModelFile("m.parquet", "", file.getvalue())


def opened(file: ModelFile, k: int = 3, columns: Sequence[str] | None = None) -> TopkScorer:
    found = open_scorer("topk", file, Options({"best": f"items[{k}]", "s": f"scores[{k}]"}, columns))
    assert isinstance(found, TopkScorer)
    return found


def users(
    factors: Floats, deny: Sequence[Sequence[Any]] | None = None, kind: pa.DataType = INT64
) -> pa.RecordBatch:
    lists = pa.FixedSizeListArray.from_arrays(np.ascontiguousarray(factors).ravel(), factors.shape[1])
    if deny is None:
        return pa.RecordBatch.from_arrays([lists], ["factors"])
    return pa.RecordBatch.from_arrays([lists, pa.array(deny, pa.list_(kind))], list(BOTH))


def lists(found: pa.RecordBatch) -> Lists:
    return list(zip(found["best"].to_pylist(), found["s"].to_pylist(), strict=True))


def recount(  # noqa: PLR0917
    user: Floats,
    items: Floats,
    ids: Sequence[Any],
    k: int,
    deny: Sequence[Sequence[Any]],
    bias: Floats | None = None,
) -> Lists:
    """All scores in float64, rounded to float32, sorted by score and id; the first k that may be given."""
    exact = user.astype(np.float64) @ items.astype(np.float64).T + (0 if bias is None else bias)
    found = []
    for row, denied in zip(exact.astype(np.float32), deny, strict=True):
        order = sorted((-float(s), i) for s, i in zip(row, ids, strict=True) if i not in set(denied))[:k]
        found.append(([i for _, i in order], [-s for s, _ in order]))
    return found


def random_users(rows: int, dimensions: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).standard_normal((rows, dimensions), dtype=np.float32)


# --- right ---


@settings(max_examples=60, deadline=None)
@given(st.data())
@pytest.mark.slow
def test_the_best_k_are_those_of_a_plain_recount(data: st.DataObject) -> None:
    """Any sizes, ids, biases and masks. Small whole numbers, so that sums are exact and ties are common."""
    count, dimensions = data.draw(st.integers(1, 200)), data.draw(st.integers(1, 12))
    rows, k = data.draw(st.integers(0, 20)), data.draw(st.integers(1, 250))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    spread = data.draw(st.sampled_from([0, 1, 3, 1000]))
    whole = lambda *shape: rng.integers(-spread, spread + 1, shape).astype(np.float32)  # noqa: E731
    items, mine, bias = whole(count, dimensions), whole(rows, dimensions), whole(count)
    ids = rng.choice(10**12, count, replace=False) - 5 * 10**11
    available = rng.random(count) < data.draw(st.sampled_from([0.1, 0.9, 1.1]))
    available[rng.integers(count)] = True
    some = np.concatenate([ids, [7, -1]])  # two that are no items
    deny = [rng.choice(some, rng.integers(0, 2 * count)).tolist() for _ in range(rows)]
    scorer = opened(model(items, ids, bias=bias, available=available), k, BOTH)
    found = scorer.score(users(mine, deny))
    wanted = recount(mine, items[available], ids[available].tolist(), k, deny, bias[available])
    assert lists(found) == wanted


@pytest.mark.parametrize("shape", ["normal", "long tail", "tiny", "huge", "low rank"])
@pytest.mark.sample(2)
def test_real_numbers_give_the_exact_order(shape: str) -> None:
    """Several blocks of items and users: no item is missed for the rounding errors of the product."""
    rng = np.random.default_rng(5)
    count, dimensions, k = 2 * BLOCK_ITEMS + 77, 17, 40
    items, mine = random_users(count, dimensions, 1), random_users(300, dimensions, 2)
    if shape == "long tail":
        items *= rng.pareto(1.0, (count, 1)).astype(np.float32)
    if shape in ("tiny", "huge"):
        items *= np.float32(1e-30 if shape == "tiny" else 1e30)
        mine *= np.float32(1e-12 if shape == "tiny" else 1e3)
    if shape == "low rank":
        items, mine = np.float16(items[:, :1]).astype(np.float32), mine[:, :1]
    ids = rng.permutation(count)
    found = lists(opened(model(items, ids), k).score(users(mine)))
    wanted = recount(mine, items, ids.tolist(), k, [()] * len(mine))
    for (best, scores), (best_, scores_) in zip(found, wanted, strict=True):
        np.testing.assert_allclose(scores, scores_, rtol=2e-7, atol=1e-37)  # sums in another order
        apart = [pair for pair in zip(best, best_, strict=True) if pair[0] != pair[1]]
        assert len(apart) <= 2 and len(set(best)) == k
        assert (np.diff(scores) <= 0).all()


@pytest.mark.parametrize("count", [70, 150, 5000])
def test_scores_that_the_product_can_not_tell_apart_are_told_apart(count: int) -> None:
    """Near-duplicates, whose scores differ by the last bit or two: fewer and more than there is room for."""
    rng = np.random.default_rng(2)
    base = random_users(1, 64, 1)
    items = (base * (1 + rng.uniform(0, 3e-7, (count, 1)) + rng.uniform(0, 1e-7, (count, 64)))).astype(
        np.float32
    )
    mine = random_users(50, 64, 2)
    found = lists(opened(model(items), 40).score(users(mine)))
    assert found == recount(mine, items, range(count), 40, [()] * 50)


def test_a_score_is_the_sum_of_exact_products() -> None:
    """Scores that float32 sums lose: 2**24 + 1 - 2**24, in every place of a row."""
    items = np.zeros((3, 11), np.float32)
    items[0, [2, 9]], items[1, 5], items[2] = [2**24, -(2**24)], 1, 0.5
    mine = np.ones((1, 11), np.float32)
    items[0, 5] = 1
    assert lists(opened(model(items)).score(users(mine))) == [([2, 0, 1], [5.5, 1.0, 1.0])]


@pytest.mark.parametrize("same", ["items", "users"])
def test_thousands_of_ties_go_to_the_smaller_items(same: str) -> None:
    """All items alike, or users without any taste: the smallest ids that may be given."""
    count, k = 3 * BLOCK_ITEMS, 25
    items, mine = random_users(count, 8, 1), random_users(5, 8, 2)
    if same == "items":
        items[:] = items[0]
    else:
        mine[:] = 0
    ids = np.random.default_rng(1).permutation(count)
    deny = [list(range(i, 10 * i)) for i in range(5)]
    found = lists(opened(model(items, ids), k, BOTH).score(users(mine, deny)))
    assert [best for best, _ in found] == [[i for i in range(count) if i not in no][:k] for no in deny]
    assert all(len(set(scores)) == 1 for _, scores in found)


def test_rows_with_ties_stand_beside_rows_without() -> None:
    """A user whose candidates are too many changes nothing for the users of its block."""
    items, mine = random_users(2 * BLOCK_ITEMS, 8, 1), random_users(9, 8, 2)
    scorer = opened(model(items), 30)
    alone = lists(scorer.score(users(mine)))
    mine[4] = 0
    found = lists(scorer.score(users(mine)))
    assert [one for i, one in enumerate(found) if i != 4] == [one for i, one in enumerate(alone) if i != 4]
    assert found[4] == (list(range(30)), [0.0] * 30)


def test_what_is_denied_makes_room_for_the_next() -> None:
    """Masks come before the top k: a list is full as long as items are left."""
    items, mine = random_users(500, 6, 1), random_users(4, 6, 2)
    scorer = opened(model(items), 10, BOTH)
    first = lists(scorer.score(users(mine, [[]] * 4)))
    then = lists(scorer.score(users(mine, [best for best, _ in first])))
    both = lists(opened(model(items), 20).score(users(mine)))
    assert [(a + b, s + t) for (a, s), (b, t) in zip(first, then, strict=True)] == both


def test_fewer_items_than_k_give_shorter_lists() -> None:
    """Nothing is made up: what is left, or an empty list."""
    scorer = opened(model(np.eye(3, dtype=np.float32), [5, 3, 4]), 10, BOTH)
    mine = np.array([[1, 2, 3]] * 3, np.float32)
    found = lists(scorer.score(users(mine, [[], [4], [3, 4, 5]])))
    assert found == [([4, 3, 5], [3, 2, 1]), ([3, 5], [2, 1]), ([], [])]


def test_what_is_not_available_is_never_given() -> None:
    """However high its score; denying it besides changes nothing."""
    items = np.array([[3], [2], [1]], np.float32)
    scorer = opened(model(items, available=[False, True, True]), 3, BOTH)
    assert lists(scorer.score(users(np.ones((1, 1), np.float32), [[0, 2]]))) == [([1], [2.0])]


def test_items_may_be_texts() -> None:
    """Ties go by the order of their bytes."""
    scorer = opened(model(np.ones((4, 2), np.float32), ["b", "a", "é", "c"]), 3, BOTH)
    assert scorer.signature.outputs.field("best").type == pa.list_(pa.string())
    found = scorer.score(users(np.ones((2, 2), np.float32), [["c", "x"], []], pa.string()))
    assert found["best"].to_pylist() == [["a", "b", "é"], ["a", "b", "c"]]


def test_one_output_alone_in_any_order() -> None:
    """The job names the columns, and leaves out what it doesn't want."""
    file, chunk = model(random_users(20, 3)), users(random_users(5, 3, 1))
    both = opened(file, 4).score(chunk)
    other = open_scorer("topk", file, Options({"s": "scores[4]", "best": "items[4]"})).score(chunk)
    assert other.schema.names == ["s", "best"] and other["best"].equals(both["best"])
    assert open_scorer("topk", file, Options({"x": "items[4]"})).score(chunk)["x"].equals(both["best"])


# --- the same in any way ---


def test_the_contract_holds() -> None:
    """No tolerance: bits are the same for any chunking, order and thread."""
    rng = np.random.default_rng(3)
    items, mine = random_users(1500, 24, 1), random_users(400, 24, 2)
    deny = [rng.choice(1600, rng.integers(0, 50)).tolist() for _ in range(400)]
    check_scorer(opened(model(items), 20, BOTH), users(mine, deny))


def test_a_row_alone_gives_the_same_bits_as_in_a_block() -> None:
    """OpenBLAS multiplies one row by other code than many: the product chooses candidates, no more."""
    mine = random_users(64, 64, 2)
    scorer = opened(model(random_users(3000, 64, 1)), 50)
    alone = [scorer.score(users(row[None])) for row in mine]
    assert scorer.score(users(mine)).equals(pa.concat_batches(alone))


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """One user at a time, or all that the budget allows."""
    items, mine = random_users(2000, 24, 1), random_users(300, 24, 2)
    found = opened(model(items), 20).score(users(mine))
    monkeypatch.setattr(topk, "CANDIDATE_BYTES", 1)
    assert opened(model(items), 20)._rows == 1
    assert opened(model(items), 20).score(users(mine)).equals(found)


def test_the_order_of_the_file_changes_nothing() -> None:
    """Rows of the model file in any order, its factors in any type of list."""
    items, order = random_users(700, 5, 1), np.random.default_rng(0).permutation(700)
    chunk = users(random_users(50, 5, 2))
    found = opened(model(items)).score(chunk)
    assert opened(model(items[order], order)).score(chunk).equals(found)
    for kind in (pa.list_(pa.float32()), pa.large_list(pa.float64())):
        assert (
            opened(packed({"item": range(700), "factors": pa.array(items.tolist(), kind)}))
            .score(chunk)
            .equals(found)
        )
    lists_ = chunk.set_column(0, "factors", chunk["factors"].cast(pa.list_(pa.float32())))
    assert opened(model(items)).score(lists_).equals(found)


def test_blas_has_one_thread_while_rows_are_scored_and_as_many_as_before_afterwards() -> None:
    """Whichever thread comes first or goes last, also where another one has set the number before."""

    def threads() -> set[int]:
        return {library.num_threads for library in topk.ONE_THREAD._libraries}

    with threadpool_limits(2, "blas"), ThreadPoolExecutor(2) as pool:
        assert threads() == {2}
        pool.submit(topk.ONE_THREAD.__enter__).result()
        with topk.ONE_THREAD:
            assert threads() == {1}
        assert threads() == {1}
        pool.submit(topk.ONE_THREAD.__exit__).result()
        assert threads() == {2}


def test_an_early_end_loses_nothing() -> None:
    """Items with short factors can't reach the best of the long ones: their blocks are not multiplied."""
    items = random_users(4 * BLOCK_ITEMS, 8, 1)
    items[BLOCK_ITEMS // 2 :] *= np.float32(0.01)
    mine = random_users(40, 8, 2)
    order = np.random.default_rng(0).permutation(len(items))
    found = lists(opened(model(items[order]), 20).score(users(mine)))
    wanted = recount(mine, items[order], range(len(items)), 20, [()] * 40)
    assert [best for best, _ in found] == [best for best, _ in wanted]


# --- what can't be scored ---

ONE = np.ones((1, 2), np.float32)
CHUNKS = {
    "NaN": (users(np.array([[1, 1], [1, np.nan]], np.float32)), r"^column 'factors' has a null, NaN or infinite factor in row 1"),
    "infinite": (users(np.array([[np.inf, 1]], np.float32)), r"^column 'factors' has a null, NaN or infinite factor in row 0"),
    "a null factor": (pa.RecordBatch.from_arrays([pa.array([[1.0, None]])], ["factors"]), r"^column 'factors' has a null, NaN or infinite factor"),
    "no factors": (pa.RecordBatch.from_arrays([pa.array([[1.0, 2.0], None])], ["factors"]), r"^column 'factors' has 1 null values; a tensor has none$"),
    "too few factors": (pa.RecordBatch.from_arrays([pa.array([[1.0, 2.0], [1.0]])], ["factors"]), r"^column 'factors' holds 1 values in row 1 of the chunk; the model needs 2$"),
    "beyond float32": (users(np.array([[1e38, 1e38]], np.float32)), r"^column 'factors': scores of row 0 of the chunk may be above 1e\+37"),
}  # fmt: skip


@pytest.mark.parametrize(("chunk", "says"), CHUNKS.values(), ids=CHUNKS.keys())
def test_a_user_that_can_not_be_scored_is_refused(chunk: pa.RecordBatch, says: str) -> None:
    """With the column and the row."""
    with pytest.raises(ChunkError, match=says):
        opened(model(ONE)).score(chunk)


@pytest.mark.parametrize("deny", [[None], [[1, None]]])
def test_a_deny_list_has_no_nulls(deny: Any) -> None:
    """A null is no empty list: whoever forgot a join would give what must not be given."""
    with pytest.raises(
        ChunkError, match=r"^column 'deny' has null values; a row that denies nothing has an empty"
    ):
        opened(model(ONE), columns=BOTH).score(users(ONE, deny))


def test_what_does_not_serve_is_a_misfit() -> None:
    """Said before a row is read; narrower integers serve a deny list, texts don't."""
    needs = opened(model(ONE), columns=("mine", "no")).signature
    assert needs.inputs == pa.schema([("mine", pa.list_(pa.float32(), 2)), ("no", pa.list_(pa.int64()))])
    fits = pa.list_(pa.float64(), 2)
    for kind in (
        pa.list_(pa.int64()),
        pa.list_(pa.int32()),
        pa.large_list(pa.int64()),
        pa.list_(pa.int8(), 3),
    ):
        assert needs.misfits(pa.schema([("mine", fits), ("no", kind)])) == []
    for kind in (pa.int64(), pa.list_(pa.string()), pa.list_(pa.float64())):
        [said] = needs.misfits(pa.schema([("mine", fits), ("no", kind)]))
        assert said.startswith(f"column 'no' is {kind}; the model needs list<")
    [said] = needs.misfits(pa.schema([("mine", pa.list_(pa.float32(), 3)), ("no", pa.list_(pa.int64()))]))
    assert said.startswith("column 'mine' is fixed_size_list<")


FACTORS = pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float32()))
MISFITS: dict[str, tuple[Any, str]] = {
    "no Parquet": (ModelFile("m.parquet", "", b"this is no model"), "no Parquet file: "),
    "no factors": ({"item": [1]}, "has the columns item; needed: item, factors"),
    "a column too many": ({"item": [1, 2], "factors": FACTORS, "availble": [True, True]}, "has the columns item, factors, availble; needed"),
    "an item twice": ({"item": [7, 7], "factors": FACTORS}, "item 7 stands there twice"),
    "an item that is null": ({"item": [7, None], "factors": FACTORS}, "column 'item' has 1 null values"),
    "items of floats": ({"item": [0.5, 1.0], "factors": FACTORS}, "column 'item' is double; allowed: integers, or texts"),
    "factors that are no lists": ({"item": [1], "factors": [1.0]}, "column 'factors' is double, 1 rows; needed: lists of floats"),
    "no items": ({"item": pa.array([], pa.int64()), "factors": FACTORS.slice(0, 0)}, "column 'factors' is list<"),
    "factors of two lengths": ({"item": [1, 2], "factors": [[1.0], [1.0, 2.0]]}, "column 'factors' holds 2 values in row 1"),
    "a NaN": ({"item": [1, 9], "factors": [[1.0], [float("nan")]]}, "item 9 has a factor or bias that is no finite number"),
    "a null factor": ({"item": [1, 9], "factors": [[None], [1.0]]}, "item 1 has a factor or bias that is no finite number"),
    "an infinite bias": ({"item": [1, 9], "factors": FACTORS, "bias": [0.0, float("inf")]}, "item 9 has a factor or bias that is no finite number"),
    "a factor beyond float32": ({"item": [1], "factors": [[1e300]]}, "item 1 has a factor or bias that is no finite number"),
    "scores beyond float32": ({"item": [1], "factors": [[1e38]]}, "factors above 1e+37"),
    "availability of another type": ({"item": [1, 2], "factors": FACTORS, "available": [1, 0]}, "column 'available' is int64; allowed: booleans"),
    "nothing available": ({"item": [1, 2], "factors": FACTORS, "available": [False, False]}, "no item is available"),
    "a bias of texts": ({"item": [1, 2], "factors": FACTORS, "bias": ["a", "b"]}, "column 'bias' is string; allowed: numbers"),
}  # fmt: skip


@pytest.mark.parametrize(("file", "says"), MISFITS.values(), ids=MISFITS.keys())
def test_a_file_that_is_no_model_says_why(file: Any, says: str) -> None:
    """With the column or the item, and what is allowed."""
    with pytest.raises(ModelError) as caught:
        opened(file if isinstance(file, ModelFile) else packed(file))
    assert str(caught.value).startswith(f"m.parquet: {says}")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            Options({"a": "items"}),
            "output 'a': 'items' is no output of kind topk; allowed: items[k] and scores[k]",
        ),
        (Options({"a": "items[0]"}), "output 'a': 'items[0]' is no output"),
        (Options({"a": "items[*]"}), "output 'a': 'items[*]' is no output"),
        (Options({"a": "y[3]"}), "output 'a': 'y[3]' is no output"),
        (Options({"a": "items[3]", "b": "scores[4]"}), "outputs ask for 3 and 4 items a row; allowed: one k"),
        (Options({"a": "items[3]"}, ["a", "b", "c"]), "columns ['a', 'b', 'c']: kind topk takes the column"),
        (Options({"a": "items[3]"}, ["a", "a"]), "columns ['a', 'a']: kind topk takes the column"),
        (
            Options({"a": "items[3]"}, device="cuda"),
            "kind topk has no device 'cuda'; allowed: cpu",
        ),
    ],
)
def test_what_the_job_asks_amiss_is_refused(options: Options, says: str) -> None:
    """When the model is opened."""
    with pytest.raises(ModelError) as caught:
        open_scorer("topk", model(ONE), options)
    assert str(caught.value).startswith(f"m.parquet: {says}")


@pytest.mark.slow
def test_many_calls_keep_no_memory() -> None:
    """Resident memory stays where it is after two hundred chunks, in a process of its own."""
    code = """
import resource, sys
from tests.scorers.topk.test_scorer import model, opened, random_users, users
scorer, chunk = opened(model(random_users(5000, 16, 1)), 50), users(random_users(500, 16, 2))
for _ in range(20):
    scorer.score(chunk)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for _ in range(200):
    scorer.score(chunk)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 20_000  # kB; the lists of all calls are 120,000
