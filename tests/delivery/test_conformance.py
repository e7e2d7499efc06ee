"""Each kind of delivery, a plug-in's too, is held to one suite; and what is secret stands nowhere."""

import contextlib
import datetime as dt
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightscore import Broken, NotYet, load, query, run
from nightscore.cli.main import call
from nightscore.common.workspace import Workspace
from nightscore.delivery import Parcel, check_channel
from nightscore.delivery.files import FilesChannel
from nightscore.delivery.key_hash import hash_files
from nightscore.job import Files, Postgres
from tests.behaviour.processes import command
from tests.behaviour.world import Truth
from tests.delivery.conftest import DAY, DELIVER, ROWS, Build, rows_at
from tests.support.packages import build as installed

if TYPE_CHECKING:
    from tests.support.postgres import Server

PLUGIN = """
import json, pathlib
from nightscore.delivery import Sent

class Box:
    late = "skip"
    def __init__(self, settings, connect):
        self.folder, self.target = pathlib.Path(settings["folder"]), "a box"
    def check(self, schema):
        return ""
    def deliver(self, parcel, *, again=False):
        rows = [str(row) for batch in parcel.batches() for row in batch.to_pylist()]
        self.folder.mkdir(exist_ok=True)
        file = self.folder / f"{parcel.day}.json"
        part = file.with_suffix(".part")
        part.write_text(json.dumps(rows))
        part.replace(file)
        return Sent(len(rows))
    def withdraw(self, parcel, before):
        if before:
            return self.deliver(before)
        (self.folder / f"{parcel.day}.json").unlink()
        return Sent(0)

def open_box(settings, connect):
    return Box(settings, connect)
"""


def parcel_of(folder: Path) -> Parcel:
    """Three rows."""
    rows = pa.table({"id": pa.array([1, 2, 3]), "note": ["a", None, ""]})
    (folder / "data").mkdir(exist_ok=True)
    file = folder / "rows.parquet"
    pq.write_table(rows, file, write_page_checksum=True)
    space = Workspace(folder)
    return Parcel(
        "mini", "mini_top", dt.date.fromisoformat(DAY), "run", 1, 3, rows.schema, (file,),
        lambda key: hash_files(space, [file], rows.schema, key),
    )  # fmt: skip


def test_postgres_keeps_to_the_contract(crm: str, tmp_path: Path) -> None:
    """A reader sees the table."""
    from nightscore.delivery.postgres import PostgresChannel

    def read() -> object:
        there = rows_at(crm, "SELECT to_regclass('t') IS NOT NULL") == [(True,)]
        return rows_at(crm, "SELECT id, note, day FROM t ORDER BY id") if there else []

    settings = Postgres(connection="crm", table="t", key=["id"])
    check_channel(lambda: PostgresChannel(settings), parcel_of(tmp_path), read)


def test_files_keep_to_the_contract(tmp_path: Path) -> None:
    """A reader sees the file."""
    (tmp_path / "workspace.yaml").write_text("roots: {out: {at: out, write: true}}\n")
    settings, file = Files(root="out", path="{day}.csv", format="csv"), tmp_path / f"out/{DAY}.csv"
    check_channel(
        lambda: FilesChannel(settings, Workspace(tmp_path)), parcel_of(tmp_path),
        lambda: file.read_bytes() if file.exists() else b"",
    )  # fmt: skip


@pytest.fixture
def plugged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with a kind of delivery, really installed; the folder that it is in."""
    project = (
        '[project]\nname = "box"\nversion = "1.0"\n[build-system]\nrequires = ["setuptools"]\n'
        'build-backend = "setuptools.build_meta"\n[tool.setuptools]\npy-modules = ["box"]\n'
        '[project.entry-points."nightscore.deliveries"]\nbox = "box:open_box"\n'
    )
    folder = installed(tmp_path / "package", {"box.py": PLUGIN, "pyproject.toml": project})
    monkeypatch.syspath_prepend(str(folder))
    return folder


@pytest.mark.slow
def test_a_plug_in_keeps_to_the_contract_and_delivers_a_night(
    plugged: Path, build: Build, tmp_path: Path
) -> None:
    """By its entry point; a day that comes late it skips, for it says so."""
    from nightscore.delivery.registry import open_channel
    from nightscore.job import Delivery

    box = tmp_path / "box"
    delivery = Delivery.model_validate({"box": {"folder": str(box)}})
    check_channel(
        lambda: open_channel(Workspace(tmp_path), delivery), parcel_of(tmp_path),
        lambda: [file.read_text() for file in box.glob("*.json")],
    )  # fmt: skip
    root = build(f"deliver:\n  - {{name: b, box: {{folder: {box}2}}}}\n")
    run(load("mini", root), DAY)
    assert not Path(f"{box}2").exists()
    assert call(["redeliver", "mini", "--day", DAY, "--workspace", str(root)]) == 0
    assert Path(f"{box}2/{DAY}.json").exists()


@pytest.mark.slow
def test_a_plug_in_that_fails_is_named_and_the_day_stays_published(
    plugged: Path, build: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what it said, and no traceback."""
    root = build(f"deliver:\n  - {{name: b, late: send, box: {{folder: {tmp_path}/no/box}}}}\n")
    assert call(["run", "mini", "--day", DAY, "--workspace", str(root)]) == 1
    err = capsys.readouterr().err
    assert f"mini {DAY} is published, and not delivered everywhere" in err
    assert "b: the plug-in box has failed: FileNotFoundError" in err and "Traceback" not in err
    assert run_status(root) == "published"


def run_status(root: Path) -> str:
    [one] = query("SELECT job FROM receipts", root).to_pylist()
    return "published" if one["job"] == "mini" else ""


def test_an_unknown_kind_is_refused_with_what_was_meant(build: Build) -> None:
    """By `check`, with the line of job.yaml."""
    root = build("deliver:\n  - {name: b, postgress: {connection: crm, table: t, key: [id]}}\n")
    with pytest.raises(Broken, match=r"unknown kind of delivery 'postgress'; did you mean postgres\?"):
        run(load("mini", root), DAY)


def test_a_server_that_goes_in_the_middle_is_not_yet_and_then_right(
    build: Build, server: "Server", crm: str
) -> None:
    """While its transaction waits for a lock, the server is stopped and started again."""
    import psycopg

    root = build()
    run(load("mini", root), DAY)
    before = rows_at(crm, "SELECT id FROM top ORDER BY id")
    Truth(ROWS, (2.0, 0.5)).write_model(root)
    with contextlib.suppress(psycopg.OperationalError), psycopg.connect(crm) as blocker:
        blocker.execute("LOCK TABLE top IN ACCESS EXCLUSIVE MODE")

        def stop() -> None:
            with psycopg.connect(crm, autocommit=True) as watcher:
                asked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                while watcher.execute(asked).fetchone() == (0,):
                    time.sleep(0.02)
            server.stop()

        stopper = threading.Thread(target=stop)
        stopper.start()
        with pytest.raises(NotYet, match="is published, and not delivered everywhere"):
            run(load("mini", root), DAY)
        stopper.join()
        server.start()
    assert rows_at(crm, "SELECT id FROM top ORDER BY id") == before
    assert run(load("mini", root), DAY).status == "unchanged"
    truth = Truth(ROWS, (2.0, 0.5)).table("mini_top")["id"].to_pylist()
    assert [row[0] for row in rows_at(crm, "SELECT id FROM top ORDER BY id")] == truth


@pytest.mark.slow
def test_what_is_secret_stands_nowhere(
    build: Build, server: "Server", crm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in a message, a log, a plan, a receipt or any other file of the workspace."""
    root = build()
    secret, host = "hidden-word-17", "127.0.0.1"
    address = crm.replace("airflow@", f"airflow:{secret}@")
    said = ""
    monkeypatch.setenv("NIGHTSCORE_DEBUG", "1")
    for url in (
        address,
        address.replace(str(server.port), "9"),
        address.replace("airflow:", "nobody:"),
        "x y",
    ):
        monkeypatch.setenv("NIGHTSCORE_CONNECTION_CRM", url)
        for arguments in (["check", "mini"], ["run", "mini", "--day", DAY], ["deliveries"], ["receipts"],
                        ["verify"], ["redeliver", "mini", "--day", DAY], ["jobs", "--json"]):  # fmt: skip
            done = command(*arguments, "--workspace", str(root))
            said += done.stdout + done.stderr
    assert "not delivered everywhere" in said and "shop: delivered" in said
    assert secret not in said and host not in said
    files = [path for path in root.rglob("*") if path.is_file()]
    assert len(files) > 10
    for word in (secret, host, "nobody"):
        assert [path for path in files if word.encode() in path.read_bytes()] == []


def test_a_released_day_is_delivered(build: Build, crm: str) -> None:
    """By the command that releases it."""
    root = build("  - {name: never, sql: SELECT false}\n" + DELIVER)
    with pytest.raises(Broken):
        run(load("mini", root), DAY)
    assert rows_at(crm, "SELECT to_regclass('top')") == [(None,)]
    go = ["release", "mini", "--day", DAY, "--by", "Ada", "--because", "looked at it"]
    assert call([*go, "--workspace", str(root)]) == 0
    assert rows_at(crm, "SELECT count(*) FROM top") == [(10,)]
