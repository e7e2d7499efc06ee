"""Scores held to labels that come late: a job without a model gives scikit-learn's figures."""

import datetime as dt
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn import metrics

from nightscore import Broken, load, query, run
from nightscore.common import Workspace, as_day, format_value
from nightscore.pipeline.publish.hold import Held, release_day
from nightscore.pipeline.steps import check_job
from nightscore.review.report.html import report
from tests.behaviour.conftest import copied
from tests.support.workspace import JOB, linear_model, make_workspace, write_day

FIRST, MISSING, THIRD, FOURTH, FIFTH = (f"2020-01-0{day}" for day in range(1, 6))
ROWS = 500
QUALITY = """\
job: quality
owner: tests
inputs:
  scored: {table: mini_scores, lookback: 7, calendar: none, as_reported: true}
  labels: {path: data/lake/labels, partition: day, lookback: 7, calendar: none}
features: labelled.sql
key: [scored_on, id]
keep: [chance, label, early]
model: none
decide: {by_day: by_day.sql}
highlights:
  - title: By day of the score
    sql: SELECT scored_on, rows, labelled, auc, unmeasured FROM by_day ORDER BY scored_on
    by: scored_on
    chart: auc
audit:
  - name: the AUC of each day is at least 0.6
    severity: SEVERITY
    sql: SELECT coalesce(bool_and(auc >= 0.6), true) FROM by_day
"""
LABELLED = """\
WITH told AS (   -- of a label that was told again the last one counts; two of one day are refused
    SELECT id, scored_on, label, day AS told_on
    FROM labels
    QUALIFY row_number() OVER (PARTITION BY id, scored_on ORDER BY day DESC) = 1
)

SELECT
    scored.day AS scored_on, scored.id, score / 3 AS chance,
    label_told(label, told_on, scored.day) AS label, coalesce(told_on < scored.day, false) AS early
FROM scored
LEFT JOIN told ON told.id = scored.id AND told.scored_on = scored.day
"""
BY_DAY = """\
WITH placed AS (SELECT *, score_place(scored_on, chance, label) AS place FROM scores)
SELECT
    scored_on, count(*) AS rows, count(label) AS labelled, count(*) FILTER (early) AS early,
    avg(label_01(label)) AS base_rate,
    auc(label, place) AS auc, average_precision(label, place) AS average_precision,
    brier_score(chance, label) AS brier_score, unmeasured(label) AS unmeasured
FROM placed
GROUP BY scored_on
"""
RIVALS = """\
SELECT scores.scored_on, model, scores.id, chance / 3 AS chance, label, false AS early
FROM (
    SELECT day AS scored_on, 'champion' AS model, id, score AS chance FROM scored
    UNION ALL
    SELECT day, 'rival', id, rival__score FROM scored
) AS scores
LEFT JOIN labels ON labels.id = scores.id AND labels.scored_on = scores.scored_on
"""
BY_MODEL = (
    BY_DAY.replace("(scored_on, chance", "((scored_on, model), chance")
    .replace("    scored_on, count", "    scored_on, model, count")
    .replace("GROUP BY scored_on", "GROUP BY scored_on, model")
)


def tell(root: Path, day: str, labels: list[tuple[int, str, int]]) -> None:
    """The labels that come on a day: key, day of the score, label."""
    ids, days, values = zip(*labels, strict=True) if labels else ((), (), ())
    folder = root / f"data/lake/labels/day={day}"
    folder.mkdir(parents=True, exist_ok=True)
    scored_on = pa.array([np.datetime64(one).astype(object) for one in days], pa.date32())
    columns = [pa.array(ids, pa.int64()), scored_on, pa.array(values, pa.int8())]
    pq.write_table(pa.table(columns, names=["id", "scored_on", "label"]), folder / "part-0.parquet")


def drawn(first: int, last: int, seed: int) -> list[tuple[int, str, int]]:
    """Labels of rows of the first day: the higher the id, the likelier a 1, as no score knows."""
    random = np.random.default_rng(seed).random(last - first)
    return [(first + i, FIRST, int(one < 0.3)) for i, one in enumerate(random)]


def make(root: Path) -> Path:
    """Scores of three days, of which one in between is missing, and labels of the third."""
    make_workspace(root, ROWS)
    for day in (FIRST, THIRD, FOURTH):
        write_day(root, day, ROWS)
        assert run(load("mini", root), day).status == "published"
    add_quality(root)
    tell(root, THIRD, drawn(0, 300, 1))
    return root


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("outcomes") / "w")


@pytest.fixture
def root(request: pytest.FixtureRequest) -> Path:
    """A workspace of its own with the job `quality` and what it reads."""
    return copied(request, "template", make)


def add_quality(root: Path, severity: str = "warn") -> None:
    folder = root / "jobs/quality"
    folder.mkdir(exist_ok=True)
    (folder / "job.yaml").write_text(QUALITY.replace("SEVERITY", severity))
    (folder / "labelled.sql").write_text(LABELLED)
    (folder / "by_day.sql").write_text(BY_DAY)


def published(root: Path, day: str) -> dict[str, dict[str, object]]:
    rows = query("SELECT * FROM by_day WHERE day = $1 ORDER BY scored_on", root, values=[day]).to_pylist()
    return {row["scored_on"].isoformat(): row for row in rows}


def hold(root: Path, found: dict[str, object], labels: dict[int, int]) -> None:
    """Hold a day's figures to pandas and scikit-learn: the scores as published, joined with these labels."""
    sql = "SELECT id, score / 3 AS chance FROM mini_scores WHERE day = $1"
    scores = query(sql, root, values=[FIRST]).to_pandas().set_index("id")["chance"]
    known = pd.Series(labels)
    chances = scores.loc[known.index].to_numpy(np.float64)
    assert (found["rows"], found["labelled"]) == (ROWS, len(known))
    assert found["base_rate"] == pytest.approx(known.mean(), rel=1e-12)
    assert found["auc"] == pytest.approx(metrics.roc_auc_score(known, chances), rel=1e-12)
    truth = metrics.average_precision_score(known, chances)
    assert found["average_precision"] == pytest.approx(truth, rel=1e-9)
    assert found["brier_score"] == pytest.approx(metrics.brier_score_loss(known, chances), rel=1e-9)
    assert found["unmeasured"] is None


def test_labels_come_late_and_are_restated(root: Path) -> None:
    """Each night says what is known by then; a day whose labels have not come is NULL, and says why."""
    first = drawn(0, 300, 1)
    run(load("quality", root), THIRD)
    found = published(root, THIRD)
    assert list(found) == [FIRST, THIRD], "nobody has scored the day between"
    hold(root, found[FIRST], {key: label for key, _, label in first})
    assert (found[THIRD]["labelled"], found[THIRD]["auc"]) == (0, None)
    assert found[THIRD]["unmeasured"] == "no label yet"

    turned = [(key, day, 1 - label) for key, day, label in first[:50]]
    more = drawn(300, 400, 2)
    tell(root, FOURTH, [*turned, *more, (7, THIRD, 1), (8, THIRD, 1), (ROWS + 1, THIRD, 1)])
    run(load("quality", root), FOURTH)
    found = published(root, FOURTH)
    hold(root, found[FIRST], {key: label for key, _, label in [*first, *turned, *more]})
    third = found[THIRD]
    assert (third["rows"], third["labelled"]) == (ROWS, 2), "a label of a row that nobody scored is none"
    assert (third["auc"], third["unmeasured"]) == (None, "every label is 1")
    assert found[FOURTH]["unmeasured"] == "no label yet"
    hold(root, published(root, THIRD)[FIRST], {key: label for key, _, label in first})
    assert run(load("quality", root), FOURTH).status == "unchanged"


def test_challengers_are_measured_beside_the_champion(tmp_path: Path) -> None:
    """Their scores stand in the same table: each model is a group of its own."""
    both = "champion: data/models/linear.onnx\n  challengers: [data/models/rival.onnx]"
    root = make_workspace(tmp_path / "w", ROWS, job=JOB.replace("path: data/models/linear.onnx", both))
    linear_model(root / "data/models/rival.onnx", (3.0, 0.0))
    write_day(root, FIRST, ROWS)
    run(load("mini", root), FIRST)
    add_quality(root)
    tell(root, FIRST, drawn(0, ROWS, 3))
    folder = root / "jobs/quality"
    (folder / "labelled.sql").write_text(RIVALS)
    (folder / "by_day.sql").write_text(BY_MODEL)
    text = (folder / "job.yaml").read_text()
    text = text.replace("key: [scored_on, id]", "key: [scored_on, model, id]")
    (folder / "job.yaml").write_text(
        text.replace("by: scored_on", "by: model").replace("SELECT scored_on,", "SELECT model,")
    )
    run(load("quality", root), FIRST)
    found = query("SELECT model, auc FROM by_day", root).to_pydict()
    scores = query("SELECT id, score, rival__score FROM mini_scores ORDER BY id", root).to_pandas()
    labels = pd.Series({key: label for key, _, label in drawn(0, ROWS, 3)})
    truth = {
        "champion": metrics.roc_auc_score(labels, scores["score"]),
        "rival": metrics.roc_auc_score(labels, scores["rival__score"]),
    }
    assert truth["champion"] != truth["rival"]
    assert dict(zip(found["model"], found["auc"], strict=True)) == pytest.approx(truth, rel=1e-12)


def test_a_challenger_that_came_later_has_no_score_of_the_days_before(tmp_path: Path) -> None:
    """Its NULLs are named; left out by the SQL, the days before have a row of the champion alone."""
    root = make_workspace(tmp_path / "w", ROWS)
    write_day(root, FIRST, ROWS)
    run(load("mini", root), FIRST)
    both = "champion: data/models/linear.onnx\n  challengers: [data/models/rival.onnx]"
    (root / "jobs/mini/job.yaml").write_text(JOB.replace("path: data/models/linear.onnx", both))
    linear_model(root / "data/models/rival.onnx", (3.0, 0.0))
    write_day(root, THIRD, ROWS)
    run(load("mini", root), THIRD)
    add_quality(root)
    tell(root, THIRD, drawn(0, ROWS, 3))
    folder = root / "jobs/quality"
    text = (folder / "job.yaml").read_text().replace("key: [scored_on, id]", "key: [scored_on, model, id]")
    text = text.replace("by: scored_on", "by: [scored_on, model]")
    (folder / "job.yaml").write_text(text.replace("SELECT scored_on,", "SELECT scored_on, model,"))
    (folder / "labelled.sql").write_text(RIVALS)
    (folder / "by_day.sql").write_text(BY_MODEL)
    with pytest.raises(Broken, match="a row with a label has the score NULL"):
        run(load("quality", root), THIRD)
    sql = RIVALS.replace(
        "rival__score FROM scored", "rival__score FROM scored WHERE rival__score IS NOT NULL"
    )
    (folder / "labelled.sql").write_text(sql)
    run(load("quality", root), THIRD)
    found = query("SELECT scored_on, model, rows FROM by_day ORDER BY ALL", root).to_pylist()
    assert [(row["scored_on"].isoformat(), row["model"], row["rows"]) for row in found] == [
        (FIRST, "champion", ROWS), (THIRD, "champion", ROWS), (THIRD, "rival", ROWS),
    ]  # fmt: skip

    (folder / "by_day.sql").write_text(BY_MODEL.replace("(scored_on, model), chance", "scored_on, chance"))
    tell(root, THIRD, [(key, THIRD, key % 2) for key in range(ROWS)])
    with pytest.raises(Broken, match="500 rows with a label are measured by places among 1000"):
        run(load("quality", root), THIRD)


def test_a_night_without_a_folder_of_labels_stops_or_is_left_out(root: Path) -> None:
    """`calendar` is of the days before; `missing: skip` leaves the night out, and the next has all labels."""
    with pytest.raises(Broken, match=f"no partition of {FOURTH} in labels"):
        run(load("quality", root), FOURTH)
    with (root / "jobs/quality/job.yaml").open("a") as file:
        file.write("policy: {missing: skip}\n")
    assert run(load("quality", root), FOURTH).status == "skipped"
    tell(root, FOURTH, [])
    run(load("quality", root), FOURTH)
    hold(root, published(root, FOURTH)[FIRST], {key: label for key, _, label in drawn(0, 300, 1)})


def test_two_labels_of_a_row_are_refused(root: Path) -> None:
    """Told twice on one day, which of them holds is chance: nothing is published."""
    tell(root, THIRD, [*drawn(0, 300, 1), (0, FIRST, 1)])
    with pytest.raises(Broken, match="two rows are alike in the ORDER BY"):
        run(load("quality", root), THIRD)
    with pytest.raises(Broken, match="by_day"):
        published(root, THIRD)


def test_without_the_limit_on_join_rows_a_key_twice_is_refused(root: Path) -> None:
    """Where the SQL takes all labels, the row is there twice, and the proof of keys says so."""
    (root / "jobs/quality/labelled.sql").write_text(
        "SELECT scored.day AS scored_on, scored.id, score / 3 AS chance, label, false AS early FROM scored "
        "LEFT JOIN labels ON labels.id = scored.id AND labels.scored_on = scored.day"
    )
    tell(root, THIRD, [*drawn(0, 300, 1), (0, FIRST, 1)])
    with pytest.raises(Broken, match="id=0"):
        run(load("quality", root), THIRD)


def test_a_label_that_is_none_stops_the_night(root: Path) -> None:
    tell(root, THIRD, [(0, FIRST, 2)])
    with pytest.raises(
        Broken, match=r"by_day\.sql: a label is 2; allowed: 0, 1, and NULL for one that is not known yet$"
    ):
        run(load("quality", root), THIRD)


def test_a_label_that_was_told_before_its_score_counts_apart(root: Path) -> None:
    """In no measure, and in a figure of its own; one that is told again since counts as that."""
    before = [(key, THIRD, key % 2) for key in range(100)]  # told on the first day, and the second
    tell(root, FIRST, before[:60])
    tell(root, MISSING, [*before[60:], (0, THIRD, 1)])
    tell(root, THIRD, [*drawn(0, 300, 1), (1, THIRD, 0), (200, THIRD, 1)])
    run(load("quality", root), THIRD)
    found = published(root, THIRD)
    assert (found[THIRD]["labelled"], found[THIRD]["early"], found[THIRD]["base_rate"]) == (2, 99, 0.5)
    assert found[FIRST]["early"] == 0
    hold(root, found[FIRST], {key: label for key, _, label in drawn(0, 300, 1)})


def test_a_held_day_has_no_scores_to_measure_until_it_is_released(root: Path) -> None:
    """The night beside it says that a day is missing; the one after the release measures what was staged."""
    text = (root / "jobs/mini/job.yaml").read_text()
    strict = text + "  - {name: nobody passes, sql: 'SELECT false'}\n"
    (root / "jobs/mini/job.yaml").write_text(strict)
    write_day(root, FIFTH, ROWS)
    with pytest.raises(Held):
        run(load("mini", root), FIFTH)
    tell(root, FIFTH, [(key, FIFTH, key % 2) for key in range(ROWS)])
    with pytest.raises(Broken, match=f"mini_scores.*{FIFTH}|{FIFTH}.*mini_scores"):
        run(load("quality", root), FIFTH)
    release_day(Workspace(root), "mini", as_day(FIFTH), by="Ada", because="it is fine")
    run(load("quality", root), FIFTH)
    found = published(root, FIFTH)[FIFTH]
    scores = query("SELECT id, score FROM mini_scores WHERE day = $1", root, values=[FIFTH]).to_pandas()
    assert found["labelled"] == ROWS
    assert found["auc"] == pytest.approx(metrics.roc_auc_score(scores["id"] % 2, scores["score"]), rel=1e-12)


def test_a_night_as_it_was_known_has_the_labels_of_then(root: Path) -> None:
    """Labels that were seen later, though their folder is of the day, are no labels of that night yet."""
    (root / "jobs/quality/job.yaml").write_text(
        QUALITY.replace("SEVERITY", "warn").replace(
            "{path: data/lake/labels,", "{path: data/lake/labels, known_at: seen,"
        )
    )
    first = drawn(0, 300, 1)
    file = root / f"data/lake/labels/day={THIRD}/part-0.parquet"
    days = ["2020-01-03T10:00Z" if key < 200 else "2020-01-05T10:00Z" for key, _, _ in first]
    seen = [dt.datetime.fromisoformat(day) for day in days]
    told = pq.read_table(file, partitioning=None)
    pq.write_table(told.append_column("seen", pa.array(seen, pa.timestamp("us", "UTC"))), file)
    run(load("quality", root), THIRD, known_at="2020-01-04T00:00Z")
    hold(root, published(root, THIRD)[FIRST], {key: label for key, _, label in first if key < 200})
    run(load("quality", root), THIRD)
    hold(root, published(root, THIRD)[FIRST], {key: label for key, _, label in first})


def test_an_auc_below_the_limit_makes_noise(root: Path) -> None:
    """Labels that are the opposite of the scores: the audit warns, or holds the day, as its severity says."""
    sql = "SELECT id, score FROM mini_scores WHERE day = $1"
    scores = query(sql, root, values=[FIRST]).to_pandas()
    worse = (scores["score"] < scores["score"].median()).astype(int)
    tell(root, THIRD, [(int(key), FIRST, int(one)) for key, one in zip(scores["id"], worse, strict=True)])
    add_quality(root, "fail")
    with pytest.raises(Held, match=r"audit 'the AUC of each day is at least 0\.6' failed"):
        run(load("quality", root), THIRD)
    add_quality(root, "warn")
    receipt = run(load("quality", root), THIRD)
    assert (receipt.status, [audit.passed for audit in receipt.audits]) == ("published", [False])
    assert published(root, THIRD)[FIRST]["auc"] == 0


def test_the_report_draws_the_measure_by_day(root: Path) -> None:
    """One dot for a day that is measured, none for one that is not; the numbers are those of the table."""
    tell(root, FOURTH, [(key, day, int(key % 3 == 0)) for day in (FIRST, THIRD) for key in range(ROWS)][300:])
    run(load("quality", root), FOURTH)
    page = report("quality", FOURTH, root)
    aucs = [row["auc"] for row in published(root, FOURTH).values() if row["auc"] is not None]
    assert len(aucs) == 2
    drawing = page[page.index('aria-label="auc, row by row"') :].split("</svg>")[0]
    assert drawing.count("<circle") == 2 and drawing.count("<polyline") == 1
    least, most = (format_value(repr(auc), "number") for auc in (min(aucs), max(aucs)))
    assert f"{least} to {most}" in page

    run(load("quality", root), THIRD)
    (one,) = [row["auc"] for row in published(root, THIRD).values() if row["auc"] is not None]
    assert f"<small>{format_value(repr(one), 'number')}</small>" in report("quality", THIRD, root), "no range"


def test_a_misspelt_column_is_told_before_the_night(root: Path) -> None:
    (root / "jobs/quality/by_day.sql").write_text(
        BY_DAY.replace("brier_score(chance,", "brier_score(chanse,")
    )
    with pytest.raises(Broken, match=r"by_day\.sql.*chanse"):
        check_job(load("quality", root))


def test_a_misspelt_chart_is_told_before_the_night(root: Path) -> None:
    file = root / "jobs/quality/job.yaml"
    text = file.read_text()
    for wrong, told in (
        ("acu", "no column 'acu'"),
        ("unmeasured", "holds no numbers"),
        ("scored_on", "names a row"),
    ):
        file.write_text(text.replace("chart: auc", f"chart: {wrong}"))
        with pytest.raises(Broken, match=f"job.yaml:.*{told}"):
            check_job(load("quality", root))
