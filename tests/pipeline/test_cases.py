"""`nightscore test`: what a case has made, held to what is counted by hand; and what is wrong with a case.

Each test writes a case for one small job, whose model is amount + 2 * items.
"""

# ruff: noqa: E501 - a case is one line

import datetime as dt
import json
import textwrap
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightscore import run
from nightscore.cli.main import call
from nightscore.job import load
from nightscore.pipeline.cases.compare import is_alike
from tests.support.workspace import linear_model

JOB = """\
job: orders
about: Orders by a linear model
inputs:
  orders:
    path: data/lake/orders
    partition: day
    lookback: 3
    columns: {id: BIGINT NOT NULL, code: VARCHAR, amount: "DECIMAL(9,2)", items: INTEGER, tags: "VARCHAR[]"}
  rates: {path: data/lake/rates.parquet, since: since}
  events: {path: data/lake/events, day_column: at, lookback: 2}
  before: {table: orders_scores, lookback: 5, columns: {id: BIGINT, score: FLOAT}}
features: features.sql
key: [id]
keep: [code]
model: {path: data/models/linear.onnx, outputs: {score: y}}
decide: {best: best.sql}
params: {least: {type: number, default: 0, about: the least score}}
policy: {bad_row: reject, max_rejected: 0.1%}
domain: {code: {in: [a, b, "007"], null: true}}
audit:
  - name: somebody is best
    sql: SELECT count(*) > 0 FROM best
  - name: few are best
    severity: warn
    sql: SELECT count(*) < 2 FROM best
  - {rows: {between: [0.9, 1.1]}}
"""
FEATURES = """\
SELECT id, code, CAST(amount AS FLOAT) AS amount, items, len(tags) AS tags, day AS of,
    (SELECT max(rate) FROM rates) AS rate, (SELECT count(*) FROM events) AS events,
    (SELECT max(score) FROM before) AS top, typeof(amount) AS kind
FROM orders WHERE day = getvariable('day') OR id >= 100
"""
BEST = """\
SELECT code, id, score, row_number() OVER (ORDER BY score DESC, id) AS rank
FROM scores WHERE score >= getvariable('least')
"""
INPUTS = """
types:
  rates: {since: DATE, rate: DOUBLE}
  events: {at: DATE, what: VARCHAR}
inputs:
  orders:
    - {id: 1, code: a, amount: 0.10, items: 2, tags: [x, "1"]}
    - {id: 2, code: "007", amount: 2.35, items: 1}
"""
HEAD = "day: 2026-01-07" + INPUTS  # rows of orders stand in lines 7 and 8


@pytest.fixture
def space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with one job, its model, and no data."""
    folder = tmp_path / "jobs/orders"
    (folder / "tests").mkdir(parents=True)
    for name, text in {"job.yaml": JOB, "features.sql": FEATURES, "best.sql": BEST}.items():
        (folder / name).write_text(text)
    linear_model(tmp_path / "data/models/linear.onnx", columns=("amount", "items"))
    monkeypatch.setenv("NIGHTSCORE_WORKSPACE", str(tmp_path))
    return tmp_path


def write(space: Path, text: str, name: str = "a.yaml") -> None:
    (space / "jobs/orders/tests" / name).write_text(text)


def said(capsys: pytest.CaptureFixture[str], *names: str) -> tuple[int, dict[str, Any]]:
    code = call(["test", *names, "--json"])
    return code, json.loads(capsys.readouterr().out)


def differing(capsys: pytest.CaptureFixture[str]) -> list[tuple[str, ...]]:
    """(line, table, row, column, expected, actual) of all that differs."""
    code, document = said(capsys)
    assert not document["broken"], document
    [case] = document["cases"]
    assert case["problem"] is None, case
    assert code == (1 if case["differences"] else 0) and case["passed"] == (code == 0)
    return [(d["place"].split(":")[-1], *list(d.values())[1:]) for d in case["differences"]]


def test_what_is_so_passes(space: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each kind of value, written as a person would: 0.10 + 2 * 2 = 4.1, and 2.35 + 2 = 4.35."""
    write(
        space,
        HEAD
        + textwrap.dedent("""\
        expect:
          features:
            - {id: 2, code: "007", amount: 2.35, of: 2026-01-07, rate: null, kind: "DECIMAL(9,2)", tags: null}
            - {id: 1, of: "2026-01-07", items: 2, tags: 2, events: 0, top: null}
          scores: {some: [{id: 1, score: 4.1}], count: 2}
          best: [{id: 2, rank: 1, score: 4.35}, {id: 1, rank: 2}]
          rejects: []
    """),
    )
    assert differing(capsys) == []


def test_all_that_is_not_so_is_told(space: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Values, rows that are missing and rows too many, a count, an audit; others are not named."""
    write(
        space,
        HEAD
        + textwrap.dedent("""\
        expect:
          scores:
            - {id: 1, code: b, score: 4.1001}
            - {id: 3, code: a}
          best: {count: 3, some: [{code: "007", rank: 1}, {code: b, rank: 7}, {code: a, rank: 3}]}
        audits: {few are best: passes, somebody is best: fails}
    """),
    )
    assert differing(capsys) == [
        ("11", "scores", "id=1", "code", "b", "a"),
        ("11", "scores", "id=1", "score", "4.1001", "4.099999904632568"),
        ("12", "scores", "id=3", "", "id=3, code=a", "no such row"),
        ("10", "scores", "id=2", "", "no such row", "id=2, code=007, score=4.349999904632568"),
        ("13", "best", "", "", "3 rows", "2 rows"),
        ("13", "best", "id=1", "rank", "3", "2"),
        ("13", "best", "code=b, rank=7", "", "code=b, rank=7", "no such row"),
        ("14", "audits", "somebody is best", "", "fails", "passes"),
        ("14", "audits", "few are best", "", "passes", "fails: gives false"),
    ]


def test_rows_are_cut_at_the_day_as_a_night_cuts_them(
    space: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A lookback of three days, rates that hold by then, events of two days, own scores of the days before."""
    write(
        space,
        textwrap.dedent("""\
        day: 2026-01-07
        inputs:
          orders:
            - {id: 1, amount: 1, items: 0}
            - {day: 2026-01-05, id: 100, amount: 2, items: 0}
            - {day: 2026-01-04, id: 101, amount: 3, items: 0}
            - {day: 2026-01-08, id: 102, amount: 4, items: 0}
          rates: [{since: 2026-01-07, rate: 1.5}, {since: 2026-01-08, rate: 2.5}]
          events: [{at: 2026-01-05}, {at: 2026-01-06}, {at: 2026-01-07}, {at: 2026-01-08}]
          before: [{day: 2026-01-07, id: 1, score: 9}, {day: 2026-01-06, id: 1, score: 8}, {day: 2026-01-03, id: 1, score: 7}]
        expect:
          features:
            - {id: 1, of: 2026-01-07, rate: 1.5, events: 2, top: 8}
            - {id: 100, of: 2026-01-05}
    """),
    )
    # Of the expected rows not all name a column: what a row does not name is not compared in it.
    assert differing(capsys) == []


def test_rejects_and_errors(space: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of two rows one may be set aside, whatever share of a day that is; a duplicate key is an error."""
    row = "    - {id: 3, code: z, amount: 1, items: 1}\n"
    write(space, HEAD + row + "expect:\n  scores: {count: 2}\n  rejects: [{id: 3, reason: out_of_domain}]\n")
    assert differing(capsys) == []
    write(space, HEAD + row.replace("3", "2").replace("z", "a") + "error: the key is not unique\n")
    assert differing(capsys) == []
    write(space, HEAD + "error: the key is not unique\n")
    assert differing(capsys) == [("9", "error", "", "", "the key is not unique", "no error")]
    write(space, HEAD + row.replace("3", "2").replace("z", "a") + "error: something else\n")
    [(line, table, *_, actual)] = differing(capsys)
    assert (line, table) == ("10", "error") and "not unique" in actual
    write(space, HEAD + row.replace("3", "2").replace("z", "a") + "expect: {scores: []}\n")
    code, document = said(capsys)
    assert code == 1 and "not unique" in document["cases"][0]["problem"]


def test_an_audit_that_fails_is_expected_or_told(space: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The limit is above both scores, so nobody is best; of severity warn only what is named counts."""
    high = HEAD.replace("day: 2026-01-07\n", "day: 2026-01-07\nparams: {least: 5}\n")
    write(space, high + "expect: {best: []}\n")
    assert differing(capsys) == [("1", "audits", "somebody is best", "", "passes", "fails: gives false")]
    write(space, high + "audits: {somebody is best: fails, few are best: passes}\n")
    assert differing(capsys) == []


def test_an_input_that_is_streamed_and_a_challenger(space: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The rows of the day alone are scored; the challenger (10 * amount) stands beside, and decides by SQL."""
    folder = space / "jobs/orders"
    (folder / "job.yaml").write_text(
        "job: orders\ninputs:\n  orders: {path: data/lake/orders, partition: day, lookback: 2}\n"
        "  rest: {path: data/lake/rest.parquet}\nfeatures: orders\nkey: [id]\n"
        "model:\n  champion: data/models/linear.onnx\n  challengers: [data/models/ten.onnx]\n"
        "  outputs: {score: y}\ndecide: {best: best.sql}\n"
    )
    linear_model(space / "data/models/ten.onnx", (10.0,), ("amount",))
    (folder / "best.sql").write_text("SELECT id, score, ten__score FROM challengers JOIN rest USING (id)")
    write(
        space,
        textwrap.dedent("""\
        day: 2026-01-07
        inputs:
          orders:
            - {id: 1, amount: 1.0, items: 3}
            - {day: 2026-01-06, id: 2, amount: 1.0, items: 3}
          rest: [{id: 1}, {id: 2}]
        expect:
          scores: [{id: 1, score: 7, ten__score: 10}]
          best: [{id: 1, score: 7, ten__score: 10}]
    """),
    )
    assert differing(capsys) == []


@pytest.mark.runs
def test_no_published_day_and_no_root_is_seen_or_written(
    space: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With `data/` elsewhere, and a published day before: not a file comes, goes or changes in either."""
    data = space / "elsewhere"
    (space / "data").rename(data)
    monkeypatch.setenv("NIGHTSCORE_ROOT_DATA", str(data))
    rows = pa.table({
        "id": pa.array(range(50)), "code": ["a"] * 50, "amount": pa.array([Decimal(1)] * 50, pa.decimal128(9, 2)),
        "items": pa.array([1] * 50, pa.int32()), "tags": pa.array([["x"]] * 50),
    })  # fmt: skip
    day, moment = dt.date(2026, 1, 6), pa.array([dt.date(2026, 1, 6)])
    for path, table in {
        f"orders/day={day}/a.parquet": rows,
        "rates.parquet": pa.table({"since": moment, "rate": [1.0]}),
        "events/a.parquet": pa.table({"at": moment, "what": ["x"]}),
    }.items():
        (data / "lake" / path).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, data / "lake" / path)
    assert run(load("orders", space), day).status == "published"

    def files() -> dict[Path, tuple[int, int]]:
        return {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in space.rglob("*") if p.is_file()}

    # An audit of 0.9 to 1.1 times the rows of the day before would fail: 2 to 50.
    write(space, HEAD + "expect: {scores: {count: 2}}\n")
    before = files()
    assert differing(capsys) == []
    assert files() == before


MISTAKES = {
    "a key": (HEAD + "expct: {}\n", "9: expct: unknown key; did you mean expect?"),
    "nothing expected": (HEAD, "expects nothing; give expect, audits or error"),
    "a key in rows": ("day: 2026-01-07\ninputs:\n  orders: {csvv: a.csv}\nerror: x\n", "3: inputs.orders.csvv: unknown key; did you mean csv?"),
    "two kinds of rows": (HEAD + "expect:\n  scores: {some: [], rows: []}\n", "10: expect.scores: allowed: a list of rows"),
    "a table": (HEAD + "expect:\n  bestt: []\n", "10: expect.bestt: the job has no such table; did you mean best?"),
    "an input": ("day: 2026-01-07\ninputs: {order: []}\nerror: x\n", "2: inputs.order: the job has no such input; did you mean orders?"),
    "an audit": (HEAD + "audits: {few are bets: fails}\n", "9: audits.few are bets: the job has no such audit; did you mean few are best?"),
    "what an audit says": (HEAD + "audits: {few are best: true}\n", "9: audits.few are best: True is not allowed"),
    "a parameter": (HEAD + "params:\n  leats: 3\nerror: x\n", "10: params.leats: the job has no such parameter; did you mean least?"),
    "its value": (HEAD + "params:\n  least: many\nerror: x\n", "10: params.least: parameter least of job orders"),
    "a day": (HEAD.replace("2026-01-07", "soon") + "error: x\n", "1: day: 'soon' is not allowed"),
    "no day": ("error: x\n", "day: is missing"),
    "no mapping": ("- 1\n", "1: a case is a mapping"),
    "both": (HEAD + "expect: {scores: []}\nerror: x\n", "10: error: and expect"),
    "a row of nothing": (HEAD + "expect:\n  scores:\n    - {id: 1}\n    - {}\n", "12: expect.scores.1: names no column"),
    "some of nothing": (HEAD + "expect:\n  scores:\n    some: [{}]\n", "11: expect.scores.some.0: names no column"),
    "no row of some": (HEAD + "expect:\n  scores:\n    some: []\n", "11: expect.scores.some: has no row"),
    "no rows": (HEAD + "expect:\n  scores: {rows: null}\n", "10: expect.scores: allowed: a list of rows"),
    "any audit": (HEAD + "audits: {few are best: any}\n", "expects nothing; give expect, audits or error"),
    "a blank error": (HEAD + "error: ' '\n", "9: error: is blank"),
    "a wide tolerance": (HEAD + "tolerance: 0.2\nerror: x\n", "9: tolerance: 0.2 is not allowed"),
}  # fmt: skip
NOT_RUN = {
    "a column": (HEAD + "    - {id: 3, colour: red}\nerror: x\n", "9: inputs.orders: column 'colour' is none of the input; allowed by the contract"),
    "an integer": (HEAD + "    - {id: 3, items: 1.5}\nexpect: {scores: []}\n", "9: inputs.orders.items: 1.5 is no INTEGER"),
    "a decimal": (HEAD + "    - {id: 3, amount: 1.005}\nexpect: {scores: []}\n", "9: inputs.orders.amount: 1.005 is no DECIMAL(9,2)"),
    "a text without quotes": (HEAD + "    - {id: 3, code: 007}\nexpect: {scores: []}\n", "9: inputs.orders.code: 7 is no text, and the column is VARCHAR: put it in quotes"),
    "a mapping": (HEAD + "    - {id: 3, code: {a: b}}\nexpect: {scores: []}\n", "9: inputs.orders.code: {'a': 'b'} is no value of a column"),
    "a null": (HEAD + "    - {code: a}\nexpect: {scores: []}\n", "9: inputs.orders: column 'id' has no value; it is NOT NULL"),
    "no types": ("day: 2026-01-07\ninputs:\n  orders: []\nexpect: {scores: []}\n", "2: inputs.rates: has no rows here and no columns in job.yaml"),
    "only nulls": ("day: 2026-01-07\ninputs:\n  rates: [{since: null}]\nexpect: {scores: []}\n", "3: inputs.rates: column 'since' "),
    "several types": (HEAD + "  before:\n    - {day: 2026-01-06, id: 1, extra: 1}\n    - {day: 2026-01-06, id: 1, extra: x}\nexpect: {scores: []}\n", "column 'extra' has values of several types here (INTEGER, VARCHAR); say its type: types: {before: {extra: TYPE}}"),
    "own rows without a day": (HEAD + "  before:\n    - {id: 1}\nexpect: {scores: []}\n", "10: inputs.before: has no day, and is a row of the job's own table, of which a run sees the days before: say day: 2026-01-06"),
    "a type twice": (HEAD.replace("types:\n", "types:\n  orders: {items: DOUBLE}\n") + "expect: {scores: []}\n", "3: types.orders.items: its type is that of job.yaml, INTEGER"),
    "an expected column": (HEAD + "expect:\n  scores: [{id: 1, scor: 1}]\n", "10: expect.scores: has no column 'scor'; its columns: id, code, score"),
    "a misnamed column": (HEAD.replace("  rates: {since: DATE, rate: DOUBLE}\n", "") + "  rates:\n    - {since: 2026-01-01, rat: 2.5}\nexpect: {scores: []}\n", "a.yaml:8: inputs.rates: the SQL reads a column 'rate', which no row names; did you mean rate by rat? Columns here: rates: since, rat; "),
    "a column left out": (HEAD.replace("rates: {since: DATE, rate: DOUBLE}", "rates: {since: DATE}") + "expect: {scores: []}\n", "5: the SQL reads a column 'rate', which no row names. Columns here: rates: since; "),
    "a file": ("day: 2026-01-07\ninputs:\n  orders: {csv: rows.csv}\nexpect: {scores: []}\n", "3: inputs.orders.csv: rows.csv can't be read: No such file"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.sample(14)
def test_mistakes(mistake: str, space: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """File, line and what is allowed; another case is run all the same."""
    text, message = MISTAKES[mistake]
    write(space, text)
    code, document = said(capsys, "orders")
    assert code == 1 and document["cases"] == []
    [broken] = document["broken"]
    assert broken.startswith("jobs/orders/tests/a.yaml:") and message in broken, broken


@pytest.mark.parametrize("mistake", NOT_RUN)
@pytest.mark.sample(13)
def test_rows_that_are_none_of_an_input(
    mistake: str, space: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, message = NOT_RUN[mistake]
    write(space, text)
    code, document = said(capsys)
    assert code == 1 and message in document["cases"][0]["problem"], document


def test_rows_of_csv(space: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A field is read as YAML reads it: an empty one is null, and 007 a text."""
    write(space, "id,code,amount,items\n1,a,0.10,2\n2,007,2.35,1\n3,,1,\n", "orders.csv")
    write(space, "id,score\n1,4.1\n2,4.35\n", "scores.csv")
    types = INPUTS[: INPUTS.index("inputs:")]
    write(
        space, f"day: 2026-01-07{types}inputs:\n  orders: {{csv: orders.csv}}\n"
        "expect: {scores: {csv: scores.csv}, rejects: [{id: 3}]}\n",
    )  # fmt: skip
    assert differing(capsys) == []
    write(space, "id,code,amount,items\n1,a,0.10,2\n2,007,2.35,x\n", "orders.csv")
    assert "tests/orders.csv:3: inputs.orders.items: 'x' is no INTEGER" in str(said(capsys)[1])


TYPES = {  # values as YAML has them, divided by spaces
    "1 -7": "INTEGER", "2147483647": "INTEGER", "1 2147483648": "BIGINT", "9223372036854775808": "HUGEINT",
    "1 1.5 null": "DOUBLE", "1e-4": "DOUBLE", "true null": "BOOLEAN", "x '1'": "VARCHAR", "2026-01-07": "DATE",
    "2026-01-07T17:00:00Z 2026-01-07": "TIMESTAMP WITH TIME ZONE", "[1,2] [] null": "INTEGER[]",
}  # fmt: skip


def test_types_of_values(space: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As DuckDB itself names the type of what the SQL sees."""
    folder = space / "jobs/orders"
    (folder / "job.yaml").write_text(
        "job: orders\ninputs: {given: {path: data/lake/a.parquet}}\nfeatures: features.sql\n"
        "key: [kind]\nmodel: none\n"
    )
    (folder / "features.sql").write_text("SELECT DISTINCT typeof(x) AS kind FROM given")
    for i, (values, kind) in enumerate(TYPES.items()):
        rows = ", ".join(f"{{x: {value}}}" for value in values.split())
        text = f"inputs: {{given: [{rows}]}}\nexpect: {{scores: [{{kind: {kind!r}}}]}}\n"
        write(space, f"day: 2026-01-07\n{text}", f"{i}.yaml")
    code, document = said(capsys)
    assert code == 0, [case for case in document["cases"] if not case["passed"]]
    assert len(document["cases"]) == len(TYPES)


ALIKE = [  # expected, actual
    (1, 1, True), (1, 2, False), (1, True, False), (True, 1.0, False), (1, Decimal("1.00"), True), (100_000_099, Decimal(100_000_006), False), (2**126, Decimal(2**126), True),
    (100000012.34, Decimal("100000006.89"), False), (100000012.34, Decimal("100000012.34"), True), (0.1, Decimal("0.100"), True), (0.1, Decimal("0.1000001"), False),
    (2.0, 2, True), (2**53 + 2.0, 2**53 + 3, False), (float("inf"), Decimal(1), False), (100_000_099, 100_000_006.0, True), (True, Decimal(1), False), (2**53, 2**53 + 1, False),
    (0.1, 0.1 + 1e-7, True), (0.1, 0.1 + 1e-5, False), (1e6, 1e6 + 0.5, True), (1e6, 1e6 + 2, False), (None, None, True),
    (None, 0, False), (0, None, False), (float("nan"), float("nan"), True), (float("nan"), None, False), (float("inf"), 1e308, False),
    ("a", "a", True), ("1", 1, False), ([1, 2.5], [1, 2.5000001], True), ([1], [1, 2], False), ([], None, False),
    (dt.date(2026, 1, 7), dt.date(2026, 1, 7), True), ("2026-01-07", dt.date(2026, 1, 7), True), (dt.date(2026, 1, 8), dt.date(2026, 1, 7), False),
    (dt.datetime(2026, 1, 7, 1), dt.datetime(2026, 1, 7, 1, tzinfo=dt.UTC), True),
    ("2026-01-07T02:00+01:00", dt.datetime(2026, 1, 7, 1, tzinfo=dt.UTC), True), ("soon", dt.datetime(2026, 1, 7, 1, tzinfo=dt.UTC), False),
]  # fmt: skip


def test_what_is_alike() -> None:
    wrong = [(a, b) for a, b, alike in ALIKE if is_alike(a, b, 1e-6) is not alike]
    assert wrong == []


def test_a_job_without_a_case_and_several(space: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One is named where there is none; of several, one that can't be read keeps none from being run."""
    assert call(["test", "orders"]) == 1
    assert "such as jobs/orders/tests/new_customer.yaml" in capsys.readouterr().err
    assert call(["test"]) == 1 and "no job has a case" in capsys.readouterr().err
    write(space, HEAD + "expect: {scores: {count: 2}}\n", "b.yaml")
    write(space, "day: [", "a.yaml")
    assert call(["test"]) == 1
    done = capsys.readouterr()
    assert (
        "2 cases: 1 as expected, 1 can't be read" in done.out
        and "jobs/orders/tests/a.yaml:1: not valid YAML" in done.err
    )
    assert [path.name for path in (space / "data").iterdir()] == ["models"]


def test_each_file_of_a_case_is_run(space: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """However its ending is spelled, and in a folder of the folder; rows that are wrong are seen in each."""
    (space / "jobs/orders/tests/shops").mkdir()
    names = ["a.yaml", "b.yml", "C.YAML", "d.Yml", "shops/e.yaml"]
    for name in names:
        write(space, HEAD + "expect: {scores: {count: 9}}\n", name)
    code, document = said(capsys)
    assert code == 1 and not document["broken"]
    assert sorted(case["file"] for case in document["cases"]) == sorted(
        f"jobs/orders/tests/{n}" for n in names
    )
    assert [len(case["differences"]) for case in document["cases"]] == [1] * 5
    assert {"shops/e", "C"} < {case["case"] for case in document["cases"]}
