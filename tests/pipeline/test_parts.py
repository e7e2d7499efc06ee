"""The features SQL in parts: the rows of the whole query, whatever their number; what is wrong is refused."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from nightscore import load, query, run
from nightscore.cli.main import call
from nightscore.common import Broken, NotYet, ProgressCallback, as_day, silent
from nightscore.common.workspace import open_workspace
from nightscore.job import Job
from nightscore.pipeline import parts, prepare, steps
from nightscore.pipeline.executors import InOrder, Threads
from nightscore.pipeline.publish import whole_query
from nightscore.pipeline.replay import replay_rejects
from nightscore.pipeline.testing import check_parts_executor
from nightscore.review.explain import explain_row
from nightscore.review.verify import verify_days
from nightscore.store import Plan, StagedFile, collect_garbage, run_folder
from tests.behaviour.world import NO_GRACE
from tests.support.workspace import JOB, make_workspace, rows_of

DAY, ROWS, SHOPS = "2020-01-02", 6_000, 97
# What a shop's rows have in common, and what counts over all shops: how popular a band of `a` is, and a rank.
SHOP = """
WITH banded AS (SELECT id, id % 97 AS shop, CAST(floor(a * 10) AS INTEGER) AS band, a, b FROM rows),
popular AS (SELECT band, count(*) AS times, count(DISTINCT shop) AS shops FROM banded GROUP BY band),
own AS (SELECT shop, count(*) AS had FROM banded GROUP BY shop)
SELECT
    id, shop, a,
    CAST(popular.times + popular.shops AS FLOAT) AS b,
    CAST(own.had AS INTEGER) AS had,
    CAST(dense_rank() OVER (ORDER BY popular.times DESC) AS INTEGER) AS place
FROM banded
JOIN popular USING (band)
JOIN own USING (shop)
"""
MINE = "id % getvariable('parts') = getvariable('part')"
RANK = "CAST(dense_rank() OVER (ORDER BY popular.times DESC) AS INTEGER)"  # of the rows that are asked for
UNRANKED = SHOP.replace(RANK, "0")
OWN = f"{UNRANKED}WHERE {MINE}"


def job_of(features: str) -> str:
    return JOB.replace("features: rows\n", f"features: {features}\n").replace(
        "keep: [a]", "keep: [a, shop, b, had, place]"
    )


def workspace(root: Path, features: str, sql: str = SHOP, rows: int = ROWS) -> Path:
    make_workspace(root, rows, job_of(features), days=(DAY,))
    (root / "jobs/mini/features.sql").write_text(sql)
    return root


def split(count: int, column: str = "shop") -> str:
    return f"{{sql: features.sql, split_by: {column}, parts: {count}}}"


def expected() -> pd.DataFrame:
    """The rows by pandas alone."""
    rows = rows_of(DAY, ROWS).to_pandas()
    rows["shop"] = rows["id"] % SHOPS
    rows["band"] = np.floor(rows["a"] * np.float32(10)).astype(int)
    popular = rows.groupby("band").agg(times=("id", "size"), shops=("shop", "nunique"))
    rows = rows.drop(columns="b").join(popular, on="band")
    rows["b"] = (rows["times"] + rows["shops"]).astype(np.float32)
    rows["had"] = rows.groupby("shop")["id"].transform("size")
    rows["place"] = rows["times"].rank(method="dense", ascending=False).astype(int)
    rows["score"] = rows["a"] + np.float32(2) * rows["b"]
    return rows[["id", "a", "shop", "b", "had", "place", "score"]]


def published(root: Path) -> pd.DataFrame:
    columns = "id, a, shop, b, had, place, score"
    return query(f"SELECT {columns} FROM mini_scores ORDER BY id", root).to_pandas()


def snapshots(root: Path) -> dict[str, tuple[int, int]]:
    found = {path.name: path.stat() for path in folder(root).glob("features-*.parquet")}
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in found.items()}


def folder(root: Path) -> Path:
    [found] = (root / f"data/runs/mini/{DAY}").iterdir()
    return found


@pytest.mark.parametrize(
    ("features", "says"),
    [
        ("features.sql", ""),
        (split(16), "features  in 16 parts by shop, a task each"),
        ("{sql: features.sql, parts: 3}", "features  in 3 parts by getvariable('part'), a task each"),
    ],
)
def test_plan_says_in_how_many_parts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], features: str, says: str
) -> None:
    """Before anything is made."""
    root = workspace(tmp_path, features, OWN if "getvariable" in says else SHOP)
    assert call(["--workspace", str(root), "plan", "mini", "--day", DAY]) == 0
    out = capsys.readouterr().out
    assert (says in out) if says else ("parts" not in out)


@pytest.mark.parametrize(
    ("count", "executor"),
    [
        (1, InOrder()),
        (2, Threads()),
        (7, InOrder()),
        (7, Threads()),
        pytest.param(64, Threads(), marks=pytest.mark.slow),
    ],
)
@pytest.mark.sample(2)
def test_rows_are_those_of_pandas_whatever_the_number_of_parts(
    tmp_path: Path, count: int, executor: InOrder | Threads
) -> None:
    """Popularity over all shops, a rank over all rows, and a shop's own count: each row as pandas has it."""
    root = workspace(tmp_path, split(count))
    receipt = run(load("mini", root), DAY, executor=executor)
    pd.testing.assert_frame_equal(published(root), expected(), check_dtype=False)
    assert receipt.parts is not None and receipt.parts.parts == count and receipt.parts.split_by == "shop"
    files = sorted(folder(root).glob("features-*.parquet"))
    shops = [set(pq.read_table(path).column("shop").to_pylist()) for path in files]
    assert len(files) == count and sum(map(len, shops)) == SHOPS, "a shop lies in one part"
    kept = pq.read_metadata(files[receipt.parts.compared]).num_rows
    assert receipt.parts.rows == kept


@pytest.mark.parametrize("executor", [InOrder(), Threads()], ids=["in order", "threads"])
@pytest.mark.sample(1)
def test_executors_keep_the_contract(tmp_path: Path, executor: InOrder | Threads) -> None:
    """The shipped suite for executors of parts."""
    job = load("mini", workspace(tmp_path, split(5)))
    check_parts_executor(lambda: executor, job, steps.plan_day(job, as_day(DAY)))


def test_check_says_that_features_are_made_in_parts(tmp_path: Path) -> None:
    """`nightscore check` names their number and the column."""
    said = steps.check_job(load("mini", workspace(tmp_path, split(5))))
    assert "6 feature columns, made in 5 parts by shop; publishes" in said


@pytest.mark.slow
def test_decisions_keep_their_bytes(tmp_path: Path) -> None:
    """The decision table has the same sha256 without parts, with two and with seven."""
    made = {}
    for name, features in {"one": "features.sql", "two": split(2), "seven": split(7)}.items():
        root = workspace(tmp_path / name, features)
        run(load("mini", root), DAY)
        made[name] = query("FROM mini_top ORDER BY ALL", root).drop(["run_id"])
    assert made["one"].equals(made["two"]) and made["one"].equals(made["seven"])


def test_sql_may_say_itself_what_a_part_has(tmp_path: Path) -> None:
    """By getvariable('part') and getvariable('parts'): the rows of pandas again."""
    root = workspace(tmp_path, "{sql: features.sql, parts: 5}", OWN)
    receipt = run(load("mini", root), DAY)
    rows, truth = published(root), expected()
    pd.testing.assert_frame_equal(rows.drop(columns="place"), truth.drop(columns="place"), check_dtype=False)
    assert receipt.parts and receipt.parts.split_by == "" and receipt.parts.rows == ROWS // 5
    assert steps.features(load("mini", root), DAY).num_rows == ROWS, "training reads all rows"


WRONG_SQL = {
    "rows are missed": (MINE + " AND id <> 77", "the whole query gives 6,000 rows"),
    "parts overlap": ("id % 3 = getvariable('part') % 3", "not unique|the whole query gives"),
    "a part has other values": (MINE, "part . of the features of 2020-01-02 has other rows"),
}


@pytest.mark.parametrize(("mine", "message"), WRONG_SQL.values(), ids=WRONG_SQL)
@pytest.mark.sample(1)
def test_sql_whose_parts_are_not_the_whole_is_refused(tmp_path: Path, mine: str, message: str) -> None:
    """Rows that are in no part, in two, or other in a part than in the whole: nothing is published."""
    sql = UNRANKED + f"WHERE getvariable('parts') = 1 OR ({mine})"
    if message.startswith("part"):
        sql = sql.replace("id, shop, a,", "id, shop, a + getvariable('parts') AS a,")
    root = workspace(tmp_path, "{sql: features.sql, parts: 5}", sql)
    with pytest.raises(Broken, match=message):
        run(load("mini", root), DAY)
    assert not (root / "data/tables").exists()


def test_a_part_that_lost_a_row_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A condition that loses rows on the way into the SQL, as an optimizer's defect would: broken."""
    whole = parts.within
    monkeypatch.setattr(
        parts, "within", lambda planned, number: f"({whole(planned, number) or 'true'}) AND id <> 77"
    )
    root = workspace(tmp_path, split(4))
    with pytest.raises(Broken, match=r"gives 6,000 rows on 2020-01-02, its 4 parts 5,999|other rows than"):
        run(load("mini", root), DAY)
    assert not (root / "data/tables").exists()


def test_a_part_with_another_value_is_refused(tmp_path: Path) -> None:
    """A value that changed in the part that is compared, its checksums made new: it names the key."""
    job = load("mini", workspace(tmp_path, split(4)))
    plan = steps.plan_day(job, as_day(DAY))
    assert plan.parts
    place = run_folder.folder_of_plan(job.workspace, plan).part(plan.parts.compared)
    table = pq.read_table(place.local())
    values = table.column("b").to_numpy().copy()
    values[3] += 1
    place.remove()
    at = table.schema.get_field_index("b")
    changed = table.set_column(at, "b", [values])
    prepare.stage_batches(place, changed.to_batches(), table.schema)
    key = table.column("id")[3].as_py()
    with pytest.raises(Broken, match=rf"only in the part: id={key}; only in the whole query: id={key}"):
        whole_query.compare_part(job, plan)


def test_another_value_in_any_part_is_refused(tmp_path: Path) -> None:
    """A value that changed in a part that is not compared row by row, its checksums made new: its key."""
    job = load("mini", workspace(tmp_path, split(4)))
    plan = steps.plan_day(job, as_day(DAY))
    assert plan.parts
    place = run_folder.folder_of_plan(job.workspace, plan).part((plan.parts.compared + 1) % 4)
    table = pq.read_table(place.local())
    values = table.column("a").to_numpy().copy()
    values[7] = np.nextafter(values[7], np.float32(2))
    place.remove()
    changed = table.set_column(table.schema.get_field_index("a"), "a", [values])
    prepare.stage_batches(place, changed.to_batches(), table.schema)
    key = table.column("id")[7].as_py()
    with pytest.raises(Broken, match=rf"only in the part: id={key}; only in the whole query: id={key}"):
        whole_query.compare_part(job, plan)


@pytest.mark.parametrize("count", [3, 7])
@pytest.mark.slow
def test_rows_that_belong_together_in_two_parts_are_refused(tmp_path: Path, count: int) -> None:
    """0.0 and -0.0 are one shop, and two texts: DuckDB counts each part's half where it splits the window."""
    sql = (
        "WITH signed AS (SELECT *, CASE WHEN id % 2 = 0 THEN 0 ELSE '-0'::DOUBLE END AS shop FROM rows) "
        "SELECT id, CAST(shop AS VARCHAR) AS shop, a, CAST(count(*) OVER (PARTITION BY shop) AS FLOAT) AS b, "
        "0 AS had, 0 AS place FROM signed"
    )
    root = workspace(tmp_path / "whole", "features.sql", sql)
    run(load("mini", root), DAY)
    assert set(published(root)["b"]) == {ROWS}
    root = workspace(tmp_path / "parts", split(count), sql)
    with pytest.raises(Broken, match=r"other rows than the whole query has of it: only in the part: id=\d, "):
        run(load("mini", root), DAY)
    assert not (root / "data/tables").exists()


ALL_KINDS = """
SELECT id, shop, a, b, 0 AS had, 0 AS place,
    CASE WHEN id % 2 = 0 THEN 'even' ELSE 'odd' END::ENUM('even', 'odd') AS parity,
    id::HUGEINT AS huge, (id / 7)::DECIMAL(18, 4) AS money, [a, b, NULL] AS pair, {'a': a, 'n': NULL} AS made,
    DATE '2020-01-01' + id::INTEGER AS d, TIMESTAMP '2020-01-01' + to_seconds(id) AS t,
    TIMESTAMPTZ '2020-01-01 00:00:00+00' + to_seconds(id) AS z, make_timestamp_ns(id) AS ns,
    TIME '00:00:00' + to_seconds(id) AS clock, md5(id::VARCHAR)::BLOB AS bytes,
    ('00000000-0000-0000-0000-' || lpad(id::VARCHAR, 12, '0'))::UUID AS u, id % 2 = 0 AS yes,
    CASE WHEN id % 3 = 0 THEN NULL WHEN id % 3 = 1 THEN 'nan'::DOUBLE ELSE -0.0 END AS odd,
    '{"a": 1}'::JSON AS j, (id % 100)::UTINYINT AS small, [a, b]::FLOAT[2] AS fixed
FROM (SELECT *, id % 97 AS shop FROM rows)
"""


def test_columns_of_every_kind_are_what_the_whole_query_gives(tmp_path: Path) -> None:
    """What a type becomes in a snapshot is none of a difference."""
    root = workspace(tmp_path, split(5), ALL_KINDS)
    assert run(load("mini", root), DAY).status == "published"


def test_a_damaged_comparison_is_made_again(tmp_path: Path) -> None:
    """Of each record that was cut or changed: what it says is not believed, and it is not in the way."""
    job = load("mini", workspace(tmp_path, split(4)))
    plan = steps.plan_day(job, as_day(DAY))
    found = whole_query.compare_part(job, plan)
    kept = run_folder.folder_of_plan(job.workspace, plan).compared
    text = kept.read_text()
    for damaged in (text[:40], "", text.replace("6000", "6001"), "[]"):
        kept.replace_text(damaged)
        again = whole_query.compare_part(job, plan)
        assert (again.rows, again.key_hash, again.compared) == (ROWS, found.key_hash, found.compared)


def test_a_row_without_a_value_to_split_by_is_refused(tmp_path: Path) -> None:
    """A null has no part: broken, with the line of job.yaml and what to do."""
    root = workspace(tmp_path, split(4), SHOP.replace("id, shop, a,", "id, nullif(shop, 5) AS shop, a,"))
    with pytest.raises(Broken, match=r"job\.yaml:\d+: features\.split_by: 62 rows .* have no shop"):
        run(load("mini", root), DAY)


WRONG_JOBS = {
    "no such column": (split(4, "store"), SHOP, "features.split_by: the features have no column 'store'"),
    "equal values, other texts": (
        split(4, "a"), SHOP, "features.split_by: a is FLOAT, of which equal values may have other texts",
    ),
    "no part": (split(0), SHOP, "features.parts: 0 is not allowed"),
    "split by, and no parts": ("{sql: features.sql, split_by: shop}", SHOP, "add parts: N"),
    "two ways": (split(4), OWN, "reads getvariable('part'), too"),
    "no way": ("{sql: features.sql, parts: 4}", SHOP, "does not read getvariable('part')"),
    "half a way": (
        "{sql: features.sql, parts: 4}", UNRANKED + "WHERE id % 4 = getvariable('part')",
        "does not read getvariable('parts')",
    ),
    "an input": ("{sql: rows, parts: 4, split_by: id}", SHOP, "only SQL is run in parts"),
    "a word too many": ("{sql: features.sql, part: 4}", SHOP, "unknown key; did you mean parts?"),
    "approximate": (split(4) + "\nsql: approximate", SHOP, "say sql: exact, or leave parts out"),
}  # fmt: skip


@pytest.mark.parametrize(("features", "sql", "message"), WRONG_JOBS.values(), ids=WRONG_JOBS)
def test_a_wrong_job_is_told(tmp_path: Path, features: str, sql: str, message: str) -> None:
    """`check` names the line, and what is allowed."""
    root = workspace(tmp_path, features, sql)
    with pytest.raises(Broken, match=re.escape(message)):
        steps.check_job(load("mini", root))


def test_a_finished_part_is_not_made_again(tmp_path: Path) -> None:
    """Stopped in the fourth of eight parts: the next run takes the three that are there, as they are."""
    root = workspace(tmp_path, split(8))

    class Stopped(InOrder):
        def map_parts(
            self, job: Job, plan: Plan, numbers: Sequence[int], report: ProgressCallback = silent
        ) -> list[StagedFile]:
            super().map_parts(job, plan, numbers[:3], report)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(load("mini", root), DAY, executor=Stopped())
    before = snapshots(root)
    run(load("mini", root), DAY)
    after = snapshots(root)
    assert len(before) == 3 and len(after) == 8 and before.items() <= after.items()
    pd.testing.assert_frame_equal(published(root), expected(), check_dtype=False)


def test_a_run_that_was_collected_among_its_parts_is_not_taken_up(tmp_path: Path) -> None:
    """After `gc` the next run makes all parts anew, in another folder, and who still works is refused."""
    root = workspace(tmp_path, split(4))
    job, begun = load("mini", root), []

    class Slow(InOrder):
        def map_parts(
            self, job: Job, plan: Plan, numbers: Sequence[int], report: ProgressCallback = silent
        ) -> list[StagedFile]:
            begun.append(plan)
            super().map_parts(job, plan, numbers[:2], report)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(job, DAY, executor=Slow())
    collect_garbage(job.workspace, NO_GRACE)
    with pytest.raises(NotYet, match="run the day again"):
        parts.stage_part(job, begun[0], 3)
    assert run(job, DAY).run_id != begun[0].run_id
    pd.testing.assert_frame_equal(published(root), expected(), check_dtype=False)


@pytest.mark.slow
def test_a_row_is_explained_and_rejects_are_replayed(tmp_path: Path) -> None:
    """What reads a day's snapshot reads those of its parts: `why`, `replay-rejects`, `verify`."""
    root = workspace(tmp_path, split(6))
    job = root / "jobs/mini/job.yaml"
    job.write_text(
        job.read_text() + "domain: {a: {max: 0.99}}\npolicy: {bad_row: reject, max_rejected: 10%}\n"
    )
    rejected = run(load("mini", root), DAY).rows.rejected
    truth = expected()
    assert rejected == int((truth["a"] > 0.99).sum()) > 0
    row = truth[truth["a"] <= 0.99].iloc[7]
    seen = explain_row(load("mini", root), as_day(DAY), {"id": str(int(row["id"]))})
    assert seen.features and seen.features["b"] == row["b"] and seen.features["had"] == row["had"]
    job.write_text(job.read_text().replace("domain: {a: {max: 0.99}}\n", ""))
    assert replay_rejects(load("mini", root), DAY).replayed
    pd.testing.assert_frame_equal(published(root), truth, check_dtype=False)
    assert [found.differences for found in verify_days(open_workspace(root), "mini", DAY)] == [[]]


def test_jobs_without_parts_write_what_they_wrote(tmp_path: Path) -> None:
    """Neither plan nor receipt names parts, and `{sql: …}` alone is the same job as the word."""
    root, other = workspace(tmp_path / "a", "features.sql"), workspace(tmp_path / "b", "{sql: features.sql}")
    assert load("mini", root).hash == load("mini", other).hash
    run(load("mini", root), DAY)
    for name in ("plan.json", "receipt.json"):
        assert "parts" not in json.loads((folder(root) / name).read_text())
    assert not list(folder(root).glob("begun.json")) and not list(folder(root).glob("compared.json"))
