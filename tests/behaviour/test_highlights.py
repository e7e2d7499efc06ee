"""What stands first in a report: a day's own numbers beside those of the day before, held to pandas."""

from decimal import Decimal
from pathlib import Path

import pytest

from nightscore import Receipt, load, query, run
from nightscore.cli.main import call
from nightscore.pipeline.publish.hold import Held, read_held_days
from nightscore.store import HighlightResult
from tests.behaviour.conftest import Build
from tests.support.workspace import DAYS, JOB, write_day

FIRST, SECOND, THIRD = DAYS
BY_BAND = """\
highlights:
  - title: Scores by band
    sql: >-
      SELECT CASE WHEN a < 0.5 THEN 'low' ELSE 'high' END AS band, count(*) AS rows,
          CAST(sum(CAST(score * 100 AS DECIMAL(18, 2))) AS DECIMAL(18, 2)) AS worth, avg(a) AS share
      FROM scores GROUP BY band ORDER BY band
    by: band
    format: {worth: money USD, share: percent}
    against: day before
  - {title: Chosen, file: chosen.sql, by: id}
"""
CHOSEN = "SELECT id, score FROM mini_top"


@pytest.fixture
def root(fresh: Build) -> Path:
    made = fresh(rows=500, job=JOB + BY_BAND)
    (made / "jobs/mini/chosen.sql").write_text(CHOSEN)
    write_day(made, SECOND, 700)
    return made


def by_band(root: Path, day: str) -> dict[str, tuple[int, Decimal, float]]:
    """The same by pandas, from the published rows."""
    frame = query("SELECT * FROM mini_scores WHERE day = $1", root, values=[day]).to_pandas()
    frame["band"] = (frame["a"] < 0.5).map({True: "low", False: "high"})
    cents = [Decimal(repr(float(x))) for x in (frame["score"] * 100).round(2).astype("float32")]
    frame["worth"] = [c.quantize(Decimal("0.01")) for c in cents]
    return {
        band: (len(rows), sum(rows["worth"], Decimal(0)), float(rows["a"].astype("float64").mean()))
        for band, rows in frame.groupby("band")
    }


def shown(rows: tuple[tuple[str | None, ...], ...]) -> dict[str, tuple[int, Decimal, float]]:
    """What a receipt has of it."""
    return {
        str(band): (int(str(n)), Decimal(str(worth)), float(str(share))) for band, n, worth, share in rows
    }


def test_numbers_of_the_day_stand_beside_those_of_the_day_before(root: Path) -> None:
    """In the receipt, exactly, with their formats, and in the table; the first day has none before."""
    first, second = (run(load("mini", root), day) for day in (FIRST, SECOND))
    assert first.highlights[0].before is None
    bands, chosen = second.highlights
    assert [(c.name, c.format) for c in bands.columns] == [
        ("band", ""), ("rows", "integer"), ("worth", "money USD"), ("share", "percent"),
    ]  # fmt: skip
    assert bands.before and (bands.before.day, bands.before.run_id) == (FIRST, first.run_id)
    for found, day in ((bands.rows, SECOND), (bands.before.rows, FIRST)):
        truth = by_band(root, day)
        assert [band for band, *_ in found] == ["high", "low"], "the SELECT's own order"
        for band, (rows, worth, share) in shown(found).items():
            assert rows == truth[band][0]
            assert abs(worth - truth[band][1]) < Decimal(1), "a cent a row of rounding halves, at most"
            assert share == pytest.approx(truth[band][2], rel=1e-12)
    assert {
        str(id_) for id_ in query(f"SELECT id FROM mini_top WHERE day = '{SECOND}'", root)["id"].to_pylist()
    } == {row[0] for row in chosen.rows}
    stored = query("SELECT receipt FROM receipts WHERE day = $1", root, values=[SECOND])["receipt"][0].as_py()
    assert Receipt.model_validate_json(stored).highlights == second.highlights
    assert run(load("mini", root), SECOND).highlights == second.highlights, "unchanged"


def test_a_highlight_is_no_cause_of_a_day(root: Path) -> None:
    """Another one runs no day again; the next day has it."""
    run(load("mini", root), FIRST)
    job = root / "jobs/mini/job.yaml"
    job.write_text(job.read_text().replace("title: Chosen", "title: The chosen"))
    assert run(load("mini", root), FIRST).status == "unchanged"
    assert run(load("mini", root), SECOND).highlights[1].title == "The chosen"


def test_one_that_fails_at_night_stops_nothing_and_says_why(root: Path) -> None:
    """A cast that fails on the rows of the day, too many rows, two rows of one name: published, and said."""
    (root / "jobs/mini/chosen.sql").write_text(
        "SELECT id, CAST(CAST(id AS VARCHAR) || 'x' AS INTEGER) AS n FROM mini_top"
    )
    job = root / "jobs/mini/job.yaml"
    job.write_text(
        job.read_text()
        + "  - {title: all, sql: SELECT id FROM scores}\n"
        + "  - {title: twice, sql: SELECT 1 AS one FROM mini_top, by: one}\n"
        + "  - {title: unnamed, sql: SELECT id FROM mini_top, against: day before}\n"
    )
    receipt = run(load("mini", root), FIRST)
    assert receipt.status == "published"
    bands, cast, every, twice, unnamed = receipt.highlights
    assert not bands.reason and len(bands.rows) == 2
    assert cast.reason.startswith("jobs/mini/chosen.sql") and "Could not convert" in cast.reason
    assert "gives more than 50 rows; choose the first with a LIMIT" in every.reason
    assert "gives 10 rows of one 1" in twice.reason
    assert "gives 10 rows, and no `by` says which columns name one" in unnamed.reason
    assert all(not one.rows for one in receipt.highlights[1:])


def test_a_day_that_is_held_has_them(root: Path) -> None:
    """Whoever decides sees them."""
    job = root / "jobs/mini/job.yaml"
    job.write_text(job.read_text().replace("audit:\n", "audit:\n  - {name: never, sql: SELECT false}\n"))
    with pytest.raises(Held):
        run(load("mini", root), FIRST)
    [held] = read_held_days(load("mini", root).workspace)
    assert [len(one.rows) for one in held.receipt.highlights] == [2, 10]


MISTAKES = {
    "{title: t}": "gives its SELECT by one of sql and file",
    "{title: t, sql: SELECT 1 AS x, file: top.sql}": "gives its SELECT by one of sql and file",
    "{title: t, file: gone.sql}": "gone.sql can't be read beside job.yaml",
    "{title: t, sql: SELECT a FROM rows}": "reads rows, which is no table of the job's day; allowed: scores,",
    "{title: t, sql: DROP TABLE scores}": "a DROP statement; allowed: exactly one SELECT",
    "{title: t, sql: SELECT nope FROM scores}": '"nope"',
    "{title: t, sql: SELECT now() AS n FROM scores}": "has another value at each run",
    "{title: t, sql: SELECT id FROM scores, format: {id: dollars}}": "'dollars' is no format; allowed: money",
    "{title: t, sql: SELECT id FROM scores, format: {x: money USD}}": "gives no column 'x'; it gives id",
    "{title: t, sql: SELECT 'a' AS x FROM scores, format: {x: percent}}": "'x' holds no numbers; columns",
    "{title: t, sql: SELECT 1 AS n, 2 AS m, by: [n]}": "unknown key; allowed: title",
    "{title: t, sql: SELECT id FROM scores, by: desk}": "the SELECT gives no column 'desk'; it gives id",
    "{title: t, sql: SELECT id FROM scores, by: id, against: day before}": "no column beside those of by",
    "{title: t, sql: SELECT id FROM scores, against: yesterday}": "'yesterday' is not allowed",
    "{title: t, sql: 'SELECT id, id FROM scores'}": "gives column 'id' twice",
    f"{{title: t, sql: 'SELECT {', '.join(f'{i} AS c{i}' for i in range(13))}'}}": "gives 13 columns",
}


@pytest.mark.disk_only(reason="a job is read, and no night is run")
@pytest.mark.parametrize(("yaml", "message"), MISTAKES.items(), ids=lambda text: text[:40])
def test_a_mistake_is_named_by_check_with_its_line(
    fresh: Build, capsys: pytest.CaptureFixture[str], yaml: str, message: str
) -> None:
    """Before any night: the file, the line, what is wrong and what is allowed."""
    root = fresh(rows=10, job=f"{JOB}highlights:\n  - {yaml}\n", days=(FIRST,))
    assert call(["check", "mini", "--workspace", str(root)]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert message in said, said
    assert "jobs/mini/job.yaml:20" in said, said


@pytest.mark.disk_only(reason="numbers of a receipt, and no night is run")
def test_rows_are_matched_by_name() -> None:
    """A desk that came has none before, one that went is told apart; a lone row needs no name."""
    result = HighlightResult.model_validate(
        {
            "title": "t", "columns": [{"name": "desk"}, {"name": "n", "format": "integer"}], "by": ["desk"],
            "rows": [["a", "1"], ["b", "2"]],
            "before": {"day": FIRST, "run_id": "r", "rows": [["c", "3"], ["b", "5"]]},
        }
    )  # fmt: skip
    assert [(row[0], before and before[1]) for row, before in result.pairs()] == [("a", None), ("b", "5")]
    assert result.gone() == [("c", "3")]
    lone = result.model_copy(update={"by": (), "rows": (("a", "1"),)})
    assert [before for _, before in lone.pairs()] == [("b", "5")]
