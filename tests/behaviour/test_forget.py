"""Somebody is erased: nothing below data/ but the lake has them any more, and all others are as they were.

The truth is a walk over every file, by pyarrow, json and bytes; pandas and deltalake for the rows that stay.
"""

import gzip
import hashlib
import hmac
import json
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from nightscore import Broken, NotYet, load, query, run
from nightscore.cli.main import call
from nightscore.common.units import as_day
from nightscore.common.workspace import open_workspace
from nightscore.job import load_all
from nightscore.lifecycle import ErasureKeys, apply_retention, forget, rename_job
from nightscore.lifecycle.erasure_keys import InTexts
from nightscore.pipeline.publish.hold import Held, discard_day
from nightscore.pipeline.publish.repair import repair_table
from nightscore.store import Restate, catalog, collect_garbage, owners, run_query, storage
from nightscore.store.tables import snapshots
from tests.behaviour.processes import Fault, armed, night, spawn
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
highlights:
  - title: the last customers
    sql: SELECT customer, a FROM scores ORDER BY customer DESC LIMIT 3
    by: customer
    against: day before
  - {title: how many, sql: SELECT count(*) AS customers FROM crm_top, against: day before}
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
    (folder / "top.sql").write_text(
        "SELECT customer, score FROM scores QUALIFY rank() OVER (ORDER BY score DESC) < 9"
    )
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
def crm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = made(tmp_path_factory.mktemp("forget") / "w")
    meddled(root)
    return root


@pytest.fixture
def root(crm: Path, tmp_path: Path) -> Path:
    return copy(crm, tmp_path / "w")


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
    "tables/restated_rows/day=", "tables/crm_scores/_delta_log/", "features.parquet", "/scores/",
    "report.html", "proofs", "checkpoint.parquet", "tables/receipts/day=", "receipt.json",
)  # fmt: skip


@pytest.mark.disk_only(reason="a target is looked at")
def test_a_target_that_failed_is_owed_and_one_that_is_left_is_named(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The next run of the day sends it without them; where the job delivers no more, a person has to."""
    at, sent = ["--workspace", str(root)], root / f"crm/out/{D1}.csv"
    settings = (root / "workspace.yaml").read_text()
    (root / "workspace.yaml").write_text("roots: {}\n")
    assert erase(root) == 1
    assert KEY in sent.read_text()
    capsys.readouterr()
    assert call(["deliveries", "crm", "--day", D1, *at]) == 0
    assert "mail: not delivered" in (out := capsys.readouterr().out)
    assert ", with rows that were erased on " in out
    (root / "workspace.yaml").write_text(settings)
    assert call(["run", "crm", "--day", D1, *at]) == 0
    assert KEY not in sent.read_text()
    rest = list(pd.read_csv(sent)["customer"])
    job = root / "jobs/crm/job.yaml"
    job.write_text(job.read_text().replace("out/{day}.csv", "new/{day}.csv"))
    assert call(["run", "crm", "--day", D1, *at]) == 0
    capsys.readouterr()
    assert erase(root, key=f"customer={rest[0]}") == 0
    assert "crm:out/{day}.csv has them still, and the job delivers there no more" in capsys.readouterr().out
    assert list(pd.read_csv(root / f"crm/new/{D1}.csv")["customer"]) == rest[1:]
    assert erase(root, key="customer=nobody") == 0
    assert "has them still" not in capsys.readouterr().out, "once"


@pytest.mark.disk_only(reason="files are walked")
def test_nothing_below_data_but_the_input_has_them(root: Path) -> None:
    """Tables at every version, logs and checkpoints, features, rejects, bad lines, pages, what is held."""
    before = holding(root)
    for place in PLACES:
        assert any(place in name for name in before), f"{place}: else the walk proves nothing"
    assert len({name for name in before if f"runs/crm/{D3}" in name}) > 1, "the held day"
    assert erase(root) == 0
    assert holding(root) == set()
    assert KEY not in (root / f"crm/out/{D1}.csv").read_text(), "delivered anew"
    assert erase(root) == 0, "again, of nobody"


def test_nothing_anywhere_has_them_where_data_is_a_bucket_too(tmp_path: Path) -> None:
    """Neither an object, nor what this machine has fetched of it or written beside, but for the input."""
    root = made(tmp_path / "w")
    assert any("tables/crm_scores/day=" in name for name in holding(root)), "else the walk proves nothing"
    assert erase(root) == 0
    assert holding(root) == set()
    every = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    theirs = {name for name in every if "/in/day=" not in name and has_it(root / name, KEY)}
    assert theirs == set()
    assert call(["verify", "--workspace", str(root)]) == 0
    rows = query("SELECT count(*) AS n FROM crm_scores", root)["n"].to_pylist()
    assert rows == [80], "40 of each of two days; the third was held"


@pytest.mark.disk_only(reason="a copy of files")
def test_all_others_are_as_they_were(root: Path) -> None:
    """By our reader, now and at versions before, and as deltalake reads each table's newest version."""
    workspace = open_workspace(root)
    first = catalog.read_catalog(workspace).history[0]
    before, reported = frames(root), frames(root, as_reported=True)
    old = frames(root, "SELECT * FROM {}", as_of=1)
    assert erase(root) == 0
    for now, then in (
        (frames(root), before),
        (frames(root, as_reported=True), reported),
        (frames(root, as_of=1), old),
    ):
        for table, frame in then.items():
            pd.testing.assert_frame_equal(now[table], without(frame))
    for table in ("crm_scores", "crm_top", "crm_rejects", "crm_bad_lines"):
        head = DeltaTable(str(root / "data/tables" / table)).to_pandas()
        ours = query(f"SELECT * FROM {table}", root).to_pandas()
        assert len(head) == len(ours) and set(head["run_id"]) == set(ours["run_id"])
    assert KEY not in str(DeltaTable(str(root / "data/tables/restated_rows")).to_pandas().to_dict())
    state = catalog.read_catalog(workspace)
    again = next(entry for entry in state.history if entry.run_id == first.run_id)
    [file] = state.files_of(again, "crm_scores")
    assert pq.read_metadata(file.path.local()).num_rows == 40


@pytest.mark.disk_only(reason="a copy of files")
def test_verify_holds_and_says_so_and_an_edited_file_is_found(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Held to the proof of what is left."""
    assert erase(root) == 0
    capsys.readouterr()
    assert call(["verify", "--workspace", str(root)]) == 0
    said = capsys.readouterr().out
    assert "crm_scores: 1 row erased on" in said and "(erasure request 17)" in said
    for command in (
        ["why", "crm", "--day", D1, "--key", "customer=c001"], ["diff", "crm", "--day", D1],
        ["report", "crm", "--day", D1], ["late", "crm", "--since", D1],
        ["recheck", "crm", "--since", "2026-01-01"],
        ["repair", "crm_scores", "--because", "x", "--by", "y"], ["receipts", "crm"],
    ):  # fmt: skip
        assert call([*command, "--workspace", str(root)]) == 0, command
    [file] = (root / "data/tables/crm_scores").glob(f"day={D2}/*.parquet")
    table = pq.read_table(file, partitioning=None)
    pq.write_table(table.set_column(1, "a", pa.array([0.0] * len(table), table.schema.field("a").type)), file)
    assert call(["verify", "--workspace", str(root)]) == 1
    assert "which is in no receipt" in capsys.readouterr().out


@pytest.mark.disk_only(reason="a copy of files")
def test_a_dry_run_says_where_they_are_and_writes_nothing(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a secret, too."""
    monkeypatch.delenv("NIGHTSCORE_ERASURE_SECRET")
    before = {p: p.stat().st_mtime_ns for p in (root / "data").rglob("*")}
    assert erase(root, "--dry-run") == 0
    said = capsys.readouterr().out
    for part in (
        f"crm_scores {D1}",
        f"crm_top {D1}",
        f"crm_rejects {D2}",
        "features.parquet",
        f"crm {D3}",
        "mail",
    ):
        assert part in said, part
    assert KEY not in said
    assert {p: p.stat().st_mtime_ns for p in (root / "data").rglob("*")} == before
    assert erase(root) == 1, "no secret"
    with pytest.raises(Broken, match="has a key in it"):
        forget(open_workspace(root), ErasureKeys(("customer",), ((KEY,),)), because=f"of {KEY}", by="Ada")


STEPS = [
    Fault("nightscore.store.records.erasures.record_erasure", after=True),
    Fault("nightscore.lifecycle.forget.write_without", 2),
    Fault("nightscore.store.records.erasures.record_erasure"),
    Fault("nightscore.store.published.erasing.replace_at_head", 3),
    Fault("nightscore.store.published.erasing._put_beside", 2),
    Fault("nightscore.store.storage.place.Place.replace_file", after=True),
    Fault("nightscore.store.published.erasing._tell_run", 2),
    Fault("nightscore.store.published.erasing.scrub_log", 2),
    Fault("nightscore.store.storage.place.Place.remove", 12),
]


def erased_by_one_who_is_killed(answers: Connection, root: Path, fault: Fault) -> None:
    """An erasure in a process of its own, to whatever end."""
    armed(fault)
    forget(open_workspace(root), ErasureKeys(("customer",), ((KEY,),)), **WHO)
    answers.send({})


@pytest.mark.disk_only(reason="a copy of files")
@pytest.mark.parametrize(
    "fault", [*STEPS[:1], *(pytest.param(f, marks=pytest.mark.slow) for f in STEPS[1:])], ids=str
)
def test_who_is_killed_at_a_step_is_ended_by_the_next(root: Path, fault: Fault) -> None:
    """Before the record nothing is erased, after it no reader of ours sees them; gc ends it, with no key."""
    before = frames(root)
    assert spawn(erased_by_one_who_is_killed, root, fault).wait().killed
    now = frames(root)
    theirs = [table for table, frame in now.items() if len(without(frame)) < len(frame)]
    is_recorded = (root / "data/tables/erasures/_delta_log").is_dir()
    assert theirs == ([] if is_recorded else sorted(before)) or not is_recorded
    for table, frame in before.items():
        pd.testing.assert_frame_equal(without(now[table]), without(frame))
    if is_recorded:
        collect_garbage(open_workspace(root), NO_GRACE)
    else:
        assert erase(root) == 0
    assert holding(root) == set()
    collect_garbage(open_workspace(root), NO_GRACE)
    assert call(["verify", "--workspace", str(root)]) == 0
    for table, frame in frames(root).items():
        pd.testing.assert_frame_equal(frame, without(before[table]))


def ids(root: Path, table: str = "mini_scores", day: str = DAY) -> list[int]:
    """By our reader."""
    return list(query(f"SELECT id FROM {table} WHERE day = '{day}' ORDER BY id", root)["id"].to_pylist())


def test_a_number_goes_and_is_no_bound_of_a_receipt(published: Path) -> None:
    """The greatest id, which receipts of before held, in a bucket as on disk; verify holds."""
    assert erase(published, key="id=1999") == 0
    assert ids(published) == list(range(1999))
    head = DeltaTable(str(published / "data/tables/mini_scores")) if is_on_disk(published) else None
    if head:
        assert sorted(head.to_pandas()["id"]) == list(range(1999))
    [receipt] = query("SELECT receipt, rows_published FROM receipts", published).to_pylist()
    columns = json.loads(receipt["receipt"])["tables"]["mini_scores"]["columns"]
    assert columns["id"] | {"minimum": None, "maximum": None} == columns["id"]
    assert columns["id"]["sum"] == str(sum(range(1999)))
    assert call(["verify", "--workspace", str(published)]) == 0
    assert call(["gc", "--older-than", "0", "--workspace", str(published)]) == 0
    assert ids(published) == list(range(1999))


def is_on_disk(root: Path) -> bool:
    return (root / "data/tables").is_dir()


def test_what_the_source_has_comes_back_and_is_said(
    published: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the secret how many rows, without it that nobody can tell."""
    assert erase(published, key="id=7") == 0
    receipt = run(load("mini", published), DAY, force=True)
    [line] = receipt.came_back
    assert (
        line.startswith("mini_scores: 1 row of a key that was erased on ") and "(erasure request 17)" in line
    )
    assert 7 in ids(published)
    capsys.readouterr()
    assert call(["run", "mini", "--day", DAYS[0], "--workspace", str(published)]) == 0
    assert "are back: the source has them" in capsys.readouterr().out.replace("is back", "are back")
    monkeypatch.setenv("NIGHTSCORE_ERASURE_SECRET", "another secret of tests")
    assert "can't be told" in run(load("mini", published), DAY, force=True).came_back[0]
    monkeypatch.delenv("NIGHTSCORE_ERASURE_SECRET")
    assert (
        "NIGHTSCORE_ERASURE_SECRET is not set" in run(load("mini", published), DAY, force=True).came_back[0]
    )
    monkeypatch.setenv("NIGHTSCORE_ERASURE_SECRET", SECRET)
    assert erase(published, key="id=7") == 0
    capsys.readouterr()
    assert erase(published, key="id=7") == 0
    assert "nobody is found by it" in capsys.readouterr().out
    assert 7 not in ids(published) + ids(published, day=DAYS[0])


@pytest.mark.disk_only(reason="data/ is not looked at")
@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--key", "id=x"], "id='x' is no BIGINT, which 'id' of table mini_scores is"),
        (["--key", "id=9223372036854775808"], "is no BIGINT"),
        (["--key", "nobody=1"], "no table has column nobody; tables: mini_scores, mini_top"),
        (["--key", "score=0.5"], "is FLOAT; a key has whole numbers"),
        (["--key", "id="], "a key has a value in each of id"),
        ([], "give one key"),
        (["--key", "id=1", "--column", "mini_top.user=id"], "table mini_top has no column 'user'"),
        (["--key", "id=1", "--column", "mini_top=id"], "is not of the form TABLE.COLUMN=KEYCOLUMN"),
        (["--keys", "no.csv"], "--keys no.csv: there is no such file"),
        (
            ["--key", "id=1", "--key", "id=2"],
            "gives 'id' twice; a name has one value; --key is one key, --keys",
        ),
    ],
)
def test_what_can_not_be_meant_is_refused(
    published: Path, capsys: pytest.CaptureFixture[str], more: list[str], says: str
) -> None:
    """With the value, and what is allowed; nothing is written."""
    names = ["--because", "request", "--by", "Ada", "--workspace", str(published)]
    assert call(["forget", *more, *names]) == (2 if "twice" in says else 1)
    assert says in capsys.readouterr().err
    assert not (published / "data/tables/erasures/_delta_log").exists()


@pytest.mark.disk_only(reason="data/ is not looked at")
def test_keys_of_several_columns_and_files_of_keys(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each row its own; a table that lacks a column is left, and said."""
    root = make_workspace(tmp_path / "w", 100, JOB.replace("keep: [a]", "keep: [a, b]"), days=(DAY,))
    run(load("mini", root), DAY)
    rank = query("SELECT id, rank FROM mini_top WHERE rank = 3", root).to_pylist()[0]
    file = tmp_path / "keys.csv"
    file.write_text(f"rank,id\n3,{rank['id']}\n4,{rank['id']}\n")
    options = ["--because", "request x", "--by", "Ada", "--workspace", str(root)]
    assert call(["forget", "--keys", str(file), *options]) == 0
    out = capsys.readouterr().out
    assert "mini_scores: untouched: it has no column rank; if it calls that otherwise: --column mini" in out
    assert 3 not in query("SELECT rank FROM mini_top", root)["rank"].to_pylist()
    assert rank["id"] in ids(root)
    file.write_text("id\n" + "\n".join(map(str, range(0, 100, 2))))
    assert call(["forget", "--keys", str(file), *options]) == 0
    assert ids(root) == list(range(1, 100, 2))
    assert call(["verify", "--workspace", str(root)]) == 0
    hashes = query("SELECT key_hash FROM erasures WHERE kind = 'key' AND key_columns = 'id'", root)
    truth = {
        hmac.new(SECRET.encode(), f"{len(str(i))}:{i}".encode(), hashlib.sha256).hexdigest()
        for i in range(0, 100, 2)
    }
    assert set(hashes["key_hash"].to_pylist()) == truth


@pytest.mark.disk_only(reason="a lock of files")
def test_a_run_that_publishes_is_waited_for(published: Path) -> None:
    """And one that has been stopped is ended: nobody takes it up."""
    workspace = open_workspace(published)
    with (
        owners.sharing(workspace, ["mini_scores"]),
        pytest.raises(NotYet, match="a run is publishing it now"),
    ):
        forget(workspace, ErasureKeys(("id",), (("7",),)), **WHO)
    assert night(published, DAYS[0], Fault("publication")).killed
    assert erase(published, key="id=7") == 0, "a run that is half published is completed"
    assert 7 not in ids(published, day=DAYS[0])
    assert len(ids(published, day=DAYS[0])) == 1999
    assert night(published, DAYS[2], Fault("prove")).killed
    assert erase(published, key="id=8") == 0
    assert not list((published / f"data/runs/mini/{DAYS[2]}").glob("*/scores"))
    assert run(load("mini", published), DAYS[2]).came_back


def test_a_file_that_is_not_what_was_published_is_not_erased_from(published: Path) -> None:
    """Else the erasure would make it right."""
    [entry] = catalog.read_catalog(open_workspace(published)).history
    [file] = catalog.read_catalog(open_workspace(published)).files_of(entry, "mini_scores")
    table = pq.read_table(file.path.local(), partitioning=None)
    other = published / "other.parquet"
    pq.write_table(table.set_column(2, "score", pa.array([0.0] * len(table), pa.float32())), other)
    file.path.replace_file(other)
    with pytest.raises(
        Broken, match=r"is not the file of which the receipt .* has the sha256; nothing is erased"
    ):
        forget(open_workspace(published), ErasureKeys(("id",), (("7",),)), **WHO)
    assert not catalog.read_catalog(open_workspace(published)).erased.rows


@pytest.mark.disk_only(reason="what was fetched of a bucket stays with who reads it")
def test_who_reads_meanwhile_is_told_to_try_again(published: Path) -> None:
    """With what was read of the catalogue before; not that a file is lost."""
    workspace = open_workspace(published)
    state = catalog.read_catalog(workspace)
    views = state.views()
    assert erase(published, key="id=7") == 0
    with pytest.raises(NotYet, match="somebody was erased from it while it was being read; try again"):
        run_query("SELECT * FROM mini_scores", views, catalog.query_resources(workspace))
    with pytest.raises(NotYet, match=r"the receipt of mini .* try again"):
        state.history[0].read_receipt()
    assert len(ids(published)) == 1999


def test_what_retention_has_let_go_is_erased_and_still_goes(tmp_path: Path) -> None:
    """The files of a removed day stay for a while: without them, and no longer than without an erasure."""
    root = make_workspace(tmp_path / "w", 50, JOB + "retain: 90 days\n", days=DAYS[:1])
    run(load("mini", root), DAYS[0])
    workspace = open_workspace(root)
    apply_retention(workspace, load_all(root)[0])
    assert erase(root, key="id=7") == 0
    tables = storage.tables(workspace) / "mini_scores"
    [left] = tables.glob("day=*", "*.parquet")
    assert 7 not in pq.read_table(left.local(), partitioning=None)["id"].to_pylist()
    collect_garbage(workspace, NO_GRACE)
    assert tables.glob("day=*", "*.parquet") == []


@pytest.mark.disk_only(reason="files are walked")
def test_of_a_job_that_was_renamed_they_go_from_all_its_past(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From runs under both names; `verify` holds under either, and who is back is found."""
    discard_day(open_workspace(root), "crm", as_day(D3), **WHO)
    renamed(root, "crm", "people")
    write_csv(root, D3, 30, "0.5,0.5")
    assert run(load("people", root), D3).status == "published"
    before = {
        table: query(f"SELECT * FROM {table}", root).to_pandas() for table in ("people_scores", "crm_top")
    }
    assert erase(root) == 0
    assert holding(root) == set()
    said = capsys.readouterr().out
    assert f"people_scores {D1}" in said and f"people_scores {D3}" in said and "crm_scores" not in said
    left = {table: len(query(f"SELECT * FROM {table}", root)) for table in before}
    assert left == {table: (rows["customer"] != KEY).sum() for table, rows in before.items()}
    assert left["people_scores"] == len(before["people_scores"]) - 2
    head = DeltaTable(str(root / "data/tables/crm_scores")).to_pandas()  # the folder keeps its first name
    assert KEY not in set(head["customer"]) and len(head) == left["people_scores"]
    again = run(load("people", root), D3, force=True)
    assert any("people_scores" in line and "erased on" in line for line in again.came_back)
    renamed(root, "people", "crm")
    assert call(["verify", "--workspace", str(root)]) == 0
    assert "crm_scores: 1 row erased on" in capsys.readouterr().out


def renamed(root: Path, old: str, new: str) -> None:
    """A job is called otherwise, and a person changes the lines that still say the old name."""
    for one in rename_job(open_workspace(root), old, new, because="a word", by="Ada").mentions:
        file = root / one.file
        lines = file.read_text().splitlines(keepends=True)
        lines[one.line - 1] = lines[one.line - 1].replace(one.old, one.new)
        file.write_text("".join(lines))


@pytest.mark.disk_only(reason="a copy of files")
def test_restatements_tell_no_sums_of_theirs(root: Path) -> None:
    """By how much sums have moved is their values, where their row alone was changed; counts stay."""
    sql = "SELECT table_name, changed, moved FROM restatements WHERE changed > 0 ORDER BY table_name"
    before = query(sql, root).to_pylist()
    assert before and all("-0.25" in row["moved"] for row in before)
    assert erase(root) == 0
    assert query(sql, root).to_pylist() == [row | {"moved": "{}"} for row in before]
    receipts = query("SELECT receipt FROM receipts", root)["receipt"].to_pylist()
    notes = [note for text in receipts if (note := json.loads(text).get("restatement"))]
    files = [json.loads(file.read_text()) for file in (root / f"data/runs/crm/{D1}").glob("*/receipt.json")]
    notes += [file["restatement"] for file in files if file.get("restatement")]
    assert len(notes) == 2
    assert not any(note["tables"][row["table_name"]]["moved"] for note in notes for row in before)
    assert call(["verify", "--workspace", str(root)]) == 0


@pytest.mark.disk_only(reason="data/ is not looked at")
def test_a_decimal_is_found_however_it_is_typed(tmp_path: Path) -> None:
    """As DuckDB writes it in `restated_rows`, and hashed as a night hashes it."""
    root = make_workspace(tmp_path / "w", 20, days=(DAY,))
    sql = "SELECT (id + 0.5)::DECIMAL(9, 2) AS id, a, b FROM rows"
    (root / "jobs/mini/features.sql").write_text(sql)
    (root / "jobs/mini/job.yaml").write_text(JOB.replace("features: rows", "features: features.sql"))
    run(load("mini", root), DAY)
    linear_model(root / "data/models/linear.onnx", (1.0, 4.0))
    run(load("mini", root), DAY, restate=Restate("a model", "Ada"))
    assert erase(root, key="id=7.5") == 0
    restated = query("SELECT * FROM restated_rows", root).to_pylist()
    assert len(restated) > 9 and '"7.50"' not in str(restated)
    assert run(load("mini", root), DAY, force=True, restate=Restate("again", "Ada")).came_back


@pytest.mark.disk_only(reason="no data/")
def test_a_key_is_found_as_sql_quotes_it() -> None:
    """As the condition of another engine's DELETE has it in the log."""
    texts = InTexts([("O'Hara é\"x",)])
    for said in ("who = 'O''Hara é\"x'", "who = 'O\\'Hara é\"x'"):
        assert all(map(texts.are_in, [said, json.dumps(said), json.dumps(said, ensure_ascii=False)])), said
    assert not texts.are_in("who = 'O''Hara'")


@pytest.mark.disk_only(reason="files of another engine")
def test_what_another_engine_recorded_of_changes_goes_too(published: Path) -> None:
    """Delta's change data: `_change_data` has whole rows, of others as well; those stay."""
    folder = published / "data/tables/mini_scores"
    DeltaTable(str(folder)).alter.set_table_properties({"delta.enableChangeDataFeed": "true"})
    DeltaTable(str(folder)).update(predicate="id IN (7, 8)", updates={"score": "0.0"})
    repair_table(open_workspace(published), "mini_scores", **WHO)
    changes = list((folder / "_change_data").rglob("*.parquet"))
    assert {7, 8} <= {i for file in changes for i in pq.read_table(file, partitioning=None)["id"].to_pylist()}
    assert erase(published, key="id=7") == 0
    left = [file for file in folder.rglob("*.parquet") if "id" in pq.read_schema(file).names]
    assert left and not any(7 in pq.read_table(file, partitioning=None)["id"].to_pylist() for file in left)
    assert call(["verify", "--workspace", str(published)]) == 0


@pytest.mark.disk_only(reason="data/ is not looked at")
def test_a_table_that_has_the_key_in_another_type_hinders_nobody(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whole numbers of DOUBLE go as those of BIGINT; a list is left, and said."""
    job = JOB.replace("  mini_top: top.sql", "  mini_top: top.sql\n  mini_lists: lists.sql")
    root = make_workspace(tmp_path / "w", 20, job, days=(DAY,))
    top = "SELECT id::DOUBLE AS id, score FROM scores QUALIFY row_number() OVER (ORDER BY score) <= 10"
    (root / "jobs/mini/top.sql").write_text(top)
    (root / "jobs/mini/lists.sql").write_text("SELECT list(id ORDER BY id) AS id, count(*) AS n FROM scores")
    run(load("mini", root), DAY)
    theirs = int(ids(root, "mini_top")[0])
    assert erase(root, key=f"id={theirs}") == 0
    assert "mini_lists: untouched: column 'id' of table mini_lists is" in capsys.readouterr().out
    assert theirs not in ids(root) + ids(root, "mini_top") and len(ids(root, "mini_top")) == 9
    assert call(["verify", "--workspace", str(root)]) == 0


@pytest.mark.disk_only(reason="what this process keeps")
def test_a_mistake_in_sql_is_told_once_whatever_is_kept_of_the_record(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a workspace has more tables than snapshots are kept of, so that the record is read anew."""
    assert erase(root) == 0
    monkeypatch.setattr(snapshots, "KEPT_SNAPSHOTS", 1)
    with pytest.raises(Broken, match="nope"):
        query("SELECT nope FROM crm_scores", root)
