"""P9: whatever stands in job.yaml, SQL, names and folders: one message that names it, and never a traceback.

FAULTS_EXAMPLES=5000 goes on for longer; hypothesis prints how a failure is repeated. What a parser in C
may crash on runs in a process of its own: test_damage, test_models, test_corrupt_state.
"""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nightscore import Broken, load, run
from tests.behaviour.world import DAY
from tests.faults.damage import told
from tests.support.workspace import FEATURES, JOB, TOP, make_workspace, rows_of

pytestmark = pytest.mark.disk_only(reason="what is tried is the text of jobs; one workspace for all examples")

EXAMPLES = int(os.environ.get("FAULTS_EXAMPLES", "5"))
SQL_JOB = JOB.replace("features: rows", "features: features.sql")
fuzz = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))

WORDS = st.sampled_from([
    "", " ", "..", "/", "../../etc/passwd", "data/lake/rows", "rows", "mini_top", "mini_scores", "receipts",
    "id",
    "day", "run_id", "top.sql", "features.sql", "'", '"', "; DROP TABLE x", "{{ ds }}", "$1", "null",
    "nan", "1e999",
    "10" * 200, "\0", "\n", "\u202e", "żółw", "a b", "A", "1a", "*", "x" * 300, "2020-02-30", "0.1%", "-1",
])  # fmt: skip
SCALARS = st.one_of(
    WORDS, st.text(max_size=20), st.integers(), st.booleans(), st.none(),
    st.floats(allow_nan=False, allow_infinity=False),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_workspace(tmp_path_factory.mktemp("fuzz") / "w", 20, days=(DAY,))


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place of a document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, one in inner for place in places(one, (*path, key)))]


DOCUMENT = yaml.safe_load(SQL_JOB)
CHANGES = ("replace", "remove", "add a key", "rename")


def changed(document: Any, place: tuple[Any, ...], how: str, value: Any, name: str) -> Any:
    """A document with one change at a place."""
    if not place:
        return value
    key, *rest = place
    made = dict(document) if isinstance(document, dict) else list(document)
    if rest:
        made[key] = changed(made[key], tuple(rest), how, value, name)
    elif how == "replace":
        made[key] = value
    elif how == "remove":
        del made[key]
    elif isinstance(made, dict):
        made[name] = made.pop(key) if how == "rename" else value
    return made


def holds(answer: str, *names: str) -> None:
    """One message with one of these names, or success."""
    assert not answer.startswith("STRAY"), answer
    assert answer.startswith("0: ") or any(name in answer for name in names), answer


@fuzz
@given(st.tuples(st.sampled_from(places(DOCUMENT)), st.sampled_from(CHANGES), VALUES, WORDS))
def test_any_change_of_a_job_is_told(space: Path, change: tuple[tuple[Any, ...], str, Any, str]) -> None:
    """P9: any value, key or name at any place of job.yaml: `check` and `plan` say what is wrong."""
    document = changed(DOCUMENT, *change)
    (space / "jobs/mini/job.yaml").write_text(yaml.safe_dump(document, allow_unicode=True, sort_keys=False))
    holds(told(space, "check"), "job.yaml", ".sql", "linear.onnx")
    holds(told(space, "plan", "mini", "--day", DAY), "mini", "job.yaml")


@fuzz
@given(
    st.integers(0, len(SQL_JOB) - 1),
    st.integers(0, 20),
    st.one_of(st.binary(max_size=8), WORDS.map(str.encode)),
)
def test_any_bytes_in_a_job_are_told(space: Path, at: int, cut: int, put: bytes) -> None:
    """P9: bytes cut out and put in anywhere."""
    raw = SQL_JOB.encode()
    (space / "jobs/mini/job.yaml").write_bytes(raw[:at] + put + raw[at + cut :])
    holds(told(space, "check"), "job.yaml", ".sql", "linear.onnx")


TOKENS = [
    "SELECT", "FROM", "WHERE", "(", ")", ",", "*", "'", '"', ";", "--", "/*", "$1", "?", "id", "score",
    "scores", "rows",
    "a", "1", "-1", "1e308", "NULL", "::INT", "::VARCHAR", "AS", "GROUP BY ALL", "ORDER BY 1", "LIMIT 1",
    "UNION", "JOIN",
    "USING (id)", "VALUES (1)", "DISTINCT", "OVER ()", "QUALIFY", "WITH x AS", "RECURSIVE", "[1]", "{'a': 1}",
    "x -> x",
    "\0", "\x80", "é", "\u202e", "PIVOT", "DESCRIBE", "COLUMNS(*)", "read_csv('/etc/passwd')",
    "getvariable('n')",
]  # fmt: skip


@st.composite
def queries(draw: st.DrawFn) -> str:
    """One of a job's queries with some of its tokens exchanged, removed or doubled."""
    words = re.findall(r"\w+|\S", draw(st.sampled_from([TOP, FEATURES])))
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, len(words) - 1))
        words[at : at + draw(st.integers(0, 2))] = draw(
            st.lists(st.sampled_from(TOKENS) | st.sampled_from(words), max_size=3)
        )
        words = words or ["SELECT"]
    return " ".join(words)


@fuzz
@given(queries(), st.sampled_from(["top.sql", "features.sql"]))
def test_any_sql_is_told(space: Path, sql: str, file: str) -> None:
    """P9: `check` binds it or names the file; `query` answers it or says what is wrong."""
    folder = space / "jobs/mini"
    (folder / "job.yaml").write_text(SQL_JOB)
    texts = {"top.sql": TOP, "features.sql": FEATURES, file: sql}
    for name, text in texts.items():
        (folder / name).write_text(text, errors="replace")
    holds(told(space, "check"), file, "job.yaml")
    holds(told(space, "query", sql.replace("\0", " ")), "query", "usage")


@fuzz
@given(st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=30))
def test_any_partition_is_told(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    """P9, P11: a folder beside the day's: a day of its own, or named by the error, or no partition at all."""
    root = make_workspace(tmp_path_factory.mktemp("p") / "w", 5, days=(DAY,))
    folder = root / f"data/lake/rows/day={name}"
    folder.mkdir(exist_ok=True)
    pq.write_table(rows_of(DAY, 5), folder / "x.parquet")
    answer = told(root, "run", "mini", "--day", DAY)
    holds(answer, "a partition is day=YYYY-MM-DD")
    shutil.rmtree(root)


@fuzz
@given(st.one_of(WORDS, st.text(max_size=70), st.from_regex(r"\A[a-z][a-z0-9_]{0,70}\Z")))
def test_any_name_of_a_table_is_told(space: Path, name: str) -> None:
    """P9: a table is published under just this name, or the job is broken by it; nothing lies elsewhere."""
    folder = space / "jobs/mini"
    document = {**DOCUMENT, "features": "rows", "decide": {name: "top.sql"}, "audit": []}
    (folder / "top.sql").write_text(TOP)
    (folder / "job.yaml").write_text(json.dumps(document))
    shutil.rmtree(space / "data/tables", ignore_errors=True)
    shutil.rmtree(space / "data/runs", ignore_errors=True)
    try:
        run(load("mini", space), DAY)
    except Broken as error:
        assert "job.yaml" in str(error)
        return
    assert {p.name for p in (space / "data/tables").iterdir()} == {name, "mini_scores", "receipts"}
