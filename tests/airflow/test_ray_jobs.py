"""A score task and a Ray cluster, as far as it goes without one; that of end to end is in tests/e2e."""

import dataclasses
import datetime as dt
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("airflow")

from airflow.sdk.exceptions import AirflowException, AirflowFailException

from nightscore.airflow.on_ray import jobs as ray_jobs
from nightscore.airflow.on_ray.jobs import ADDRESS, JobState, RayJobs, jobs_of_environment
from nightscore.airflow.on_ray.score import find_unstaged, plan_holds, read_scored
from nightscore.airflow.on_ray.trigger import RayJobTrigger
from nightscore.airflow.standalone import free_port
from nightscore.airflow.tasks import ScoreShare
from nightscore.cli.main import call
from nightscore.common import as_day, silent
from nightscore.common.errors import Broken, NotYet
from nightscore.job import Job, load
from nightscore.pipeline.executors import InOrder, score_planned
from nightscore.pipeline.steps import plan_day
from nightscore.store import Plan, list_attempts, run_folder
from nightscore.store.storage import homes
from tests.support.s3 import BUCKET, Server, become_client, into_bucket
from tests.support.workspace import DAYS, make_workspace, write_day

ROWS = 70_000  # three pieces


@pytest.fixture
def planned(tmp_path: Path) -> tuple[Job, Plan]:
    """The small job with the plan of a day."""
    job = load("mini", make_workspace(tmp_path, ROWS, days=DAYS[:1]))
    return job, plan_day(job, as_day(DAYS[0]))


def task(job: Job, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> ScoreShare:
    made = ScoreShare(
        task_id="score", job=job.name, job_hash="", workspace=str(job.workspace.root),
        share=[*range(len(plan.pieces))],
    )  # fmt: skip
    monkeypatch.setattr(made, "pull_plan", lambda _: plan)
    return made


def of_a_run() -> dict[str, Any]:
    """What a task has of the DAG run that it belongs to."""
    return {"dag_run": SimpleNamespace(run_id="r", start_date=dt.datetime.now(dt.UTC)), "params": {}}


def state(status: str, code: int | None = None, message: str = "it says so") -> dict[str, Any]:
    return dataclasses.asdict(JobState(status, code, message))


@pytest.mark.parametrize(
    "address",
    ["head:8265", "ray://head:10001", "http://", "https://user:secret@head", "http://head?token=secret",
     "http://head#secret", "http://he ad"],
)  # fmt: skip
def test_what_is_no_address_is_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what is allowed, and without what may be a secret."""
    monkeypatch.setenv(ADDRESS, address)
    with pytest.raises(Broken, match="allowed: http://HOST:PORT") as told:
        jobs_of_environment()
    assert "secret" not in str(told.value)


@pytest.fixture
def answering() -> Iterator[dict[str, Any]]:
    """A server on this machine that gives the same answer to all: `status`, `body`, `headers`."""
    given: dict[str, Any] = {"status": 200, "body": b"{}", "headers": {}}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            given["asked"] = dict(self.headers)
            self.send_response(given["status"])
            for name, value in {**given["headers"], "Content-Length": str(len(given["body"]))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(given["body"])

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        given["jobs"] = RayJobs(f"http://127.0.0.1:{server.server_port}")
        yield given
        server.shutdown()


@pytest.mark.parametrize(
    "token", ["of-tests\nonly-secret", "s\u00e9cret", "tok\x01en-secret", "two words-secret", "a\u2028secret"]
)
@pytest.mark.parametrize("in_file", [False, True])
def test_what_is_no_token_is_refused_and_not_shown(
    token: str, in_file: bool, answering: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of two lines, say: HTTP's library would show it as an illegal header."""
    (tmp_path / "token").write_text(token)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "" if in_file else token)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    with pytest.raises(Broken, match="is no token: it has a blank") as told:
        ray_jobs.call(answering["jobs"].find("a job"))
    assert "secret" not in f"{told.value!r}{told.value.__context__!r}" and "cret" not in str(told.value)
    assert "asked" not in answering


ODD = {
    "a list": (200, b"[]", Broken),
    "null": (200, b"null", Broken),
    "a text": (200, b'"x"', Broken),
    "no status": (200, b"{}", Broken),
    "status is none": (200, b'{"status": null}', Broken),
    "a page": (200, b"<html>log in", Broken),
    "another place": (302, b"", Broken),
    "too many": (429, b"later", NotYet),
    "too slow": (408, b"", NotYet),
    "a proxy": (502, b"<html>bad", NotYet),
}


@pytest.mark.parametrize(("status", "body", "error"), ODD.values(), ids=ODD)
def test_odd_answers_are_told(
    status: int, body: bytes, error: type[Exception], answering: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """By an error of ours; who waits for a job asks again, and counts it as lost in the end."""
    answering.update(status=status, body=body)
    jobs = answering["jobs"]
    with pytest.raises(error, match="NIGHTSCORE_RAY=http://127"):
        ray_jobs.call(jobs.find("a job"))
    monkeypatch.setattr(ray_jobs, "PATIENCE", 0.05)
    lost = ray_jobs.call(jobs.follow("a job", print, 0.02))
    assert lost.status == "LOST" and "NIGHTSCORE_RAY=" in lost.message


def test_an_answer_that_can_t_be_unpacked_is_asked_for_again(answering: dict[str, Any]) -> None:
    """What is no gzip is not yet an answer."""
    answering.update(body=b"no gzip", headers={"Content-Encoding": "gzip"})
    with pytest.raises(NotYet, match="no Ray cluster answers there"):
        ray_jobs.call(answering["jobs"].find("a job"))


@pytest.mark.parametrize("address", ["http://head:8265", "https://ray.company/cluster/", "http://[::1]:8265"])
def test_an_address_is_taken_as_it_is(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ADDRESS, address)
    jobs = jobs_of_environment()
    assert jobs and jobs.address == address.rstrip("/")
    monkeypatch.setenv(ADDRESS, "")
    assert jobs_of_environment() is None


def test_a_cluster_that_is_not_there_is_tried_again(
    planned: tuple[Job, Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task ends with an error that Airflow tries again; nothing is scored here meanwhile."""
    job, plan = planned
    monkeypatch.setenv(ADDRESS, f"http://127.0.0.1:{free_port(9500)}")
    with pytest.raises(AirflowException, match="no Ray cluster answers there") as told:
        task(job, plan, monkeypatch).execute(of_a_run())
    assert not isinstance(told.value, AirflowFailException)
    assert len(find_unstaged(job, plan, range(len(plan.pieces)))) == len(plan.pieces)


def test_what_is_staged_needs_no_cluster(planned: tuple[Job, Plan], monkeypatch: pytest.MonkeyPatch) -> None:
    """A task whose pieces are all there submits nothing; those that a job noted have the times of that."""
    job, plan = planned
    done = score_planned(job, as_day(plan.day), plan.run_id, executor=InOrder())
    monkeypatch.setenv(ADDRESS, f"http://127.0.0.1:{free_port(9500)}")
    given = task(job, plan, monkeypatch).execute(of_a_run())
    assert [file["path"] for file in given] == [file.path for file in done]
    share = range(len(plan.pieces))
    assert read_scored(job, plan, share, silent) == done and all(file.cpu_seconds > 0 for file in done)
    score_planned(job, as_day(plan.day), plan.run_id, executor=InOrder())
    assert read_scored(job, plan, share, silent) == done, "a second job keeps what the first noted"
    assert read_scored(job, plan, [2], silent) == done[2:3]


def test_in_a_bucket_what_was_noted_is_read_and_no_piece_is_fetched(
    planned: tuple[Job, Plan], s3_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The score task's worker has a scratch folder of its own, in which no piece of the cluster lies."""
    address, root = f"s3://{BUCKET}/{tmp_path.name}", tmp_path
    become_client(monkeypatch, s3_server.port, tmp_path / "node")
    into_bucket(root, address, tmp_path / "writer")
    monkeypatch.setenv("NIGHTSCORE_ROOT_DATA", address)
    job = load("mini", root)
    plan = plan_day(job, as_day(DAYS[0]))
    share = range(len(plan.pieces))
    assert find_unstaged(job, plan, share) == [*share]
    done = score_planned(job, as_day(plan.day), plan.run_id, executor=InOrder())
    become_client(monkeypatch, s3_server.port, tmp_path / "worker")
    job = load("mini", root)
    assert find_unstaged(job, plan, share) == [] and read_scored(job, plan, share, silent) == done
    assert not [*(tmp_path / "worker").rglob("*.parquet")]
    homes._bucket.cache_clear()


@pytest.mark.parametrize("text", ["", "[", "{}", "[3]", '[{"path": "x"}]', "[]"])
@pytest.mark.sample(2)
def test_a_note_that_can_t_be_read_is_done_without(planned: tuple[Job, Plan], text: str) -> None:
    """The files themselves say what they hold."""
    job, plan = planned
    done = score_planned(job, as_day(plan.day), plan.run_id, executor=InOrder())
    run_folder.folder_of_plan(job.workspace, plan).scored.replace_text(text)
    found = read_scored(job, plan, range(len(plan.pieces)), silent)
    assert [(f.path, f.rows, f.bytes) for f in found] == [(f.path, f.rows, f.bytes) for f in done]


@pytest.mark.parametrize("code", [1, 2, 126, 127])
def test_a_command_that_says_broken_fails_for_good(code: int) -> None:
    with pytest.raises(Broken, match="Ray job j: failed: it says so"):
        JobState("FAILED", code, "it says so").refuse_failure("j")


@pytest.mark.parametrize(
    ("status", "code"),
    [("FAILED", 75), ("FAILED", 137), ("FAILED", 143), ("FAILED", None), ("STOPPED", None), ("LOST", None)],
)
def test_what_was_killed_lost_or_stopped_is_tried_again(status: str, code: int | None) -> None:
    with pytest.raises(NotYet, match=r"Ray job j: .*; what was staged is kept"):
        JobState(status, code).refuse_failure("j")


def test_after_a_job_that_says_not_yet_a_plan_that_holds_is_tried_again(
    planned: tuple[Job, Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that holds no longer is given to publish, which plans again."""
    job, plan = planned
    score = task(job, plan, monkeypatch)
    context = of_a_run()
    with pytest.raises(AirflowException, match="it says so"):
        score.resume(context, state("FAILED", 75), "j")
    assert [one.state for one in list_attempts(job.workspace, job.name)] == ["waiting"]
    with pytest.raises(AirflowFailException, match="it says so"):
        score.resume(context, state("FAILED", 1), "j")
    assert [one.state for one in list_attempts(job.workspace, job.name)] == ["failed"]
    with pytest.raises(AirflowException, match="piece 0 is not staged as seen from here"):
        score.resume(context, state("SUCCEEDED", 0), "j")
    write_day(job.workspace.root, DAYS[0], ROWS - 1)
    assert not plan_holds(job, plan)
    assert score.resume(context, state("FAILED", 75), "j") == []


def test_what_the_trigger_keeps_holds_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """It lies in Airflow's database; the token is read from the environment at each request."""
    monkeypatch.setenv("RAY_AUTH_TOKEN", "of-tests-only")
    path, arguments = RayJobTrigger(address="http://head:8265", name="j").serialize()
    assert "of-tests-only" not in json.dumps(arguments)
    again = RayJobTrigger(**arguments)
    assert path.endswith("RayJobTrigger") and again.serialize()[1] == arguments


def test_lines_are_told_once_and_whole() -> None:
    """Of a log that grows, also where its last line is not ended."""
    told: list[str] = []
    lines = ray_jobs._Lines(told.append)
    for text, ended in (("a\nb", False), ("a\nbc\n\n", False), ("a\nbc\n\nd", False), ("a\nbc\n\nd", True)):
        lines(text, ended)
    assert told == ["a", "bc", "d"]


def test_the_command_of_a_job_scores_a_plan_and_publishes_nothing(
    planned: tuple[Job, Plan], capsys: pytest.CaptureFixture[str]
) -> None:
    """A plan that is not there is broken, one that was made with other libraries is not yet."""
    job, plan = planned
    command = ["--workspace", str(job.workspace.root), "score", "mini", "--day", plan.day, "--run"]
    assert call([*command, plan.run_id]) == 0
    assert find_unstaged(job, plan, range(len(plan.pieces))) == []
    assert not (job.workspace.root / "data/tables").exists()
    assert call([*command, "another"]) == 1
    assert "does not see the data" in capsys.readouterr().err
    record = job.workspace.root / f"data/runs/mini/{plan.day}/{plan.run_id}/plan.json"
    text = record.read_text()
    record.chmod(0o644)
    record.write_text(text.replace(plan.versions["onnxruntime"], "0.0.1"))
    assert call([*command, plan.run_id]) == 75
    assert "onnxruntime 0.0.1 (here" in capsys.readouterr().err
    record.write_text("{")
    assert call([*command, plan.run_id]) == 75
    call(["--help"])
    assert " score " not in capsys.readouterr().out
