"""What the tables must hold, by NumPy alone, and how readers of three kinds see them."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable

from nightscore import query
from tests.support.workspace import linear_model, rows_of

DAY = "2020-01-02"
TABLES = ("mini_scores", "mini_top")
NO_GRACE = -0.001  # hours: what was written in this second is old, too; buckets count in seconds


@dataclass(frozen=True)
class Truth:
    """One night of the job `mini`. Weights are powers of two: every float32 sum is the same everywhere."""

    rows: int
    weights: tuple[float, float] = (1.0, 2.0)
    n: int = 10
    day: str = DAY

    def write_model(self, root: Path) -> None:
        """Make this night's weights the job's model."""
        linear_model(root / "data/models/linear.onnx", self.weights)

    def table(self, name: str) -> pa.Table:
        """The rows of a table, in the order of the ids."""
        rows = rows_of(self.day, self.rows)
        id_, a, b = (rows.column(i).to_numpy() for i in range(3))
        score = a * np.float32(self.weights[0]) + b * np.float32(self.weights[1])
        if name == "mini_scores":
            return pa.table({"id": id_, "a": a, "score": score})
        best = np.lexsort((id_, -score))[: self.n]
        ranks = np.arange(1, len(best) + 1)
        order = np.argsort(id_[best])
        return pa.table({"id": id_[best][order], "score": score[best][order], "rank": ranks[order]})


@dataclass(frozen=True)
class Seen:
    """What a reader saw of one day of one table."""

    runs: frozenset[str]
    rows: pa.Table

    def is_(self, truth: Truth, name: str) -> bool:
        """Whether it is that night's table, all of one run."""
        return len(self.runs) == 1 and self.rows.equals(truth.table(name))


Reader = Callable[[Path, str], Seen]


def ours(root: Path, name: str, day: str = DAY) -> Seen:
    """Through `nightscore.query`, which goes by receipts."""
    return _seen(query(f"SELECT * FROM {name} WHERE day = $1", root, values=[day]))


def plain_delta(root: Path, name: str, day: str = DAY) -> Seen:
    """Through deltalake, knowing nothing of receipts."""
    table = DeltaTable(str(root / "data/tables" / name))
    return _seen(table.to_pyarrow_table(filters=[("day", "=", np.datetime64(day).item())]))


def plain_duckdb(root: Path, name: str, day: str = DAY) -> Seen:
    """Through DuckDB, over the table's list of files."""
    files = [f for f in DeltaTable(str(root / "data/tables" / name)).file_uris() if f"day={day}" in f]
    with duckdb.connect() as connection:
        relation = connection.sql("SELECT * FROM read_parquet($1, hive_partitioning = true)", params=[files])
        return _seen(relation.to_arrow_table())


def plain_files(root: Path, name: str, day: str = DAY) -> list[pa.Table]:
    """Every live file by itself, through pyarrow, its page checksums verified."""
    files = [f for f in DeltaTable(str(root / "data/tables" / name)).file_uris() if f"day={day}" in f]
    return [pq.read_table(f, partitioning=None, page_checksum_verification=True) for f in sorted(files)]


READERS: tuple[Reader, ...] = (ours, plain_delta, plain_duckdb)


def _seen(found: pa.Table) -> Seen:
    runs = frozenset(found.column("run_id").to_pylist())
    rows = found.drop([c for c in ("run_id", "day") if c in found.column_names])
    rows = rows.sort_by("id") if "id" in rows.column_names else rows
    return Seen(runs, rows.combine_chunks())


def receipts(root: Path) -> list[tuple[str, str, str]]:
    """(job, day, run_id) of every receipt row, in the order of the runs."""
    found = query("SELECT job, day::VARCHAR, run_id FROM receipts ORDER BY run_number", root)
    return [tuple(row.values()) for row in found.to_pylist()]


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, with its bytes, but what each run tells of itself (`data/attempts`)."""
    files = (p for p in sorted(folder.rglob("*")) if p.is_file() and "attempts" not in p.parts)
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


def staged(root: Path, pattern: str = "scores/*.parquet") -> dict[Path, tuple[int, int]]:
    """The staged files of all runs, with inode and time of change: the same pair is the same work."""
    found = (p for p in (root / "data/runs").glob(f"*/*/*/{pattern}") if not p.name.startswith("."))
    return {p: (p.stat().st_ino, p.stat().st_mtime_ns) for p in found}


def no_half_files(root: Path) -> None:
    """Below the tables' roots, whatever ends in .parquet is a whole Parquet file with the name of a run."""
    for path in (root / "data/tables").rglob("*.parquet"):
        assert not path.name.startswith((".", "_")), path
        assert pq.read_metadata(path).num_rows >= 0, path


def copy(template: Path, target: Path) -> Path:
    """A workspace of one's own, with the same names, bytes and times."""
    shutil.copytree(template, target, symlinks=True)
    return target
