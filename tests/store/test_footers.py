"""P3: what SQL says of rows never depends on what the footers of their Parquet files say.

This is the gate of every new DuckDB, pyarrow and deltalake (docs/deploy.md). DuckDB 2.0.0 took `IS NULL` to
be true of every row of a plain text column. DuckDB 2.0.1 believes that there is no NaN where a file's least
and greatest are none; told that there may be, it takes NaN for the greatest half float and the greatest
field of a struct of every file, and finds no half float by a Bloom filter. A failure prints its seed, and the
fewest rows and the question that show it; FOOTERS_SEED=… repeats it. `make faults` asks of other rows.
"""

import os
from pathlib import Path
from unittest.mock import MagicMock

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightscore.store import Engine, EngineResources, View
from nightscore.store.tables.staging import stage_batches
from tests.support.footers import COLUMNS, NAN, WRITERS, hunt, seeded
from tests.support.places import place

SEED = int(os.environ.get("FOOTERS_SEED", "130913"))
ASKED = 3_000  # questions of one turn, at least: each column of each type, by two writers


@pytest.mark.slow
@pytest.mark.parametrize("turn", range(4))
def test_answers_depend_on_no_footer(tmp_path: Path, turn: int) -> None:
    """Filters, aggregates, joins, top-n and windows of 30 kinds of columns are those of a table in memory."""
    asked, wrong = hunt(seeded(SEED + turn), tmp_path, files=1)
    assert not wrong, (
        f"FOOTERS_SEED={SEED + turn}, turn 0: {len(wrong)} of {asked} answers\n{wrong[0].told(tmp_path)}"
    )
    assert asked >= ASKED


@pytest.mark.slow
def test_answers_of_some_columns_depend_on_no_footer(tmp_path: Path) -> None:
    """The same of each fourth column, and of floats, by one writer."""
    some = [column for at, column in enumerate(COLUMNS) if at % 4 == 0 or column.name == "f64"]
    asked, wrong = hunt(seeded(SEED), tmp_path, columns=some, files=1, writers=WRITERS[:1])
    assert not wrong, f"FOOTERS_SEED={SEED}: {len(wrong)} of {asked} answers\n{wrong[0].told(tmp_path)}"
    assert asked >= ASKED / 12  # a fourth of the columns, by one writer instead of some


@pytest.mark.slow
def test_nulls_of_plain_columns_are_found(tmp_path: Path) -> None:
    """Texts and their like without a dictionary, of few values: where DuckDB 2.0.0 took all rows for null."""
    plain = [column for column in COLUMNS if column.name in ("t", "b")] * 4
    asked, wrong = hunt(seeded(SEED), tmp_path, columns=plain, files=2, writers=[WRITERS[2]])
    assert not wrong, f"FOOTERS_SEED={SEED}: {len(wrong)} of {asked} answers\n{wrong[0].told(tmp_path)}"


@pytest.mark.slow
def test_the_fuzz_finds_nan_where_footers_are_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It can fail: as DuckDB is by itself the same questions have wrong answers, of nested floats, too."""
    monkeypatch.setattr(Engine, "_lock_down", MagicMock())
    monkeypatch.setattr("nightscore.store.sql.engine.seen_as", MagicMock(return_value=""))
    floats = [column for column in COLUMNS if column.value in ("f64", "l[1]", "m['k']", "s.y")] * 2
    _, wrong = hunt(seeded(SEED), tmp_path, columns=floats, files=2, writers=WRITERS[:1])
    found = {one.column.name for one in wrong}
    assert "f64" in found
    assert {"l", "m", "s"} & found


@pytest.mark.slow
def test_the_fuzz_finds_what_duckdb_has_from_its_own_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It can fail: told of NaN, DuckDB 2.0 is wrong about structs and half floats, hence the TRY."""
    monkeypatch.setattr("nightscore.store.sql.engine.seen_as", MagicMock(return_value=""))
    columns = [column for column in COLUMNS if column.value in ("f16", "s.y")] * 2
    _, wrong = hunt(seeded(SEED), tmp_path, columns=columns, files=2)
    assert wrong, "DuckDB is right by itself: let the TRY go"


NESTED = {
    "list": (pa.list_(pa.float64()), [[1.0], [NAN], [2.0], None], "v[1]"),
    "fixed list": (pa.list_(pa.float32(), 1), [[1.0], [NAN], [2.0], None], "v[1]"),
    "struct": (pa.struct([("y", pa.float64())]), [{"y": 1.0}, {"y": NAN}, {"y": 2.0}, None], "v.y"),
    "map": (pa.map_(pa.string(), pa.float64()), [[("k", 1.0)], [("k", NAN)], [("k", 2.0)], None], "v['k']"),
    "struct of structs": (
        pa.struct([("s", pa.struct([("y", pa.float64())]))]),
        [{"s": {"y": 1.0}}, {"s": {"y": NAN}}, {"s": {"y": 2.0}}, None],
        "v.s.y",
    ),
    "float": (pa.float64(), [1.0, NAN, 2.0, None], "v"),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "values", "term"), NESTED.values(), ids=NESTED.keys())
@pytest.mark.parametrize("by_name", [False, True])
@pytest.mark.sample(4)
def test_nan_is_the_greatest_number_wherever_it_stands(
    tmp_path: Path, kind: pa.DataType, values: list[object], term: str, by_name: bool
) -> None:
    """In lists, fixed lists, structs, maps; of one file, and of two of which one lacks it."""
    for at in (0, 2):
        pq.write_table(
            pa.table({"id": [at, at + 1], "v": pa.array(values[at : at + 2], kind)}),
            tmp_path / f"{at}.parquet",
        )
    for files, greatest, found in (((0,), "nan", [1]), ((2,), "2.0", []), ((2, 0), "nan", [1])):
        view = View("rows", tuple(tmp_path / f"{at}.parquet" for at in files), by_name=by_name)
        with Engine([view], EngineResources(1, 64_000_000, tmp_path)) as engine:
            assert engine.rows(f"SELECT max({term})::VARCHAR FROM rows") == [(greatest,)]
            for test in (
                f"isnan({term})",
                f"{term} > 5",
                f"{term} = 'NaN'",
                f"nullif({term}, 'NaN') IS NULL AND {term} IS NOT NULL",
            ):
                assert engine.rows(f"SELECT id FROM rows WHERE {test} ORDER BY id") == [
                    (i,) for i in found
                ], test


def test_staged_files_have_no_statistics_of_floats(tmp_path: Path) -> None:
    """A foreign reader that believes them is led wrong by none of ours: DuckDB as it is, for one."""
    values = {
        "a.b": pa.array([1, 2, 3]), "t": pa.array(["x", None, "y"]), "h": pa.array([1, 2, 3], pa.float16()),
        "x": pa.array([1.0, NAN, None]), "l": pa.array([[1.0], [NAN], []]),
        "s": pa.array([{"y": 1.0, "n": 1}] * 3),
    }  # fmt: skip
    table = pa.table(values)
    stage_batches(place(tmp_path / "a.parquet"), table.to_batches(), table.schema)
    group = pq.read_metadata(tmp_path / "a.parquet").row_group(0)
    told = {group.column(i).path_in_schema: group.column(i).is_stats_set for i in range(group.num_columns)}
    assert told == {
        "a.b": True, "t": True, "h": False, "x": False, "l.list.element": False, "s.y": False, "s.n": True,
    }  # fmt: skip
    with duckdb.connect() as connection:
        for term in ("x", "l[1]"):
            sql = f"SELECT count(*) FROM '{tmp_path}/a.parquet' WHERE {term} > 5"
            assert connection.execute(sql).fetchall() == [(1,)]


def test_every_writer_is_asked() -> None:
    """Five writers at least, and twenty types."""
    assert len(WRITERS) >= 5
    assert len({column.type for column in COLUMNS}) >= 20
