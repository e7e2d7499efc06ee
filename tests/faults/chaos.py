"""One workspace over many nights with all that goes wrong, and what NumPy alone says its tables must hold.

`Days` changes the inputs and the model on disk and knows, for each day, which tables readers may see:
the one they see now, or one of those that a run which was killed or is frozen may still publish.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable

from nightscore import query
from nightscore.common.workspace import open_workspace
from nightscore.store.published.catalog import read_catalog
from tests.support.workspace import DAYS, JOB, linear_model, make_workspace

TABLES = ("mini_scores", "mini_top")
HOLDABLE = JOB.replace(
    "audit:\n",
    "  hold: {type: boolean, default: false, about: the day is held}\n"
    "audit:\n  - {name: not to be held, sql: SELECT NOT getvariable('hold')}\n",
)
SCHEMA = pa.schema([("id", pa.int64()), ("a", pa.float32()), ("b", pa.float32())])
COLUMNS = {"mini_scores": ["id", "a", "score"], "mini_top": ["id", "score", "rank"]}
BOTH = """
SELECT 'mini_scores' AS name, day::VARCHAR AS day, run_id, id, a, score, NULL AS rank FROM mini_scores
UNION ALL BY NAME
SELECT 'mini_top' AS name, day::VARCHAR AS day, run_id, id, NULL::FLOAT AS a, score, rank FROM mini_top
"""


@dataclass(frozen=True)
class Causes:
    """What a day is made from: (seed, rows) of each input file, the model's weights, the parameter n."""

    parts: tuple[tuple[int, int], ...]
    weights: tuple[float, float] = (1.0, 2.0)
    n: int = 10

    def part(self, index: int) -> pa.Table:
        """The rows of one input file; ids go on from file to file."""
        seed, rows = self.parts[index]
        first = sum(count for _, count in self.parts[:index])
        values = np.random.default_rng(seed).random((2, rows), dtype=np.float32)
        columns = [pa.array(np.arange(first, first + rows)), pa.array(values[0]), pa.array(values[1])]
        return pa.table(columns, schema=SCHEMA)

    def table(self, name: str) -> pa.Table:
        """The published rows of the day, in the order of the ids, by NumPy."""
        rows = pa.concat_tables([self.part(i) for i in range(len(self.parts))])
        id_, a, b = (column.to_numpy() for column in rows.columns)
        score = a * np.float32(self.weights[0]) + b * np.float32(self.weights[1])
        if name == "mini_scores":
            return pa.table({"id": id_, "a": a, "score": score})
        best = np.lexsort((id_, -score))[: self.n]
        ranks = np.arange(1, len(best) + 1)
        order = np.argsort(id_[best])
        return pa.table({"id": id_[best][order], "score": score[best][order], "rank": ranks[order]})


@dataclass
class Day:
    """`now` are the causes on disk, `shown` those of the table that readers see.

    `damaged`: no run of it can succeed. `killed` and `frozen` hold what may still be published, `held` what
    a person may release.
    """

    now: Causes
    shown: Causes | None = None
    damaged: bool = False
    killed: set[Causes] = field(default_factory=set)
    frozen: list[Causes] = field(default_factory=list)
    held: Causes | None = None

    @property
    def possible(self) -> list[Causes]:
        """What a reader may see next without another run, beside what it sees now."""
        return [*self.killed, *self.frozen]


class Days:
    """The workspace, and the checker of all its readers."""

    def __init__(self, folder: Path) -> None:
        self.root = make_workspace(folder / "w", 1, job=HOLDABLE, days=())
        self.days = {day: Day(Causes(((i, 20),))) for i, day in enumerate(DAYS)}
        self.ever: dict[str, set[Causes]] = {day: set() for day in DAYS}
        self.runs: dict[str, Causes] = {}
        for day in DAYS:
            self.write(day, self.days[day].now.parts)

    def write(self, day: str, parts: tuple[tuple[int, int], ...]) -> None:
        """Make a day's input these files; files that are as they should be are left alone."""
        state, folder = self.days[day], self.root / f"data/lake/rows/day={day}"
        same = (
            0 if state.damaged else len([1 for x, y in zip(state.now.parts, parts, strict=False) if x == y])
        )
        if not folder.exists() or parts[:same] != state.now.parts[:same]:
            same = 0
        state.now, state.damaged = Causes(parts, state.now.weights, state.now.n), False
        folder.mkdir(parents=True, exist_ok=True)
        for index in range(same, len(parts)):
            pq.write_table(state.now.part(index), folder / f"part-{index}.parquet", row_group_size=7)
        for path in folder.glob("part-*.parquet"):
            if int(path.stem.partition("-")[2]) >= len(parts):
                path.unlink()

    def damage(self, day: str, length: int) -> None:
        """Cut the day's first file short."""
        self.days[day].damaged = True
        path = self.root / f"data/lake/rows/day={day}/part-0.parquet"
        if path.exists():
            path.write_bytes(path.read_bytes()[:length])

    def remove(self, day: str) -> None:
        """The day's partition is not there."""
        self.days[day].damaged = True
        shutil.rmtree(self.root / f"data/lake/rows/day={day}", ignore_errors=True)

    def set_causes(self, weights: tuple[float, float] | None = None, n: int | None = None) -> None:
        """Another model, or another parameter, for all days."""
        for state in self.days.values():
            old = state.now
            state.now = Causes(old.parts, weights or old.weights, n or old.n)
        if weights:
            linear_model(self.root / "data/models/linear.onnx", weights)

    def begins(self, day: str) -> Causes:
        """A run of the day is about to begin: what it may publish."""
        self.ever[day].add(self.days[day].now)
        return self.days[day].now

    def ended(self, day: str, status: str) -> None:
        """A run of the day came to its end: what was killed before it is completed, or will never be."""
        state = self.days[day]
        assert not state.damaged, f"{day} was {status} from an input that can't be read"
        state.killed.clear()
        if status == "published":
            state.frozen.clear()  # begun before: it can't publish over this one
            state.held = None
        state.shown = state.now

    def released(self, day: str) -> None:
        """A held day was published as it was staged; what is frozen may be of after it."""
        state = self.days[day]
        assert state.held, f"{day} was released, and nothing was held that could be"
        state.killed.clear()
        state.shown, state.held = state.held, None

    def delete_by_another_engine(self, name: str) -> list[str]:
        """Delete all rows with an odd rank or id from a table by deltalake; the days that have lost some."""
        table = DeltaTable(str(self.root / "data/tables" / name))
        column = COLUMNS[name][-1] if name == "mini_top" else "id"
        before = table.to_pyarrow_table()["day"].cast(pa.string()).value_counts().to_pylist()
        table.delete(f"{column} % 2 = 1")
        after = table.to_pyarrow_table()["day"].cast(pa.string()).value_counts().to_pylist()
        left = {one["values"]: one["counts"] for one in after}
        return sorted(one["values"] for one in before if one["counts"] != left.get(one["values"]))

    # --- the checker ---

    def check(self) -> None:
        """All readers, after a step: every day is of one run, and is what it was or what it may be."""
        for day, seen in self.seen_by_us().items():
            self._check_day(day, seen)
        for name in TABLES:
            self._check_plainly(name)

    def seen_by_us(self) -> dict[str, dict[str, pa.Table]]:
        """Day -> table -> rows, in one statement over both tables."""
        found: dict[str, dict[str, pa.Table]] = {day: {} for day in DAYS}
        if not any(state.shown or state.possible for state in self.days.values()):
            return {}
        if not read_catalog(open_workspace(self.root)).history:
            return found
        rows = query(BOTH, self.root)
        for day in pc.unique(rows["day"]).to_pylist():
            for name in TABLES:
                of = rows.filter((pc.field("day") == day) & (pc.field("name") == name))
                found[day][name] = of
        return found

    def _check_day(self, day: str, seen: dict[str, pa.Table]) -> None:
        state = self.days[day]
        if not seen:
            assert state.shown is None, f"{day} is gone"
            return
        runs = {run for table in seen.values() for run in table["run_id"].to_pylist()}
        assert len(runs) == 1, f"{day} is a mixture of {runs}"
        allowed = [*([state.shown] if state.shown else []), *state.possible]
        fits = [c for c in allowed if all(_is(seen[name], c, name) for name in TABLES)]
        assert fits, f"{day} is neither what it was nor what it may be: {seen}, allowed {allowed}"
        state.shown = fits[0]
        self.runs[runs.pop()] = fits[0]

    def _check_plainly(self, name: str) -> None:
        """Readers that know nothing of receipts: each day of each table is whole, old or new, of one run."""
        root = self.root / "data/tables" / name
        if not (root / "_delta_log").is_dir():
            assert all(state.shown is None for state in self.days.values())
            return
        table = DeltaTable(str(root))
        seen = table.to_pyarrow_table()
        for day, state in self.days.items():
            of = seen.filter(pc.equal(seen["day"].cast(pa.string()), day))
            runs = set(of["run_id"].to_pylist())
            allowed = [*([state.shown] if state.shown else []), *state.possible]
            if not runs:
                assert state.shown is None, f"{name} of {day} is empty for a plain reader"
                continue
            assert len(runs) == 1, f"{name} of {day} is a mixture of {runs} for a plain reader"
            assert any(_is(of, causes, name) for causes in allowed), f"{name} of {day}, read plainly"
            self._check_files(table, name, day)

    def _check_files(self, table: DeltaTable, name: str, day: str) -> None:
        """Every live file by itself is whole, its page checksums too, and bears the name of one run."""
        for uri in table.file_uris():
            if f"/day={day}/" in uri:
                rows = pq.read_table(uri, partitioning=None, page_checksum_verification=True)
                assert set(rows["run_id"].to_pylist()) == {Path(uri).stem.rpartition("-")[0]}, (name, uri)

    def history(self) -> Iterator[str]:
        """What is wrong with what receipts name: every run of every day, however old, must be readable."""
        state = read_catalog(open_workspace(self.root))
        numbers: dict[str, list[int]] = {}
        runs = [entry.run_id for entry in state.history]
        if len(runs) != len(set(runs)):
            yield f"a run has two receipts: {runs}"
        for entry in state.history:
            numbers.setdefault(entry.day, []).append(entry.run_number)
            known = self.runs.get(entry.run_id)
            allowed = [known] if known else list(self.ever[entry.day])
            for name in TABLES:
                paths = [file.path.local() for file in state.files_of(entry, name)]
                gone = [path for path in paths if not path.exists()]
                if gone or not paths:
                    yield f"{entry.run_id}: {name} lacks {gone}"
                    continue
                rows = pa.concat_tables(pq.read_table(path, partitioning=None) for path in paths)
                if not any(_is(rows, causes, name) for causes in allowed):
                    yield f"{entry.run_id}: {name} of {entry.day} is not what was published"
        yield from (f"{day}: {of} do not rise" for day, of in numbers.items() if of != sorted(set(of)))


def _is(found: pa.Table, causes: Causes, name: str) -> bool:
    wanted = causes.table(name)
    rows = found.select(COLUMNS[name]).sort_by("id").combine_chunks()
    return bool(rows.cast(wanted.schema).equals(wanted))
