"""Make old_workspace.tar.xz and old_workspace.json: a workspace that commit e01cff6 wrote with its own code.

    git checkout e01cff6 && make .venv/test.stamp && .venv/bin/python make.py [FOLDER]

The archive holds two jobs. `mini` has features by SQL, an ONNX model, a decide table, rejects and an audit:

    2020-01-01  published with 60 rows, and again with 66 after late rows came: two versions
    2020-01-02  published once
    2020-01-03  held: too few rows for an audit
    2020-01-04  stopped while it scored: 3 of its 9 pieces are staged
    2020-01-05  stopped while it published: one of three tables is committed, and no receipt is there

`closing` reads the table mini_top beside an input of its own and closes its days: 2020-01-02 is published,
closed and restated once.

The JSON holds facts that are read or computed without nightscore (deltalake, pandas, NumPy), and under
`said` what the old version's own commands print. Rows are from seeds and weights are powers of two; run ids
and times are those of the making.
"""

import contextlib
import datetime as dt
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable

import jobs
import jobs.source
from jobs import Broken, Restate, load, run
from jobs.cli import call
from jobs.steps import plan_day, score_piece
from tests.mini import linear_model

COMMIT = "e01cff6"
FIRST, SECOND, HELD, STOPPED, KILLED = (f"2020-01-0{i}" for i in range(1, 6))
WHEN = 1_577_934_000  # the time of change of every input and model: whole seconds outlive an archive
MINI = """\
job: mini
about: Rows scored by a linear model
owner: tests
inputs:
  rows: {path: data/lake/rows, partition: day}
features: features.sql
key: [id]
keep: [a, colour]
model:
  path: data/models/linear.onnx
  columns: [a, b]
  outputs: {score: y}
scoring: {features_null: {a: fail}}
domain: {a: {max: 0.9}, colour: {in: [red, green]}}
policy: {bad_row: reject, max_rejected: 50%}
decide:
  mini_top: top.sql
params:
  n: {type: integer, default: 10, minimum: 1, maximum: 100, about: how many are chosen}
audit:
  - name: as many as asked for
    sql: SELECT count(*) = least(getvariable('n'), (SELECT count(*) FROM scores)) FROM mini_top
  - {name: enough, sql: SELECT count(*) > 20 FROM scores}
"""
FEATURES = "SELECT id, a, b, colour FROM rows WHERE id % 7 <> 6\n"
TOP = """\
SELECT id, score, row_number() OVER (ORDER BY score DESC, id) AS rank
FROM scores
QUALIFY rank <= getvariable('n')
"""
CLOSING = """\
job: closing
about: Trades beside what mini chose, in books that are closed
owner: tests
inputs:
  trades: {path: data/lake/trades, partition: day}
  top: {table: mini_top}
features: features.sql
key: [id]
keep: [rank]
model:
  path: data/models/closing.onnx
  outputs: {value: y}
close: true
decide:
  closing_sums: sums.sql
"""
CLOSING_FEATURES = """\
SELECT trades.id, quantity, price, coalesce(top.rank, 0) AS rank
FROM trades
LEFT JOIN top USING (id)
"""
SUMS = "SELECT rank > 0 AS chosen, count(*) AS trades, sum(value) AS value FROM scores GROUP BY 1\n"


class Stopped(BaseException):
    """Ends a run where a kill would."""


def rows_of(day: str, rows: int) -> pa.Table:
    """The rows of a day, some of them bad: NaN in a or b, a above 0.9, a colour that is none."""
    rng = np.random.default_rng(int(day.replace("-", "")))
    i = np.arange(rows)
    a, b = (rng.integers(0, 1024, rows).astype(np.float32) / 1024 for _ in range(2))
    a[i % 31 == 3] = np.nan
    b[i % 37 == 4] = np.nan
    colour = np.where(i % 23 == 5, "blue", np.where(i % 2, "red", "green"))
    return pa.table({"id": i, "a": a, "b": b, "colour": colour})


def trades_of(rows: int) -> pa.Table:
    """Trades, of which the last are late."""
    rng = np.random.default_rng(7)
    return pa.table(
        {"id": np.arange(rows), "quantity": rng.integers(1, 9, 40)[:rows].astype(np.float32),
         "price": (rng.integers(64, 640, 40)[:rows] / 64).astype(np.float32)}
    )  # fmt: skip


def expected(day: str, rows: int, n: int = 10) -> dict[str, list[list[Any]]]:
    """What the tables of mini must hold, by NumPy alone: rows in the order of ids."""
    frame = rows_of(day, rows).to_pandas()
    frame = frame[frame["id"] % 7 != 6]
    reasons = np.select(
        [frame["a"].isna(), (frame["a"] > 0.9) | (frame["colour"] == "blue"), frame["b"].isna()],
        ["features null_value", "features out_of_domain", "outputs nan_output"], "",
    )  # fmt: skip
    good = frame[reasons == ""].copy()
    good["score"] = good["a"] + good["b"] * np.float32(2)
    best = good.sort_values(["score", "id"], ascending=[False, True]).head(n).copy()
    best["rank"] = np.arange(1, len(best) + 1)
    bad = pd.DataFrame({"id": frame["id"], "why": reasons})[reasons != ""]
    return {
        "mini_scores": as_lists(good[["id", "a", "colour", "score"]]),
        "mini_top": as_lists(best.sort_values("id")[["id", "score", "rank"]]),
        "mini_rejects": as_lists(bad),
    }


def as_lists(frame: pd.DataFrame) -> list[list[Any]]:
    """Rows as JSON has them; a float32 is exact as a float64."""
    return [[None if pd.isna(v) else v for v in row] for row in frame.astype(object).values.tolist()]


def put(path: Path, table: pa.Table) -> None:
    """Write an input file anew."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    pq.write_table(table, path, compression="zstd", write_page_checksum=True)
    os.utime(path, (WHEN, WHEN))


def write_rows(root: Path, day: str, rows: int) -> None:
    put(root / f"data/lake/rows/day={day}/part-0.parquet", rows_of(day, rows))


def write_trades(root: Path, day: str, rows: int) -> None:
    put(root / f"data/lake/trades/day={day}/part-0.parquet", trades_of(rows))


def make(root: Path) -> None:
    """The workspace, by the old version's own code."""
    for job, files in {
        "mini": {"job.yaml": MINI, "features.sql": FEATURES, "top.sql": TOP},
        "closing": {"job.yaml": CLOSING, "features.sql": CLOSING_FEATURES, "sums.sql": SUMS},
    }.items():
        (root / "jobs" / job).mkdir(parents=True)
        for name, text in files.items():
            (root / "jobs" / job / name).write_text(text)
    linear_model(root / "data/models/linear.onnx", (1.0, 2.0), ("a", "b"))
    linear_model(root / "data/models/closing.onnx", (1.0, 0.5), ("quantity", "price"))
    for day, rows in {FIRST: 60, SECOND: 50, HELD: 20, STOPPED: 350, KILLED: 40}.items():
        write_rows(root, day, rows)
    write_trades(root, SECOND, 24)

    mini = load("mini", root)
    assert run(mini, FIRST).status == "published"
    assert run(mini, SECOND).status == "published"
    write_rows(root, FIRST, 66)
    assert run(mini, FIRST).status == "published"
    for file in (root / "data/tables").rglob("*.parquet"):  # inputs of the job that comes after
        os.utime(file, (WHEN, WHEN))

    assert run(load("closing", root), SECOND).closed
    write_trades(root, SECOND, 30)
    assert run(load("closing", root), SECOND, restate=Restate("late trades", "Ada")).restatement

    try:
        run(mini, HELD)
        raise AssertionError("not held")
    except Broken as error:
        assert "is held" in str(error)

    # So few rows are one piece: cut smaller, this one day, to have a run that stopped between pieces.
    whole, jobs.source.SMALLEST_PIECE = jobs.source.SMALLEST_PIECE, 32
    plan = plan_day(mini, dt.date.fromisoformat(STOPPED))
    jobs.source.SMALLEST_PIECE = whole
    assert len(plan.pieces) > 5
    for piece in plan.pieces[:3]:
        score_piece(mini, plan, piece)

    def stop(stage: str, _done: int, _total: int) -> None:
        if stage == "commit mini_scores":
            raise Stopped

    with contextlib.suppress(Stopped):
        run(mini, KILLED, report=stop)


def published(root: Path) -> dict[str, Any]:
    """Tables, their versions and rows, by deltalake alone; rows sorted by their first column, by run."""
    found: dict[str, Any] = {}
    for folder in sorted((root / "data/tables").iterdir()):
        newest = DeltaTable(str(folder)).version()
        days: dict[str, Any] = {}
        rows: dict[str, Any] = {}
        columns: list[str] = []
        for version in range(newest + 1):
            frame = DeltaTable(str(folder), version=version).to_pandas()
            days[str(version)] = {}
            columns = [c for c in frame.columns if c not in ("run_id", "day", "receipt", "tables", "row")]
            for (day, run_id), part in frame.groupby(["day", "run_id"]):
                days[str(version)].setdefault(str(day)[:10], []).append(run_id)
                if folder.name not in ("receipts", "restatements"):
                    rows[run_id] = as_lists(part.sort_values(columns)[columns])
        found[folder.name] = {"newest": newest, "columns": columns, "days": days, "rows": rows}
    return found


def receipts(root: Path) -> list[dict[str, Any]]:
    """Of every receipt what names the day's causes, oldest first, by deltalake alone."""
    frame = DeltaTable(str(root / "data/tables/receipts")).to_pandas().sort_values("run_number")
    found = []
    for text in frame["receipt"]:
        one = json.loads(text)
        kept = ("job", "day", "run_id", "run_number", "fingerprint", "job_hash", "published_at", "closed")
        entry = {name: one[name] for name in kept}
        entry |= {name: one[name] for name in ("rows", "key_hash", "rejects", "params")}
        entry["tables"] = {name: table["version"] for name, table in one["tables"].items()}
        entry["inputs"] = {file["path"]: file["fingerprint"] for file in one["inputs"]}
        entry["model_sha256"] = one["model"]["sha256"]
        found.append(entry)
    return found


def stopped(root: Path, day: str) -> dict[str, Any]:
    """The only run of a day, by its files alone."""
    [folder] = (root / "data/runs/mini" / day).iterdir()
    plan = json.loads((folder / "plan.json").read_text())
    return {
        "run_id": folder.name, "fingerprint": plan["fingerprint"], "pieces": len(plan["pieces"]),
        "staged": sorted(p.name for p in folder.glob("scores/*.parquet")),
    }  # fmt: skip


def commands() -> list[list[str]]:
    """What the old and the new version are asked for; each answers in JSON."""
    runs = "SELECT job, day, run_id, rows_published, rows_rejected, key_hash FROM receipts ORDER BY run_number"
    why = "SELECT day, stage, reason, count(*) AS n FROM mini_rejects GROUP BY ALL ORDER BY ALL"
    sums = (
        "SELECT day, count(*) AS n, sum(score) AS score, min(run_id) AS one, max(run_id) AS other "
        "FROM mini_scores GROUP BY day ORDER BY day"
    )
    values = "SELECT chosen, trades, value, run_id FROM closing_sums ORDER BY chosen"
    form = ["--format", "json"]
    asked = [["verify", "--json"], ["tables", "--json"], ["receipts", "--json"], ["held", "--json"]]
    asked += [["diff", "mini", "--day", FIRST, "--json"], ["diff", "closing", "--day", SECOND, "--json"]]
    asked += [["rejects", "mini", "--day", FIRST, "--json"]]
    asked += [["why", "mini", "--day", FIRST, "--key", "id=0", "--json"]]
    asked += [["late", "mini", "--since", FIRST, "--list-only", "--json"]]
    asked += [["query", sql, *form] for sql in (runs, why, sums, values)]
    asked += [["query", sql, *form, "--as-reported"] for sql in (sums, values)]
    asked += [["query", "SELECT * EXCLUDE (restated_at) FROM restatements ORDER BY table_name", *form]]
    asked += [["query", "SELECT * FROM restated_rows ORDER BY table_name, change, key", *form]]
    asked += [["query", sums, *form, "--as-of", str(version)] for version in range(1, 6)]
    return asked


def said(root: Path) -> list[dict[str, Any]]:
    """What the old version's commands print and how they end."""
    found = []
    for arguments in commands():
        # A process of its own, as a person types it.
        done = subprocess.run(
            [sys.executable, __file__, "--call", "--workspace", str(root), *arguments],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        try:
            answer = json.loads(done.stdout)
        except ValueError:
            raise SystemExit(f"{arguments}: {done.returncode} {done.stdout} {done.stderr}") from None
        found.append({"arguments": arguments, "code": done.returncode, "answer": answer})
    return found


def pack(root: Path, archive: Path) -> None:
    """The workspace as a small archive: sorted, times in whole seconds, one owner; hard links stay links."""

    def plain(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
        if Path(info.name).name == "lock":
            return None
        info.uid = info.gid = 0
        info.uname = info.gname = ""
        info.mtime = int(info.mtime)
        info.mode = 0o755 if info.isdir() else 0o644
        return info

    with tarfile.open(archive, "w:xz", preset=9 | (1 << 31)) as file:
        file.add(root, "w", filter=plain)


def main() -> None:
    """Make both files."""
    here = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    at = Path(jobs.__file__).parents[1]
    commit = subprocess.run(
        ["git", "-C", str(at), "rev-parse", "--short=7", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert commit == COMMIT, f"jobs is imported from {at}, commit {commit}"
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "w"
        root.mkdir()
        make(root)
        facts = {
            "commit": commit,
            "jobs": {name: load(name, root).hash for name in ("mini", "closing")},
            "days": dict(first=FIRST, second=SECOND, held=HELD, stopped=STOPPED, killed=KILLED),
            "versions": json.loads(next(iter((root / "data/runs/mini" / STOPPED).glob("*/plan.json"))).read_text())["versions"],
            "receipts": receipts(root),
            "tables": published(root),
            "expected": {d: expected(d, n) for d, n in {FIRST: 66, SECOND: 50, HELD: 20, STOPPED: 350, KILLED: 40}.items()},
            "first_as_reported": expected(FIRST, 60),
            "held": stopped(root, HELD), "stopped": stopped(root, STOPPED), "killed": stopped(root, KILLED),
        }  # fmt: skip
        pack(root, here / "old_workspace.tar.xz")
        facts["said"] = said(root)
        (here / "old_workspace.json").write_text(json.dumps(facts, separators=(",", ":"), default=str) + "\n")
    for name in ("old_workspace.tar.xz", "old_workspace.json"):
        print(here / name, (here / name).stat().st_size)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--call"]:
        sys.exit(call(sys.argv[2:]))
    main()
