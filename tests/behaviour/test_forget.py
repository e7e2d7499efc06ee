"""Somebody is erased: nothing below data/ but the lake has them any more, and all others are as they were.

The truth is a walk over every file, by pyarrow, json and bytes; pandas and deltalake for the rows that stay.
"""

import gzip
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from nightscore import Broken, load, query, run
from nightscore.cli.main import call
from nightscore.common.workspace import open_workspace
from nightscore.lifecycle import ErasureKeys, forget
from nightscore.pipeline.publish.hold import Held
from nightscore.pipeline.publish.repair import repair_table
from nightscore.store import Restate, catalog, collect_garbage
from tests.behaviour.world import DAY, NO_GRACE, copy
from tests.support.workspace import DAYS, JOB, linear_model, make_workspace

SECRET = "a secret of these tests"  # noqa: S105
KEY = "zz7f3a9c15e8"  # the greatest of all: bounds in logs, footers and receipts are it
D1, D2, D3 = DAYS
WHO = {"because": "erasure request 17", "by": "Ada"}
CRM = """\
job: crm
about: Customers scored
owner: tests
inputs:
  rows:
    path: data/in
    partition: day
    format: csv
    bad_lines: 3
    columns: {customer: VARCHAR NOT NULL, a: FLOAT, b: FLOAT}
features: f.sql
key: [customer]
keep: [a]
model: {path: data/models/linear.onnx, outputs: {score: y}}
domain: {a: {max: 0.9}}
policy: {bad_row: reject, max_rejected: 50%}
decide: {crm_top: top.sql}
audit:
  - {name: not too many, sql: SELECT count(*) < 50 FROM scores}
deliver:
  - {name: mail, files: {root: crm, path: "out/{day}.csv", format: csv}}
"""


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator's."""
    monkeypatch.setenv("NIGHTSCORE_ERASURE_SECRET", SECRET)


def write_csv(root: Path, day: str, rows: int, theirs: str, *more: str) -> None:
    """A day of customers, theirs among them, and lines that are no rows."""
    lines = [f"c{i:03},{i / 128},0.5" for i in range(rows)]
    folder = root / f"data/in/day={day}"
    folder.mkdir(parents=True, exist_ok=True)
    text = "\n".join(["customer,a,b", *lines, f"{KEY},{theirs}", *more, ""])
    (folder / "x.csv").write_text(text)


def made(root: Path) -> Path:
    """Two days, one restated, one with a reject; a third that is held; and what another engine has left."""
    folder = root / "jobs/crm"
    folder.mkdir(parents=True)
    (folder / "job.yaml").write_text(CRM)
    (folder / "f.sql").write_text("SELECT customer, a, b FROM rows")
    (folder / "top.sql").write_text("SELECT customer, score FROM scores QUALIFY rank() OVER (ORDER BY score DESC) < 9")
    (root / "workspace.yaml").write_text("roots: {crm: {at: crm, write: true}}\n")
    (root / "crm").mkdir()
    linear_model(root / "data/models/linear.onnx")
    write_csv(root, D1, 40, "0.75,9.0", f"{KEY},much,0.5")
    write_csv(root, D2, 40, "0.95,9.0")
    write_csv(root, D3, 60, "0.5,0.5")
    job = load("crm", root)
    run(job, D1)
    run(job, D2)
    write_csv(root, D1, 40, "0.5,9.0", f"{KEY},much,0.5")
    run(load("crm", root), D1, restate=Restate("a wrong price", "Ada"))
    with pytest.raises(Held):
        run(load("crm", root), D3)
    assert call(["report", "crm", "--day", D1, "--workspace", str(root)]) == 0
    return root


def meddled(root: Path) -> None:
    """Another engine changes their row, which puts them into log and checkpoint; and we put it back."""
    table = DeltaTable(str(root / "data/tables/crm_scores"))
    table.update(predicate=f"customer = '{KEY}'", updates={"score": "0.0"})
    table.create_checkpoint()
    repair_table(open_workspace(root), "crm_scores", **WHO)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = made(tmp_path_factory.mktemp("forget") / "w")
    meddled(root)
    return root


@pytest.fixture
def root(template: Path, tmp_path: Path) -> Path:
    return copy(template, tmp_path / "w")


def has_it(path: Path, key: str) -> bool:
    """Whether a file has a key in it, however it is written."""
    data = path.read_bytes()
    if path.suffix == ".gz":
        data = gzip.decompress(data)
    if key.encode() in data:
        return True
    return data[:4] == b"PAR1" and key in str(pq.read_table(path, partitioning=None).to_pylist())


def holding(root: Path, key: str = KEY) -> set[str]:
    """The files below data/ but the input's that have a key in them."""
    files = [p for p in (root / "data").rglob("*") if p.is_file() and not p.is_relative_to(root / "data/in")]
    return {p.relative_to(root / "data").as_posix() for p in files if has_it(p, key)}


def erase(root: Path, *more: str, key: str = f"customer={KEY}") -> int:
    """By the command."""
    return call(
        ["forget", "--key", key, "--because", WHO["because"], "--by", "Ada", *more, "--workspace", str(root)]
    )


def frames(root: Path, sql: str = "SELECT * FROM {}", **options: Any) -> dict[str, pd.DataFrame]:
    """Every table of the job as pandas has it, by our reader."""
    found = {}
    for table in ("crm_scores", "crm_top", "crm_rejects", "crm_bad_lines", "restated_rows"):
        frame = query(sql.format(table), root, **options).to_pandas()
        found[table] = frame.sort_values(list(frame.columns)).reset_index(drop=True)
    return found


def without(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows that have the key in none of their columns."""
    theirs = frame.astype(str).apply(lambda column: column.str.contains(KEY)).any(axis=1)
    return frame[~theirs].reset_index(drop=True)


PLACES = (
    "tables/crm_scores/day=", "tables/crm_top/day=", "tables/crm_rejects/day=", "tables/crm_bad_lines/day=",
    "tables/restated_rows/day=", "tables/crm_scores/_delta_log/", "features.parquet", "/scores/", "report.html",
    "proofs", "checkpoint.parquet",
)  # fmt: skip


@pytest.mark.disk_only(reason="files are walked")
def test_nothing_below_data_but_the_input_has_them(root: Path) -> None:
    """Tables at every version, their logs and checkpoints, features, rejects, bad lines, pages, what is held."""
    before = holding(root)
    for place in PLACES:
        assert any(place in name for name in before), f"{place}: else the walk proves nothing"
    assert len({name for name in before if f"runs/crm/{D3}" in name}) > 1, "the held day"
    assert erase(root) == 0
    assert holding(root) == set()
    assert KEY not in (root / f"crm/out/{D1}.csv").read_text(), "delivered anew"
    assert erase(root) == 0, "again, of nobody"
