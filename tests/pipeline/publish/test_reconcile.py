"""Is a key a key? Held to a count by Python's own sets, on any rows, cut in any files."""

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightscore.common.errors import Broken
from nightscore.pipeline.publish import reconcile
from nightscore.pipeline.publish.reconcile import keys_ascend, refuse_bad_keys
from nightscore.store.sql.engine import Engine, EngineResources
from nightscore.store.sql.views import View

SCHEMA = pa.schema([("store", pa.string()), ("item", pa.int64())])
Row = tuple[str | None, int | None]


def written(folder: Path, parts: list[list[Row]]) -> list[Path]:
    paths = []
    for i, rows in enumerate(parts):
        paths.append(folder / f"{i}.parquet")
        columns = [pa.array([row[c] for row in rows], SCHEMA.field(c).type) for c in range(2)]
        pq.write_table(pa.table(columns, schema=SCHEMA), paths[-1], write_page_checksum=True)
    return paths


def verdict(folder: Path, files: list[Path]) -> str:
    with Engine([View("scores", tuple(files))], EngineResources(1, 200_000_000, folder)) as engine:
        try:
            refuse_bad_keys(engine, files, SCHEMA.names, "job mini, day 2020-01-02")
        except Broken as error:
            return str(error)
    return ""


rows = st.tuples(st.sampled_from(["", "a", "ä", "b", None]), st.integers(-3, 3) | st.none())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(rows, max_size=12), min_size=1, max_size=3), st.booleans(), st.data())
@pytest.mark.slow
def test_a_null_or_a_key_that_stands_twice_is_found_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, parts: list[list[Row]], in_order: bool, data: Any
) -> None:
    """Sorted or not, in one file or several, batches and shares of any size."""
    folder = tmp_path_factory.mktemp("keys")
    if in_order:
        flat = sorted((r for part in parts for r in part if None not in r), key=str)
        cut = data.draw(st.integers(0, len(flat)))
        parts = [flat[:cut], flat[cut:]]
    counts = Counter(row for part in parts for row in part)
    nulls = sum(n for row, n in counts.items() if None in row)
    twice = [row for row, n in counts.items() if n > 1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reconcile, "BATCH", data.draw(st.integers(1, 5)))
        patch.setattr(reconcile, "AT_ONCE", data.draw(st.sampled_from([1, 7, 8_000_000])))
        said = verdict(folder, written(folder, parts))
    if nulls:
        assert f"{nulls} rows have a null in their key (store, item)" in said
    elif twice:
        assert "the key is not unique within the day" in said
        assert any(
            f"store={store}, item={item} ({counts[store, item]} rows)" in said for store, item in twice
        )
    else:
        assert said == ""


def test_keys_that_rise_are_known_to_be_unique_at_one_look(tmp_path: Path) -> None:
    """Files of rising ranges in any order of files; one row out of order, or ranges that meet, are not."""
    first: list[Row] = [("a", i) for i in range(100)]
    second: list[Row] = [("b", i) for i in range(100)]
    assert keys_ascend(written(tmp_path, [second, [], first]), SCHEMA.names)
    assert not keys_ascend(written(tmp_path, [first, [("a", 99), *second]]), SCHEMA.names)
    assert not keys_ascend(written(tmp_path, [[*second[:50], second[0], *second[50:]]]), SCHEMA.names)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1.0, float("nan"), 2.0]),
        pa.array([[1], [2], [3]], pa.list_(pa.int64())),
        pa.array([False, True, True]),
    ],
)
def test_keys_without_an_order_here_take_the_other_look(tmp_path: Path, column: pa.Array) -> None:
    """NaN, lists, and what repeats: never taken for rising."""
    pq.write_table(pa.table({"k": column}), tmp_path / "k.parquet")
    assert not keys_ascend([tmp_path / "k.parquet"], ["k"])
