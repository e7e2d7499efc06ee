"""The form: a field for each thing that a run can be asked for, and the job's own word on every value."""

import datetime as dt
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("airflow")

from airflow.sdk.exceptions import ParamValidationError

from nightscore.airflow.form import build_form, request_of
from nightscore.common.errors import Broken
from nightscore.common.workspace import Workspace
from nightscore.job import RUN_OPTIONS
from nightscore.job.loader import Job, read_job
from nightscore.pipeline.request import RunRequest
from nightscore.store.documents.plan import Restate

JOB = """\
job: mini
about: Rows scored by a linear model
owner: tests
inputs:
  rows: {path: data/lake/rows, partition: day}
features: rows
key: [id]
model: {path: data/models/linear.onnx, outputs: {score: y}}
params:
  n: {type: integer, default: 10, minimum: 1, maximum: 100, about: how many are chosen}
  share: {type: number, default: 0.5, minimum: 0, maximum: 1}
  since: {type: date, default: 2020-01-01}
  kind: {type: string, default: a, enum: [a, b]}
  note: {type: string, default: ""}
  loud: {type: boolean, default: false}
"""


def make(root: Path, text: str = JOB) -> Job:
    """The job of a job.yaml."""
    folder = root / "jobs" / "mini"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "job.yaml").write_text(text)
    return read_job(folder / "job.yaml", Workspace(root))


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A job with a parameter of each type."""
    return make(tmp_path)


def test_a_job_without_a_model_is_asked_for_no_model_and_no_device(tmp_path: Path) -> None:
    """All other fields are there, and a run by hand is the scheduled run."""
    none = make(tmp_path, JOB.replace("{path: data/models/linear.onnx, outputs: {score: y}}", "none"))
    fields = build_form(none)
    assert list(fields) == ["day", "n", "share", "since", "kind", "note", "loud", "force", "limit"]
    values = {name: field.value for name, field in fields.items()}
    request = request_of(none, values)
    assert (request.model, request.device, request.force) == (None, None, False)


def test_the_form_has_the_day_and_the_jobs_own_parameters_first(job: Job) -> None:
    """With type, range, choices, default and text of job.yaml; what follows is folded, and never required."""
    fields = build_form(job)
    own = ["n", "share", "since", "kind", "note", "loud"]
    rest = ["force", "limit", "device", "model"]
    assert list(fields) == ["day", *own, *rest]
    assert all("section" not in fields[name].schema for name in ("day", *own))
    assert {fields[name].schema["section"] for name in rest} == {"Options of the run"}
    assert fields["force"].schema["type"] == ["null", "boolean"] and fields["force"].value is False
    n = fields["n"]
    assert (n.value, n.description, n.schema["type"]) == (10, "how many are chosen", "integer")
    assert (n.schema["minimum"], n.schema["maximum"]) == (1, 100)
    assert fields["since"].schema["format"] == "date" and fields["since"].value == "2020-01-01"
    assert fields["kind"].schema["enum"] == ["a", "b"]
    assert fields["loud"].schema["type"] == "boolean"


def test_a_form_asks_for_what_the_job_has(tmp_path: Path) -> None:
    """Restatements where days are closed, what was known where an input says since when a row is."""
    closing = build_form(make(tmp_path / "a", JOB + "close: true\n"))
    assert list(closing)[-3:] == ["restate", "because", "by"] and "known_at" not in closing
    rows = JOB.replace("features: rows", "features: f.sql").replace("day}", "day, known_at: seen}")
    (tmp_path / "b/jobs/mini").mkdir(parents=True)
    (tmp_path / "b/jobs/mini/f.sql").write_text("SELECT * FROM rows")
    known = build_form(make(tmp_path / "b", rows))
    assert "known_at" in known and "restate" not in known
    both = build_form(make(tmp_path / "b", rows + "close: true\n"))
    assert set(RUN_OPTIONS) <= set(both)


def test_what_the_form_leaves_out_is_understood(job: Job) -> None:
    """A run whose conf has it restates a published day, closed or not, as the command line does."""
    conf = {"restate": True, "because": "late trades", "by": "ada"}
    assert request_of(job, {"n": 10, **conf}, conf).restate == Restate("late trades", "ada")
    assert request_of(job, {"known_at": "2022-12-28T23:00Z"}).known_at == "2022-12-28T23:00Z"


def test_every_default_is_allowed_so_that_a_schedule_can_run_it(job: Job) -> None:
    """A scheduled run fills nothing in; then it runs as the command line does without options."""
    values = {name: field.resolve() for name, field in build_form(job).items()}
    own = {k: values[k] for k in ("n", "share", "since", "kind", "loud")}
    assert request_of(job, values) == RunRequest(params=own)
    assert job.params(own) == job.params()


def test_no_default_depends_on_the_day(job: Job) -> None:
    """A day in the form would make a new version of the DAG each day."""
    assert build_form(job)["day"].value is None
    assert build_form(job)["day"].schema["format"] == "date"


def test_the_menu_of_devices_is_what_there_is(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ONNX Runtime comes with here, or what the operator says that the workers have."""
    import onnxruntime

    here = {"CPUExecutionProvider": "cpu", "CUDAExecutionProvider": "cuda"}
    shipped = [here[name] for name in onnxruntime.get_available_providers() if name in here]
    plugged = ["openvino"] if find_spec("onnxruntime_ep_openvino") else []
    menu = ["auto", *sorted(shipped, key=list(here.values()).index), *plugged]
    assert build_form(job)["device"].schema["enum"] == menu
    monkeypatch.setenv("NIGHTSCORE_DEVICES", "cpu, cuda")
    assert build_form(job)["device"].schema["enum"] == ["auto", "cpu", "cuda"]


def test_the_jobs_own_device_is_the_default_and_no_override(tmp_path: Path) -> None:
    """It stands first in the menu; another one is passed on."""
    job = make(tmp_path, f"{JOB}scoring: {{device: npu}}\n")
    assert build_form(job)["device"].schema["enum"][:3] == ["npu", "auto", "cpu"]
    assert request_of(job, {"device": "npu"}).device is None
    assert request_of(job, {"device": "cpu"}).device == "cpu"


WRONG: list[tuple[str, Any]] = [
    ("day", "2020-02-30"), ("day", "yesterday"), ("day", 20200101), ("force", "yes"), ("limit", 0),
    ("limit", "5"), ("device", "abacus"), ("device", None), ("model", 5), ("n", 0), ("n", 101), ("n", "many"),
    ("n", None), ("share", 1.5), ("since", "soon"), ("kind", "c"), ("loud", 1),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_the_form_refuses_what_is_wrong(job: Job, name: str, value: Any) -> None:
    """Before there is a run."""
    with pytest.raises(ParamValidationError):
        build_form(job)[name].resolve(value)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("n", 101, "parameter n of job mini: 101 is not allowed; allowed: integer >= 1 and <= 100"),
        (
            "n",
            "1; DROP",
            "parameter n of job mini: '1; DROP' is no integer; allowed: integer >= 1 and <= 100",
        ),
        ("kind", "c", "parameter kind of job mini: 'c' is not allowed; allowed: a, b"),
        ("since", "soon", "parameter since of job mini: 'soon' is no date; allowed: date"),
        ("m", 1, "job mini has no parameter 'm'; its parameters: n, share, since, kind, note, loud"),
    ],
)
def test_the_task_refuses_it_with_the_command_lines_message(
    job: Job, name: str, value: Any, message: str
) -> None:
    """A run may come past the form; it does not come past the job."""
    with pytest.raises(Broken) as found:
        request_of(job, {name: value}, {name: value})
    assert str(found.value) == message


def test_values_keep_their_types(job: Job) -> None:
    """What SQL reads is bound as the type that job.yaml names."""
    given = request_of(
        job, {"since": "2021-05-05", "share": 1, "n": 7, "limit": 3, "force": True, "model": ""}
    )
    assert job.params(given.params)["since"] == dt.date(2021, 5, 5)
    assert (given.limit, given.force, given.model) == (3, True, None)


def test_a_restatement_says_why_and_who(job: Job) -> None:
    """Who starts the run restates the day, unless the form names another; without a reason nobody does."""
    asked = {"restate": True, "because": " late trades "}
    assert request_of(job, asked, user="ada").restate == Restate("late trades", "ada")
    assert request_of(job, {**asked, "by": "Grace"}, user="ada").restate == Restate("late trades", "Grace")
    for wrong in ({"restate": True}, {"because": "late trades"}, asked):
        with pytest.raises(Broken, match="`restate`"):
            request_of(job, wrong)


def test_a_parameter_called_like_a_field_is_refused(tmp_path: Path) -> None:
    """Names the line: one of the two would be out of reach."""
    with pytest.raises(
        Broken, match=r"jobs/mini/job.yaml:10: params.limit: 'limit' is an option of every run"
    ):
        make(tmp_path, JOB.replace("  n: {", "  limit: {"))
