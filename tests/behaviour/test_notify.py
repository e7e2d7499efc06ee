"""Who is told what of a day: by servers of the tests' own, which get real messages."""

import base64
import contextlib
import datetime as dt
import json
import logging
import re
import subprocess
import sys
import threading
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from nightscore import load, run
from nightscore.cli.main import call
from nightscore.common import Broken, NotYet, open_workspace
from nightscore.pipeline import tell_again
from nightscore.store import Attempt
from nightscore.store.records.attempts import list_attempts
from nightscore.store.records.notices import STALE_SECONDS, Notice, claim_notice, list_notices
from nightscore.store.records.paces import note_pace
from tests.behaviour.conftest import Build
from tests.behaviour.world import DAY
from tests.support.receivers import Hook, hook_server, mail_server, make_certificate
from tests.support.workspace import JOB, write_day

NOW = dt.datetime.now(dt.UTC)
BEGAN = NOW - dt.timedelta(minutes=60)  # the night of TONIGHT
ODD = ("dead", "odd", "none", "spaces")  # connections that reach nobody
TONIGHT = (BEGAN.date() - dt.timedelta(days=1)).isoformat()
SECRET = "correct-horse-battery"  # noqa: S105 - of every connection here
ENDS = "[failed, held, published]"
ALL = "[failed, held, overdue, at_risk, published]"
MANY = "  - {name: many, sql: SELECT count(*) > 50 FROM scores}\n"


def clock(minutes: float) -> str:
    """The time of day, in UTC, so many minutes from now."""
    return f"{NOW + dt.timedelta(minutes=minutes):%H:%M}"


@pytest.fixture(autouse=True)
def begun_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has its own now: a whole suite takes longer than the ten minutes of a deadline."""
    now = dt.datetime.now(dt.UTC)
    began = now - dt.timedelta(minutes=60)
    tonight = (began.date() - dt.timedelta(days=1)).isoformat()
    for name, value in (("NOW", now), ("BEGAN", began), ("TONIGHT", tonight)):
        monkeypatch.setitem(globals(), name, value)


def due(minutes: float) -> str:
    """A schedule whose night began an hour ago, and a deadline that is so many minutes from now."""
    return f'schedule: {{daily: "{BEGAN:%H:%M}"}}\ndeadline: "{clock(minutes)}"\n'


def asks(when: str = ENDS, targets: tuple[str, ...] = ("webhook: hook",)) -> str:
    """A job's `notify`."""
    return "notify:\n" + "".join(f"  - {{{one}, when: {when}}}\n" for one in targets)


def write_job(root: Path, text: str) -> None:
    (root / "jobs/mini/job.yaml").write_text(text)


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hook]:
    """An HTTP server, as the connection `hook`, with an account."""
    with hook_server() as server:
        address = server.address.replace("//", f"//ada:{SECRET}@")
        monkeypatch.setenv("AIRFLOW_CONN_HOOK", f"{address}/nights?token={SECRET}")
        yield server


def events(hook: Hook) -> list[tuple[str, str]]:
    return [(body["event"], body["day"]) for body in hook.bodies]


def test_each_end_is_told_once_to_who_asked(fresh: Build, hook: Hook) -> None:
    """Failed, held, published: with the message that the caller got; a retry that may help is no news."""
    root = fresh(rows=40, job=JOB + asks("[held, published]"), days=(DAY,))
    with pytest.raises(Broken):
        run(load("mini", root), "2020-02-02")
    assert events(hook) == []  # not asked for
    write_job(root, JOB + asks())
    with pytest.raises(Broken) as failed:
        run(load("mini", root), "2020-02-02")
    write_job(root, JOB + asks() + "policy: {missing: wait}\n")
    with pytest.raises(NotYet):
        run(load("mini", root), "2020-02-02")
    write_job(root, JOB + MANY + asks())
    with pytest.raises(Broken) as held:
        run(load("mini", root), DAY)
    who = ["--by", "Ada", "--because", "few is right"]
    assert call(["--workspace", str(root), "release", "mini", "--day", DAY, *who]) == 0
    assert events(hook)[2:] == [("published", DAY)] and "few is right" in hook.bodies[2]["message"]
    hook.got.pop()
    write_job(root, JOB + asks())
    receipt = run(load("mini", root), DAY, force=True)
    run(load("mini", root), DAY)  # unchanged
    run(load("mini", root), DAY, limit=3)  # a preview
    assert events(hook) == [("failed", "2020-02-02"), ("held", DAY), ("published", DAY)]
    assert [body["message"] for body in hook.bodies[:2]] == [str(failed.value), str(held.value)]
    assert "many" in hook.bodies[1]["message"]
    assert f"nightscore release mini --day {DAY}" in hook.bodies[1]["what_to_do"]
    assert (hook.bodies[2]["run"], hook.bodies[2]["owner"]) == (receipt.run_id, "tests")
    assert hook.bodies[2]["message"].startswith("40 rows")
    path, headers, _ = hook.got[0]
    assert path == f"/nights?token={SECRET}"
    assert base64.b64decode(headers["Authorization"].split()[1]).decode() == f"ada:{SECRET}"
    keys = [headers["Idempotency-Key"] for _, headers, _ in hook.got]
    assert len(set(keys)) == 3


def test_slack_and_mail_say_what_to_do(fresh: Build, hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same to people: the page where it is known; a value in a message calls nobody in Slack."""
    monkeypatch.setenv("NIGHTSCORE_CONNECTION_OPS", f"{hook.address}/services/T/B/{SECRET}")
    monkeypatch.setenv("NIGHTSCORE_PAGE", "https://airflow.example.com/nightscore/")
    targets = ("slack: ops", "email: mail, to: [ada@example.com, bob@example.com]")
    audit = "  - {name: '<!channel> many', sql: SELECT count(*) > 50 FROM scores}\n"
    with mail_server() as post:
        account = f"night%40example.com:{SECRET}@127.0.0.1:{post.port}"
        monkeypatch.setenv("AIRFLOW_CONN_MAIL", f"smtp://{account}?disable_ssl=true&disable_tls=true")
        root = fresh(rows=40, job=JOB + audit + asks(targets=targets), days=(DAY,))
        with pytest.raises(Broken):
            run(load("mini", root), DAY)
        [(path, _, body)] = hook.got
        [mail] = post.mails
    assert path == f"/services/T/B/{SECRET}" and list(body) == ["text"]
    assert body["text"].startswith(f"*mini {DAY} is held*\n") and "&lt;!channel&gt; many" in body["text"]
    assert "<" not in body["text"]
    assert (mail["Subject"], mail["From"]) == (f"mini {DAY} is held", "night@example.com")
    assert mail["To"] == "ada@example.com, bob@example.com" == ", ".join(post.to)
    assert post.accounts == [("night@example.com", SECRET)]
    text = mail.get_content()  # type: ignore[attr-defined]
    for part in (
        "<!channel> many",
        "What to do: look at it",
        "Page: https://airflow.example.com/nightscore/jobs/mini",
    ):
        assert part in text


FIGURES = """\
highlights:
  - title: "Worth by band <!channel> ``` <b>"
    sql: >-
      SELECT CAST(id % 7 AS VARCHAR) || '<i>`' AS band,
          CAST(sum(CAST(round(a * 100000) AS DECIMAL(18, 0))) AS DECIMAL(18, 2)) AS worth, avg(a) AS share
      FROM scores GROUP BY band ORDER BY band
    by: band
    format: {worth: money USD, share: percent}
    against: day before
  - {title: Broken, sql: "SELECT CAST(CAST(id AS VARCHAR) || 'x' AS INTEGER) AS n FROM mini_top", by: n}
"""
TWO_DAYS = ("2020-01-01", "2020-01-02")


def by_band(root: Path, day: str) -> dict[str, tuple[int, float]]:
    """The same by pandas, from the lake."""
    rows = pq.read_table(root / f"data/lake/rows/day={day}/part-0.parquet").to_pandas()
    rows["cents"] = np.floor(rows["a"].astype("float32") * np.float32(100_000) + np.float32(0.5)).astype(int)
    groups = rows.groupby(rows["id"] % 7)
    return {str(k): (int(g["cents"].sum()), float(g["a"].astype("float64").mean())) for k, g in groups}


@pytest.mark.parametrize("held", [False, True], ids=["published", "held"])
def test_a_message_has_the_highlights_of_the_day(
    fresh: Build, hook: Hook, monkeypatch: pytest.MonkeyPatch, held: bool
) -> None:
    """In Slack, as HTML in a mail, as fields to a program: with formats, against the day before, folded.

    One that failed says so. Above what is told of a published day, below why one is held. None is kept.
    """
    monkeypatch.setenv("NIGHTSCORE_CONNECTION_OPS", f"{hook.address}/services/T")
    first, day = TWO_DAYS
    with mail_server() as post:
        monkeypatch.setenv("AIRFLOW_CONN_MAIL", f"smtp://127.0.0.1:{post.port}?disable_ssl=1&disable_tls=1")
        root = fresh(rows=400, job=JOB + FIGURES, days=TWO_DAYS)
        run(load("mini", root), first)
        targets = ("webhook: hook", "slack: ops", "email: mail, to: [a@example.com]")
        write_job(root, JOB + (MANY.replace("50", "500") if held else "") + FIGURES + asks(targets=targets))
        with pytest.raises(Broken) if held else contextlib.nullcontext():
            run(load("mini", root), day)
        [mail] = post.mails
    web, slack = hook.bodies
    bands, broken = web["highlights"]
    now, before = by_band(root, day), by_band(root, first)
    assert (bands["against"], bands["more_rows"], len(bands["rows"])) == (first, 2, 5)
    assert broken["rows"] == [] and "Could not convert" in broken["reason"]
    html = mail.get_body(("html",)).get_content()  # type: ignore[attr-defined]
    plain = mail.get_body(("plain",)).get_content()  # type: ignore[attr-defined]
    for i, row in enumerate(bands["rows"]):
        (cents, share), (cents_before, share_before) = now[str(i)], before[str(i)]
        by = cents - cents_before
        worth = f"{cents:,.2f}"
        change = f"{by:+,.2f} ({100 * by / cents_before:+,.1f} %)"
        points = f"{100 * (share - share_before):+,.2f} points"
        assert row["worth"] == {
            "value": f"{cents}.00", "text": worth, "before": f"{cents_before}.00", "change": change
        }  # fmt: skip
        assert row["share"]["text"] == f"{100 * share:.2f} %" and row["share"]["change"] == points
        assert f">{worth}</td>" in html and f">{change}</td>" in html and f">{points}</td>" in html
        for text in (plain, slack["text"]):
            assert any({worth, change, points} <= set(re.split("  +", line)) for line in text.splitlines())
    assert (
        slack["text"].count("```") == 2 and "&lt;!channel&gt;" in slack["text"] and "<" not in slack["text"]
    )
    assert "<i>" not in html and "<b>" not in html and "worth USD" in html and "and 2 more rows" in html
    for text in (plain, slack["text"], html):
        assert (text.index("worth USD") < text.index("What to do")) is not held
    kept = list_notices(open_workspace(root), "mini", day).values()
    assert len(kept) == 3 and not [one for one in kept if "worth" in one.model_dump_json()]


def test_a_message_that_is_sent_again_has_them_too(fresh: Build, hook: Hook) -> None:
    """From the receipt as it is then."""
    hook.status = 503
    root = fresh(rows=40, job=JOB + FIGURES + asks(), days=(DAY,))
    run(load("mini", root), DAY)
    [untold] = hook.bodies
    hook.status = 200
    assert tell_again(load("mini", root), DAY) == []
    assert hook.bodies[1] == untold and len(untold["highlights"][0]["rows"]) == 5


@pytest.mark.disk_only(reason="what is tried is the mail server")
def test_mail_by_tls_proves_the_server(fresh: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the server's own certificate as the one to trust it goes; without, it does not."""
    certificate = make_certificate(tmp_path)
    with mail_server(certificate) as post:
        told = {
            "conn_type": "smtp",
            "host": "localhost",
            "port": post.port,
            "login": "ada",
            "password": SECRET,
        }
        root = fresh(rows=40, job=JOB + asks(targets=("email: mail, to: [a@example.com]",)), days=(DAY,))
        monkeypatch.setenv("AIRFLOW_CONN_MAIL", json.dumps(told))
        run(load("mini", root), DAY)
        [untold] = last(root).untold
        assert "email mail to a@example.com" in untold and post.mails == [] and post.accounts == []
        extra = {"ca_file": str(certificate), "from_email": "night@example.com"}
        monkeypatch.setenv("AIRFLOW_CONN_MAIL", json.dumps({**told, "extra": extra}))
        run(load("mini", root), DAY, force=True)
    assert [mail["From"] for mail in post.mails] == ["night@example.com"] * 2  # and what had not arrived


def last(root: Path) -> Attempt:
    return max(list_attempts(open_workspace(root)), key=lambda one: one.started)


@pytest.mark.parametrize("status", [500, 307])
def test_a_target_that_fails_fails_no_night_and_is_tried_again(
    fresh: Build,
    hook: Hook,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    status: int,
) -> None:
    """It is said in the log and in `runs`; the next event of the day brings both; a redirect is none."""
    root = fresh(rows=40, job=JOB + asks(), days=(DAY,))
    hook.status = status
    with caplog.at_level(logging.WARNING):
        assert run(load("mini", root), DAY).status == "published"
    assert len(hook.got) == 1 and f"HTTP {status}" in caplog.text
    assert call(["--workspace", str(root), "runs"]) == 0
    assert f"not told: webhook hook: HTTP {status}" in " ".join(capsys.readouterr().out.split())
    hook.status = 200
    run(load("mini", root), DAY, force=True)
    assert len(hook.got) == 3
    first = hook.got[0][1]["Idempotency-Key"]
    assert [headers["Idempotency-Key"] == first for _, headers, _ in hook.got].count(True) == 2
    run(load("mini", root), DAY, force=True)
    assert len(hook.got) == 4


def test_no_secret_is_written_or_said(
    fresh: Build, hook: Hook, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither where it arrives nor where it fails, by whichever target: in no file, no log, no output."""
    monkeypatch.setenv("AIRFLOW_CONN_DEAD", f"https://ada:{SECRET}@127.0.0.1:1/{SECRET}")
    monkeypatch.setenv("AIRFLOW_CONN_ODD", f"gopher://{SECRET}")
    monkeypatch.setenv("AIRFLOW_CONN_NONE", SECRET)
    monkeypatch.setenv("AIRFLOW_CONN_SPACES", f"https://{SECRET} {SECRET}/")
    with mail_server() as post:
        post.password = "another"  # noqa: S105 - one that is wrong
        address = f"smtp://ada:{SECRET}@127.0.0.1:{post.port}?disable_ssl=1&disable_tls=1"
        monkeypatch.setenv("AIRFLOW_CONN_MAIL", address)
        targets = [f"{kind}: {name}" for kind in ("webhook", "slack") for name in ODD]
        targets += ["webhook: hook", "webhook: unset", "email: mail, to: [a@example.com]"]
        root = fresh(rows=40, job=JOB + asks(targets=tuple(targets)), days=(TONIGHT,))
        assert call(["--workspace", str(root), "run", "mini", "--day", TONIGHT]) == 0
        call(["--workspace", str(root), "runs", "--json"])
        arrived = len(hook.got)
        assert call(["--workspace", str(root), "watch", "--once"]) == 75  # those of before, once more
        assert len(hook.got) == arrived and len(post.accounts) == 2
    assert SECRET in str(hook.got[0][0]) and post.accounts[0] == ("ada", SECRET)
    untold = dict(one.split(": ", 1) for one in last(root).untold)
    assert untold["webhook unset"].startswith("connection unset is not set: set NIGHTSCORE_CONNECTION_UNSET=")
    assert untold["webhook odd"] == "connection odd is no URL of http or https"
    assert untold["email mail to a@example.com"] == "SMTP 535 (SMTPAuthenticationError)"
    assert len(untold) == len(targets) - 1
    out = capfd.readouterr()
    written = [file.read_bytes() for file in root.rglob("*") if file.is_file()]
    assert written and SECRET not in out.out + out.err
    assert not [text for text in written if SECRET.encode() in text]


def ran(root: Path, *nights: float) -> None:
    """Nights that took so many seconds each."""
    for i, seconds in enumerate(nights):
        receipt: Any = types.SimpleNamespace(
            job="mini", day="2020-01-01", run_id=f"r{i}", rows=types.SimpleNamespace(scored=1_000),
            seconds={"score": seconds}, cost=types.SimpleNamespace(cpu_seconds={}, peak_memory_bytes=0),
        )  # fmt: skip
        note_pace(open_workspace(root), receipt)


@pytest.mark.disk_only(reason="days of the clock; records are the same in a bucket")
def test_watch_tells_what_is_at_risk_and_what_is_overdue(
    fresh: Build, hook: Hook, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a job that takes an hour: two hours before a day is neither, ten minutes before at risk."""
    watching = ["watch", "--once", "--json"]

    def watch() -> tuple[int, list[tuple[str, str]]]:
        capsys.readouterr()
        hook.got.clear()
        code = call(["--workspace", str(root), *watching])
        days = json.loads(capsys.readouterr().out)["days"]
        assert {one["day"] for one in days} <= {TONIGHT}
        return code, events(hook)

    root = fresh(rows=40, job=JOB + due(120) + asks(ALL), days=(DAY,))
    ran(root, 3_600.0)
    assert watch() == (0, [])
    write_job(root, JOB + due(10) + asks("[overdue]"))
    assert watch() == (1, [])  # late or at risk, and nobody asked
    write_job(root, JOB + due(10) + asks(ALL))
    assert watch()[0] == 1
    at_risk = events(hook)
    assert len(at_risk) == 1 and at_risk[0][0] == "at_risk"
    assert hook.bodies[0]["deadline"][:16] == f"{NOW + dt.timedelta(minutes=10):%Y-%m-%dT%H:%M}"
    assert watch() == (1, [])  # once
    write_job(root, JOB + due(-10) + asks(ALL))
    code, [(event, day)] = watch()
    assert (code, event, day) == (1, "overdue", at_risk[0][1]) and "missing" in hook.bodies[0]["message"]
    assert call(["--workspace", str(root), "missing"]) == 0  # before its first day a job owes nothing
    assert "never published, so that no day of them counts as missing: mini;" in capsys.readouterr().out
    write_day(root, day, 40)
    run(load("mini", root), day)
    assert watch() == (0, [])
    code, [one] = _runs(root, capsys)
    assert one["late"] is True and one["deadline"]


def _runs(root: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[dict[str, Any]]]:
    capsys.readouterr()
    code = call(["--workspace", str(root), "runs", "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_a_run_at_work_tells_by_itself(fresh: Build, hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its heartbeat sees the deadline: at risk by what nights take, then overdue; each once."""
    from nightscore.pipeline import Bell

    root = fresh(rows=40, job=JOB + due(10) + asks(ALL), days=(DAY,))
    ran(root, 3_600.0)
    job = load("mini", root)
    now = dt.datetime.now(dt.UTC)
    at_work = Attempt(job="mini", day=TONIGHT, attempt="a", started=now, updated=now, stage="score")
    bell = Bell(job, TONIGHT)
    for _ in range(2):
        bell.beat(at_work)
        Bell(job, TONIGHT).beat(at_work)  # another process
    assert events(hook) == [("at_risk", TONIGHT)]
    assert hook.bodies[0]["eta"] > hook.bodies[0]["deadline"]
    write_job(root, JOB + due(-10) + asks(ALL))
    Bell(load("mini", root), TONIGHT).beat(at_work)
    assert [event for event, _ in events(hook)] == ["at_risk", "overdue"]


def test_two_at_once_send_it_once_and_a_dead_one_is_made_up_for(fresh: Build, hook: Hook) -> None:
    """Eight threads, one message; of one that died before it said so, another comes, after a while."""
    from nightscore.pipeline import News, tell

    root = fresh(rows=40, job=JOB + asks(), days=(DAY,))
    job = load("mini", root)
    threads = [threading.Thread(target=tell, args=(job, DAY, News("failed", "no", "r"))) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(hook.got) == 1
    [sent] = list_notices(job.workspace, "mini", DAY).values()
    assert sent.state == "sent"
    old = NOW - dt.timedelta(seconds=STALE_SECONDS + 60)
    dead = Notice(**{**sent.model_dump(), "run": "dead", "state": "sending", "moment": old})
    fresh_one = Notice(
        **{**sent.model_dump(), "run": "alive", "state": "sending", "moment": dt.datetime.now(dt.UTC)}
    )
    assert claim_notice(job.workspace, dead) and claim_notice(job.workspace, fresh_one)
    tell(job, DAY, News("failed", "no", "r"))
    assert [headers["Idempotency-Key"] for _, headers, _ in hook.got] == [sent.key, dead.key]


ENDLESS = "SELECT id, a, b FROM rows WHERE id < (SELECT sum(n.range % 7) FROM range(1000000000000) AS n)\n"


@pytest.mark.disk_only(reason="what is tried is the process, not the storage")
def test_a_run_that_takes_too_long_ends_and_may_be_tried_again(fresh: Build, hook: Hook) -> None:
    """The process ends with 75, nothing is published, who asked is told; the next run goes on."""
    slow = JOB.replace("features: rows", "features: features.sql") + asks()
    root = fresh(rows=40, job=slow + "timeout: 3s\n", days=(DAY,))
    (root / "jobs/mini/features.sql").write_text(ENDLESS)
    command = [sys.executable, "-m", "nightscore", "--workspace", str(root), "run", "mini", "--day", DAY]
    command += ["--json"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 75 and "not yet: job mini: 2020-01-02: timeout:" in ended.stderr
    assert json.loads(ended.stdout)["status"] == "not yet"
    assert last(root).state == "failed" and "nothing is published, what is staged" in last(root).message
    assert events(hook) == [("failed", DAY)]
    assert not list(root.glob("data/tables/mini_scores/_delta_log/*.json"))
    (root / "jobs/mini/features.sql").write_text("SELECT id, a, b FROM rows\n")
    write_job(root, slow + "timeout: 5m\n")
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 and events(hook)[1:] == [("published", DAY)]
