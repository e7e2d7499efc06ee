"""A day in a PostgreSQL: what a reader sees there, by psycopg, is what is published, whole and once."""

import datetime as dt
import itertools
import json
import os
import signal
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from nightscore import Broken, NotYet, load, query, run
from nightscore.cli.main import call
from nightscore.store import list_deliveries
from tests.behaviour.processes import begin, spawn
from tests.behaviour.world import Truth
from tests.delivery.conftest import DAY, DELIVER, ROWS, Build, rows_at

ALL = "SELECT id, score::float8, rank, day::text FROM top ORDER BY id"


def truth(weights: tuple[float, float] = (1.0, 2.0)) -> list[tuple[object, ...]]:
    """The decision's rows, by NumPy."""
    table = Truth(ROWS, weights).table("mini_top")
    return [(row["id"], row["score"], row["rank"], DAY) for row in table.to_pylist()]


def test_a_published_day_is_there_once_and_recorded(build: Build, crm: str) -> None:
    """Rows, a receipt in the same database, and a record below data/; a second run writes nothing there."""
    root = build()
    receipt = run(load("mini", root), DAY)
    assert rows_at(crm, ALL) == truth()
    [noted] = rows_at(
        crm,
        "SELECT job, table_name, source, day, run_id, rows, key_hash, xmin::text FROM nightscore_receipts",
    )
    [record] = list_deliveries(load("mini", root).workspace)
    assert noted[:7] == (
        "mini", "top", "mini_top", dt.date.fromisoformat(DAY), receipt.run_id, 10, record.key_hash,
    )  # fmt: skip
    assert (record.status, record.rows, record.run_id) == ("delivered", 10, receipt.run_id)
    assert run(load("mini", root), DAY).status == "unchanged"
    [again] = rows_at(crm, "SELECT xmin::text FROM nightscore_receipts")
    assert again == noted[7:]
    assert len(list_deliveries(load("mini", root).workspace)) == 1


def test_the_key_hash_is_one_that_anybody_can_compute(build: Build, crm: str) -> None:
    """By Python's md5, of the ids as text with their lengths."""
    import hashlib

    root = build()
    run(load("mini", root), DAY)
    texts = [f"{len(str(row[0]))}:{row[0]}" for row in truth()]
    expected = sum(int(hashlib.md5(t.encode()).hexdigest()[:15], 16) for t in texts)  # noqa: S324
    [record] = list_deliveries(load("mini", root).workspace)
    assert int(record.key_hash) == expected


def test_a_changed_delivery_scores_nothing_and_is_delivered(build: Build, crm: str) -> None:
    """`deliver` is no cause: the day stays unchanged, and goes to the new table."""
    root = build("")
    first = run(load("mini", root), DAY)
    job = root / "jobs/mini/job.yaml"
    before = load("mini", root).hash
    job.write_text(job.read_text() + DELIVER)
    assert load("mini", root).hash == before
    second = run(load("mini", root), DAY)
    assert (second.status, second.run_id) == ("unchanged", first.run_id)
    assert rows_at(crm, ALL) == truth()


def test_a_restated_day_takes_the_place_of_the_one_before(build: Build, crm: str) -> None:
    """And the days beside it stay."""
    root = build(days=("2020-01-01", DAY))
    run(load("mini", root), "2020-01-01")
    run(load("mini", root), DAY)
    other = rows_at(crm, "SELECT * FROM top WHERE day = '2020-01-01' ORDER BY id")
    Truth(ROWS, (2.0, 0.5)).write_model(root)
    run(load("mini", root), DAY)
    assert rows_at(
        crm, f"SELECT id, score::float8, rank, day::text FROM top WHERE day = '{DAY}' ORDER BY id"
    ) == truth((2.0, 0.5))
    assert rows_at(crm, "SELECT * FROM top WHERE day = '2020-01-01' ORDER BY id") == other


def test_a_server_that_is_down_is_not_yet_and_then_right(
    build: Build, crm: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The day is published, the exit code is 75, and the next run delivers it without scoring."""
    root = build()
    monkeypatch.setenv("NIGHTSCORE_CONNECTION_CRM", "postgresql://ada:secret17@127.0.0.1:9/crm")
    assert call(["run", "mini", "--day", DAY, "--workspace", str(root)]) == NotYet.exit_code
    said = capsys.readouterr()
    assert "is published, and not delivered everywhere" in said.err and "redeliver" in said.err
    assert "secret17" not in said.err + said.out and "127.0.0.1" not in said.err + said.out
    assert query(f"SELECT count(*) n FROM mini_top WHERE day = '{DAY}'", root)["n"].to_pylist() == [10]
    monkeypatch.setenv("NIGHTSCORE_CONNECTION_CRM", crm)
    assert run(load("mini", root), DAY).status == "unchanged"
    assert rows_at(crm, ALL) == truth()


def test_a_connection_that_is_not_set_is_broken_by_name(build: Build) -> None:
    """What is to be set is said, and `check` says it too, without failing."""
    root = build()
    with pytest.raises(Broken, match="connection crm is not set: set NIGHTSCORE_CONNECTION_CRM"):
        run(load("mini", root), DAY)


def test_a_table_that_differs_is_named_with_what_mends_it(build: Build, crm: str) -> None:
    """Column by column; nothing is delivered, the day is published."""
    import psycopg

    with psycopg.connect(crm) as connection:
        connection.execute("CREATE TABLE top (id int, day date, extra text NOT NULL)")
    root = build()
    with pytest.raises(Broken) as told:
        run(load("mini", root), DAY)
    for part in (
        "has id as integer, and it is bigint", "has no column score (ALTER TABLE top ADD score real)",
        "has a column extra that must not be null", "CREATE UNIQUE INDEX ON top (id, day)",
    ):  # fmt: skip
        assert part in str(told.value)
    assert rows_at(crm, "SELECT count(*) FROM top") == [(0,)]


def test_a_key_that_is_not_unique_is_broken(build: Build, crm: str) -> None:
    """The key is named by the server; nothing is there."""
    root = build(DELIVER.replace("key: [id]", "key: [run_rank]").replace("run_rank", "rank"), rows=ROWS)
    (root / "jobs/mini/top.sql").write_text("SELECT id, score, 1::BIGINT AS rank FROM scores LIMIT 0")
    (root / "jobs/mini/top.sql").write_text(
        "SELECT id, score, 1::BIGINT AS rank FROM scores QUALIFY "
        "row_number() OVER (ORDER BY score DESC, id) <= getvariable('n')"
    )
    with pytest.raises(Broken, match=r"key is not unique: Key \(rank, day\)=\(1, 2020-01-02\)"):
        run(load("mini", root), DAY)


def test_what_was_changed_at_the_target_is_found_and_sent_again(build: Build, crm: str) -> None:
    """Control totals are counted there; `redeliver` mends it."""
    import psycopg

    root = build()
    run(load("mini", root), DAY)
    with psycopg.connect(crm) as connection:
        connection.execute("DELETE FROM top WHERE rank = 1")
    for file in (root / "data/deliveries").rglob("*.json"):
        file.unlink()  # as after a kill between the commit there and the record here
    with pytest.raises(Broken, match=r"has 9 rows there.* 10 were published"):
        run(load("mini", root), DAY)
    assert call(["redeliver", "mini", "--day", DAY, "--workspace", str(root)]) == 0
    assert rows_at(crm, ALL) == truth()


def test_a_withdrawn_day_gives_way_to_the_run_before_and_stays_withdrawn(build: Build, crm: str) -> None:
    """The next run does not deliver it again; a person does; without a run before, the day is empty there."""
    root = build()
    run(load("mini", root), DAY)
    Truth(ROWS, (2.0, 0.5)).write_model(root)
    run(load("mini", root), DAY)
    go = ["withdraw", "mini", "--day", DAY, "--to", "shop", "--by", "Ada", "--because", "wrong prices"]
    assert call([*go, "--workspace", str(root)]) == 0
    assert rows_at(crm, ALL) == truth()
    run(load("mini", root), DAY)
    assert rows_at(crm, ALL) == truth()
    assert call([*go, "--workspace", str(root)]) == 0
    assert rows_at(crm, ALL) == []
    assert call([*go, "--workspace", str(root)]) == Broken.exit_code
    run(load("mini", root), DAY)
    assert rows_at(crm, ALL) == []
    assert call(["redeliver", "mini", "--day", DAY, "--workspace", str(root)]) == 0
    assert rows_at(crm, ALL) == truth((2.0, 0.5))


def test_upsert_keeps_each_keys_newest_day(build: Build, crm: str) -> None:
    """Whatever order the days come in: by pandas' own groups."""
    days = ("2020-01-01", DAY, "2020-01-03")
    root = build(DELIVER.replace("key: [id]", "key: [id], mode: upsert"), days=days)
    for day in (DAY, "2020-01-03", "2020-01-01"):
        run(load("mini", root), day)
    frame = query("SELECT id, score, rank, day::VARCHAR AS day FROM mini_top", root).to_pandas()
    newest = frame.sort_values("day").groupby("id").last().reset_index()
    expected = [tuple(r) for r in newest.sort_values("id").itertuples(index=False)]
    assert rows_at(crm, ALL) == expected


def test_a_look_up_by_key_goes_by_the_index(build: Build, crm: str) -> None:
    """As EXPLAIN says, where there are enough rows for it to matter."""
    root = build("deliver:\n  - {from: mini_scores, postgres: {connection: crm, table: top, key: [id]}}\n")
    run(load("mini", root), DAY)
    plan = rows_at(crm, "EXPLAIN SELECT * FROM top WHERE id = 77 ORDER BY day DESC LIMIT 1")
    assert "Index Scan" in str(plan) and "top_pkey" in str(plan), plan


def dying(step: Callable[[], None], method: Callable[..., Any], after: bool = False) -> Callable[..., Any]:
    """A method that is a step, and where it is `after` its end is one, too."""

    def called(*args: Any, **kwargs: Any) -> Any:
        step()
        given = method(*args, **kwargs)
        if after:
            step()
        return given

    return called


def deliver_and_die(answers: Connection, left: int, root: Path) -> None:
    """Deliver, and be killed once so many steps are done."""
    import psycopg

    from nightscore.store.records import deliveries

    steps = itertools.count()

    def step() -> None:
        if next(steps) >= left:
            os.kill(os.getpid(), signal.SIGKILL)

    for kind, name in ((psycopg.Connection, "execute"), (psycopg.Copy, "write"), (psycopg.Cursor, "copy")):
        setattr(kind, name, dying(step, getattr(kind, name)))
    commit = dying(step, psycopg.Transaction.__exit__, after=True)
    psycopg.Transaction.__exit__ = commit  # type: ignore[method-assign]
    deliveries.record_delivery = dying(step, deliveries.record_delivery, after=True)
    run(load("mini", root), DAY)
    answers.send({"status": "whole"})


def killed_at(step: int, root: Path) -> bool:
    """Deliver in a process that is killed at its k-th step; whether it came to its end."""
    end = spawn(deliver_and_die, step, root).wait()
    assert end.killed or end.code == 0, end
    return end.status == "whole"


@pytest.mark.slow
def test_killed_at_each_statement_a_reader_sees_the_old_day_or_the_new(build: Build, crm: str) -> None:
    """Of a restatement; after the last kill one more run has delivered it, once, and recorded it."""
    root = build()
    run(load("mini", root), DAY)
    new = (2.0, 0.5)
    Truth(ROWS, new).write_model(root)
    step = 0
    while not killed_at(step, root):
        assert rows_at(crm, ALL) in (truth(), truth(new)), step
        step += 1
    assert step > 12
    assert rows_at(crm, ALL) == truth(new)
    assert [r.status for r in list_deliveries(load("mini", root).workspace)] == ["delivered"] * 2
    assert rows_at(crm, "SELECT count(*) FROM nightscore_receipts") == [(1,)]


@pytest.mark.slow
def test_a_reader_never_sees_half_a_day_while_two_runs_deliver(
    build: Build, crm: str, tmp_path: Path
) -> None:
    """He polls; each answer is one of the two nights whole."""
    import psycopg

    root = build()
    run(load("mini", root), DAY)
    ends, seen = threading.Event(), []

    def read() -> None:
        with psycopg.connect(crm, autocommit=True) as connection:
            while not ends.is_set():
                seen.append(list(connection.execute(ALL)))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for weights in ((2.0, 0.5), (1.0, 2.0), (2.0, 0.5)):
            Truth(ROWS, weights).write_model(root)
            run(load("mini", root), DAY)
            again = ("redeliver", "mini", "--day", DAY, "--workspace", str(root))
            both = [begin(tmp_path / str(number), *again) for number in range(2)]
            assert [one.wait().code for one in both] == [0, 0]
    finally:
        ends.set()
        reader.join()
    assert len(seen) > 10 and all(one in (truth(), truth((2.0, 0.5))) for one in seen)
    assert rows_at(crm, ALL) == truth((2.0, 0.5))


def test_json_of_the_commands_is_one_document(
    build: Build, crm: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`deliveries --json` has what is recorded."""
    root = build()
    run(load("mini", root), DAY)
    assert call(["deliveries", "mini", "--json", "--workspace", str(root)]) == 0
    [one] = json.loads(capsys.readouterr().out)
    assert (one["target"], one["rows"], one["status"]) == ("crm: table top", 10, "delivered")


def test_who_is_erased_goes_from_the_target_too_also_when_it_was_down(
    build: Build, crm: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The erasure stands, the target is owed, and the next one sends it; a run that was replaced is said."""
    monkeypatch.setenv("NIGHTSCORE_ERASURE_SECRET", "a secret of these tests")
    root = build()
    run(load("mini", root), DAY)
    theirs, *others = truth()
    erase = ["forget", "--because", "request x", "--by", "Ada", "--workspace", str(root), "--key"]
    monkeypatch.setenv("NIGHTSCORE_CONNECTION_CRM", "postgresql://ada:secret17@127.0.0.1:9/crm")
    assert call([*erase, f"id={theirs[0]}"]) == NotYet.exit_code
    said = capsys.readouterr()
    assert "still delivered with them" in said.out and "secret17" not in said.out + said.err
    assert query(f"SELECT count(*) n FROM mini_top WHERE id = {theirs[0]}", root)["n"].to_pylist() == [0]
    assert rows_at(crm, ALL) == truth()
    monkeypatch.setenv("NIGHTSCORE_CONNECTION_CRM", crm)
    assert call([*erase, "id=1234567"]) == 0
    assert rows_at(crm, ALL) == others
    assert "delivered anew: 9 rows" in capsys.readouterr().out
    assert call([*erase, "id=1234567"]) == 0
    assert "delivered anew" not in capsys.readouterr().out
