"""Lakes of every layout, by other people's writers: a job sees pandas' rows, of its days alone."""

import datetime as dt
import shutil
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from nightscore import Broken, load, run
from nightscore.job import Job, parse_layout
from nightscore.pipeline import inputs
from nightscore.pipeline.read.absent import missing
from nightscore.store import Engine, EngineResources
from tests.support.workspace import JOB, make_workspace

DAYS = [dt.date(2026, 1, 30), dt.date(2026, 1, 31), dt.date(2026, 2, 1), dt.date(2026, 2, 2)]
DAY, LATER = DAYS[2], DAYS[3]
REGIONS = ["eu", "us west", "a=b/ü"]


def rows() -> pd.DataFrame:
    """Rows of four days and three regions: the right answer, and what the writers are given."""
    rng = np.random.default_rng(7)
    every = [(day, region) for day in DAYS for region in REGIONS for _ in range(20)]
    frame = pd.DataFrame(every, columns=["day", "region"])
    frame["id"] = np.arange(len(frame))
    frame["a"], frame["b"] = rng.random((2, len(frame)), dtype=np.float32)
    return frame


def by_pyarrow(frame: pd.DataFrame, lake: Path, *keys: str) -> None:
    """A dataset of pyarrow, hive folders."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    kinds = pa.schema([table.schema.field(key) for key in keys])
    ds.write_dataset(table, lake, format="parquet", partitioning=ds.partitioning(kinds, flavor="hive"))


def by_pandas(frame: pd.DataFrame, lake: Path, *keys: str) -> None:
    """By to_parquet of pandas."""
    frame.to_parquet(lake, partition_cols=list(keys), index=False)


def by_duckdb(frame: pd.DataFrame, lake: Path, *keys: str) -> None:
    """DuckDB's COPY … PARTITION_BY."""
    duckdb.sql("SELECT * FROM frame").query(
        "rows", f"COPY rows TO '{lake}' (FORMAT parquet, PARTITION_BY ({', '.join(keys)}))"
    )


def by_polars(frame: pd.DataFrame, lake: Path, *keys: str) -> None:
    """Polars' partitioned write."""
    pl = pytest.importorskip("polars")
    pl.from_pandas(frame).write_parquet(lake, partition_by=list(keys))


def by_directories(frame: pd.DataFrame, lake: Path, *keys: str) -> None:
    """Pyarrow's folders without keys: 2026/01/30."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    kinds = pa.schema([table.schema.field(key) for key in keys])
    ds.write_dataset(table, lake, format="parquet", partitioning=ds.partitioning(kinds, flavor=None))


def by_hand(frame: pd.DataFrame, lake: Path, *keys: str) -> None:
    """A file a day in one folder, as a nightly export has it."""
    lake.mkdir(parents=True)
    for day, part in frame.groupby(keys[0]):
        part.drop(columns=keys[0]).to_parquet(lake / f"customers_{day:%Y%m%d}.parquet", index=False)


Write = Callable[..., None]
LAYOUTS: dict[str, tuple[Write, str, dict[str, str]]] = {
    # writer, partition, and the folders' keys with how strftime has each from the day ("" is the region)
    "pyarrow, day": (by_pyarrow, "day", {"day": "%Y-%m-%d"}),
    "pandas, compact": (by_pandas, "dt={day:%Y%m%d}", {"dt": "%Y%m%d"}),
    "duckdb, year month day": (by_duckdb, "year={day:%Y}/month={day:%m}/day={day:%d}",
                               {"year": "%Y", "month": "%m", "day": "%d"}),
    "pyarrow, as spark writes": (by_pyarrow, "year={day:%Y}/month={day:%-m}/day={day:%-d}",
                                 {"year": "%Y", "month": "%-m", "day": "%-d"}),
    "pandas, region first": (by_pandas, "region=*/day={day}", {"region": "", "day": "%Y-%m-%d"}),
    "duckdb, region and compact": (by_duckdb, "region=*/dt={day:%Y%m%d}", {"region": "", "dt": "%Y%m%d"}),
    "pyarrow, region last": (by_pyarrow, "dt={day:%Y%m%d}", {"dt": "%Y%m%d", "region": ""}),
    "polars, year month day": (by_polars, "y={day:%Y}/m={day:%m}/d={day:%d}",
                               {"y": "%Y", "m": "%m", "d": "%d"}),
    "pyarrow, bare folders": (by_directories, "{day:%Y/%m/%d}", {"y": "%Y", "m": "%m", "d": "%d"}),
    "a file a day": (by_hand, "customers_{day:%Y%m%d}.parquet", {"day": "same"}),
}  # fmt: skip


def write(frame: pd.DataFrame, lake: Path, writer: Write, keys: dict[str, str]) -> None:
    """The rows in a layout: its keys are columns that the writer makes folders of."""
    lake.parent.mkdir(parents=True, exist_ok=True)
    if keys == {"day": "same"}:
        return writer(frame, lake, "day")
    made = {key: frame["day"].map(lambda d, f=form: d.strftime(f)) for key, form in keys.items() if form}
    return writer(frame.drop(columns="day").assign(**made), lake, *keys)


def job_over(root: Path, partition: str, lookback: int = 1, more: str = "") -> Job:
    """The job over a lake in `data/in`."""
    spec = f"{{path: data/in, partition: '{partition}', lookback: {lookback}{more}}}"
    text = JOB.replace("{path: data/lake/rows, partition: day}", spec).replace(
        "features: rows", "features: features.sql"
    )
    if not (root / "jobs").exists():
        make_workspace(root, 5, text, ())
    (root / "jobs/mini/job.yaml").write_text(text)
    return load("mini", root)


def seen(job: Job, day: dt.date, select: str) -> pd.DataFrame:
    """What SQL of a job sees."""
    files = inputs.resolve_inputs(job, day)
    resources = EngineResources(2, 500_000_000, job.workspace.root)
    with Engine(inputs.views(job, files, day), resources) as engine:
        return pd.DataFrame(engine._relation(select).to_arrow_table().to_pandas())


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.sample(3)
def test_a_job_sees_the_rows_of_its_days_and_no_others(name: str, tmp_path: Path) -> None:
    """By pandas' own answer: the day itself, a lookback, columns of folders as text, the day as a DATE."""
    writer, partition, keys = LAYOUTS[name]
    frame = rows()
    write(frame, tmp_path / "w/data/in", writer, keys)
    job = job_over(tmp_path / "w", partition, lookback=2)
    column = job.spec.inputs["rows"].layout.column
    found = seen(job, DAY, f"SELECT id, region, a, {column} AS day FROM rows ORDER BY id")
    wanted = frame[frame["day"].isin(DAYS[1:3])][["id", "region", "a", "day"]].reset_index(drop=True)
    found["day"] = [d.date() if hasattr(d, "date") else d for d in found["day"]]
    pd.testing.assert_frame_equal(found, wanted, check_dtype=False)
    typed = seen(job, DAY, f"SELECT DISTINCT typeof({column}) AS t, typeof(region) AS r FROM rows")
    assert typed.to_numpy().tolist() == [["DATE", "VARCHAR"]]
    assert inputs.list_input_days(job) == DAYS
    assert missing(job, inputs.resolve_inputs(job, dt.date(2026, 2, 3)), dt.date(2026, 2, 3)) == ["rows"]


@pytest.mark.parametrize("name", ["duckdb, year month day", "a file a day", "duckdb, region and compact"])
@pytest.mark.parametrize("features", ["streamed", "sql"])
@pytest.mark.sample(2)
def test_the_published_rows_are_those_of_the_plain_layout(name: str, features: str, tmp_path: Path) -> None:
    """The same rows in `day=…` and in another layout are published alike, streamed or by SQL; and verify."""
    published = []
    for folder, (writer, partition, keys) in {"w": LAYOUTS["pyarrow, day"], "x": LAYOUTS[name]}.items():
        root = tmp_path / folder
        write(rows(), root / "data/in", writer, keys)
        job = job_over(root, partition)
        column = job.spec.inputs["rows"].layout.column
        (root / "jobs/mini/features.sql").write_text(
            f"SELECT id, region, a, b FROM rows WHERE {column} = getvariable('day')"
        )
        text = job.file.read_text().replace("keep: [a]", "keep: [region]")
        job.file.write_text(text.replace("features.sql", "rows") if features == "streamed" else text)
        receipt = run(load("mini", root), DAY.isoformat())
        assert receipt.rows.published == 60
        table = DeltaTable(str(root / "data/tables/mini_scores")).to_pyarrow_table().to_pandas()
        published.append(table.drop(columns="run_id").sort_values("id", ignore_index=True))
    pd.testing.assert_frame_equal(*published)


@pytest.mark.parametrize("through", ["workspace", "data", "path", "root"])
def test_a_lake_behind_a_link_is_read_alike(through: str, tmp_path: Path) -> None:
    """Where a link stands does not matter: of the workspace, of data/, of the path, a root."""
    writer, partition, keys = LAYOUTS["duckdb, region and compact"]
    root = tmp_path / "w"
    write(rows(), root / "data/in", writer, keys)
    job_over(root, partition)
    if through == "workspace":
        (tmp_path / "link").symlink_to(root)
        root = tmp_path / "link"
    elif through == "data":
        (root / "data").rename(tmp_path / "disk")
        (root / "data").symlink_to(tmp_path / "disk")
    elif through == "path":
        (root / "data/in").rename(root / "data/there")
        (root / "data/in").symlink_to("there")
    else:
        (root / "data/in").rename(tmp_path / "lake")
        (root / "lake").symlink_to(tmp_path / "lake")
        (root / "workspace.yaml").write_text("roots: {x: lake}\n")
        text = (root / "jobs/mini/job.yaml").read_text()
        (root / "jobs/mini/job.yaml").write_text(text.replace("path: data/in", "root: x, path: ."))
    select = "SELECT count(*) AS n, min(region) AS r, min(dt)::VARCHAR AS d FROM rows"
    found = seen(load("mini", root), DAY, select)
    assert found.to_numpy().tolist() == [[60, "a=b/ü", str(DAY)]]


def test_hive_folders_right_below_a_root_are_read(tmp_path: Path) -> None:
    """The name of the root is no part of the first folder's."""
    write(rows(), tmp_path / "lake", *LAYOUTS["pandas, region first"][::2])
    root = tmp_path / "w"
    job_over(root, "region=*/day={day}")
    (root / "workspace.yaml").write_text("roots: {x: ../lake}\n")
    text = (root / "jobs/mini/job.yaml").read_text()
    (root / "jobs/mini/job.yaml").write_text(text.replace("path: data/in", "root: x, path: ."))
    found = seen(load("mini", root), DAY, "SELECT count(*) AS n, max(region) AS r FROM rows")
    assert found.to_numpy().tolist() == [[60, "us west"]]


def test_a_column_in_the_file_of_the_same_name_is_held_to_the_path(tmp_path: Path) -> None:
    """As in hive folders: alike it is one column, else it is refused, and the job can say which counts."""
    lake = tmp_path / "w/data/in"
    frame = rows()[lambda f: f["day"] == DAY]
    by_hand(frame, lake, "day")
    path = lake / f"customers_{DAY:%Y%m%d}.parquet"
    frame.to_parquet(path, index=False)
    job = job_over(tmp_path / "w", "customers_{day:%Y%m%d}.parquet")
    assert seen(job, DAY, "SELECT count(*) AS n FROM rows WHERE day = DATE '2026-02-01'")["n"].tolist() == [
        60
    ]
    frame.assign(day=LATER).to_parquet(path, index=False)
    with pytest.raises(Broken, match=r"column 'day' has 2026-02-02 in the file and 2026-02-01 by its folder"):
        seen(job, DAY, "SELECT 1 FROM rows")
    job = job_over(tmp_path / "w", "customers_{day:%Y%m%d}.parquet", more=", partition_column: folder")
    assert seen(job, DAY, "SELECT DISTINCT day::VARCHAR AS d FROM rows")["d"].tolist() == ["2026-02-01"]
    job = job_over(tmp_path / "w", "customers_{day:%Y%m%d}.parquet", more=", partition_column: file")
    assert seen(job, DAY, "SELECT DISTINCT day::DATE::VARCHAR AS d FROM rows")["d"].tolist() == ["2026-02-02"]


BESIDE = {
    "archive": "lies beside the partitions year=YYYY/month=MM/day=DD and is none",
    "year=2026/latest": "lies beside the partitions year=YYYY/month=MM/day=DD",
    "Year=2026": "the input's partition is 'year'",
    "year=26": "'26' is no day; a partition is year=YYYY/month=MM/day=DD",
    "year=2026/month=13": "'13' is no day",
    "year=2026/month=02/day=30": "'30' is no day",
    "year=2026/month=2": "'2' is no day",
    "year=2026/month=__HIVE_DEFAULT_PARTITION__": "no_day: ignore in the input leaves them out",
}  # fmt: skip


@pytest.mark.parametrize(("name", "said"), BESIDE.items())
def test_what_is_not_of_the_layout_is_refused_by_name(name: str, said: str, tmp_path: Path) -> None:
    """At each level: another name, another spelling, a day that no calendar has."""
    writer, partition, keys = LAYOUTS["duckdb, year month day"]
    write(rows(), tmp_path / "w/data/in", writer, keys)
    (tmp_path / "w/data/in" / name).mkdir(parents=True)
    with pytest.raises(Broken) as caught:
        inputs.resolve_inputs(job_over(tmp_path / "w", partition), DAY)
    assert said in str(caught.value) and f"data/in/{name}" in str(caught.value)


def test_rows_without_a_day_are_a_policy(tmp_path: Path) -> None:
    """Pandas puts them into __HIVE_DEFAULT_PARTITION__; left out they are named in plan and receipt."""
    frame = rows()
    frame.loc[:4, "day"] = None
    by_pandas(frame, tmp_path / "w/data/in", "day")
    with pytest.raises(Broken, match=r"rows without one; no_day: ignore"):
        inputs.resolve_inputs(job_over(tmp_path / "w", "day"), DAY)
    job = job_over(tmp_path / "w", "day", more=", no_day: ignore")
    assert len(seen(job, DAY, "SELECT id FROM rows")) == 60
    receipt = run(job, DAY.isoformat())
    assert receipt.ignored == {"rows": ("day=__HIVE_DEFAULT_PARTITION__",)}


def test_folders_of_other_days_are_not_opened(tmp_path: Path) -> None:
    """What lies there, such as a file that is being written, does not matter; nor is a later day seen."""
    writer, partition, keys = LAYOUTS["duckdb, year month day"]
    lake = tmp_path / "w/data/in"
    write(rows(), lake, writer, keys)
    (lake / "year=2026/month=03/day=01").mkdir(parents=True)
    (lake / "year=2026/month=03/day=01/x.tmp").touch()
    (lake / "year=2025/anything").mkdir(parents=True)
    job = job_over(tmp_path / "w", partition, lookback=30)
    assert seen(job, DAY, "SELECT max(day)::VARCHAR AS d FROM rows")["d"].tolist() == [str(DAY)]
    with pytest.raises(Broken, match=r"year=2025/anything: lies beside"):
        inputs.list_input_days(job)


@pytest.mark.parametrize(
    "line", ["{path: data/in, partition: {day:%Y%m%d}}", "{path: data/in, partition: dt={day:%Y%m%d}}"]
)
def test_a_template_without_quotes_says_so(line: str, tmp_path: Path) -> None:
    """What YAML makes of it is another thing, or no YAML at all."""
    root = make_workspace(tmp_path / "w", 5, JOB.replace("{path: data/lake/rows, partition: day}", line), ())
    with pytest.raises(Broken, match=r"quote"):
        load("mini", root)


@pytest.mark.slow
def test_two_thousand_days_stay_quick(tmp_path: Path) -> None:
    """Listing and reading one day of a lake of 2,000 costs no more than some times the plain layout's."""
    import time

    table = pa.table({"id": np.arange(10), "a": np.zeros(10, np.float32), "b": np.zeros(10, np.float32)})
    pq.write_table(table, tmp_path / "one.parquet")
    spent = {}
    for name, form in {
        "day": "day=%Y-%m-%d",
        "year={day:%Y}/month={day:%m}/day={day:%d}": "year=%Y/month=%m/day=%d",
    }.items():
        root = tmp_path / f"w{len(spent)}"
        for i in range(2_000):
            folder = root / "data/in" / (dt.date(2020, 1, 1) + dt.timedelta(days=i)).strftime(form)
            folder.mkdir(parents=True)
            shutil.copy(tmp_path / "one.parquet", folder / "x.parquet")
        job = job_over(root, name)
        began = time.perf_counter()
        assert len(seen(job, dt.date(2025, 1, 1), "SELECT id FROM rows")) == 10
        one = time.perf_counter() - began
        every = job_over(root, name, lookback=2_000)
        began = time.perf_counter()
        assert seen(
            every, dt.date(2025, 6, 22), "SELECT count(*) AS n, count(DISTINCT day) AS d FROM rows"
        ).to_numpy().tolist() == [[20_000, 2_000]]
        spent[name] = one, time.perf_counter() - began
    (plain_one, plain_every), (other_one, other_every) = spent.values()
    assert other_one < 5 * plain_one + 1 and other_every < 5 * plain_every + 1


ISO = "2026-01-05"
READINGS = {  # (template, name) -> the day, by hand; none where it could be two days, or two values
    ("{day:%Y%-m%-d}", "2026111"): None, ("{day:%Y%-m%-d}", "20261121"): "2026-11-21",
    ("{day:%Y-%-m-%-d}", "2026-1-11"): "2026-01-11", ("v*{day:%-d-%m-%Y}.csv", "v115-01-2026.csv"): None,
    ("{a}{b}_{day:%Y%m%d}", "xyz_20260105"): None, ("{a}-{b}_{day:%Y%m%d}", "x-z_20260105"): "2026-01-05",
    ("{a}-{b}_{day:%Y%m%d}", "x-y-z_20260105"): None, ("*_{day:%Y%m%d}.csv", "a_1_20260105.csv"): ISO,
    ("*{day:%Y%m%d}*.csv", "s20260105120000x.csv"): ISO, ("*_*_{day:%Y%m%d}.csv", "a_b_c_20260105.csv"): ISO,
    ("*_{day:%Y%m%d}*.csv", "x_20260104_20260105.csv"): None,
    ("*_{day:%Y%m%d}*.csv", "x_20260105_7.csv"): ISO,
    ("x_{day:%Y%m%d}_*.csv", "x_20260105_20260106.csv"): ISO,
    ("x_{day:%Y-%-m-%-d}*.csv", "x_2026-1-15.csv"): None, ("*{day:%-d.%m.%Y}", "15.01.2026"): None,
}  # fmt: skip


@pytest.mark.parametrize(("template", "name"), READINGS)
def test_a_name_that_could_be_of_two_days_is_of_none(template: str, name: str) -> None:
    """2026111 is the 11th of January, or the 1st of November: nobody guesses."""
    day = parse_layout(template).day_of([name])
    assert (day and day.isoformat()) == READINGS[template, name]


def test_a_name_of_two_days_is_refused_and_says_why(tmp_path: Path) -> None:
    """A night of either day would read the other's rows, or find none."""
    job = job_over(tmp_path / "w", "{day:%Y%-m%-d}.parquet")
    lake = tmp_path / "w/data/in"
    lake.mkdir(parents=True)
    rows()[["id", "a", "b", "region"]].to_parquet(lake / "2026111.parquet", index=False)
    with pytest.raises(Broken, match=r"2026111\.parquet: .* is no day; .*can be read in two ways"):
        inputs.resolve_inputs(job, dt.date(2026, 1, 11))


def test_the_null_of_a_folder_without_a_key_is_no_hidden_name(tmp_path: Path) -> None:
    """Hive's name of a null as a folder without a key: its rows are read, by pandas."""
    frame = rows()
    frame.loc[frame["region"] == REGIONS[1], "region"] = None
    lake = tmp_path / "w/data/in"
    for (day, region), part in frame.groupby(["day", "region"], dropna=False):
        name = "__HIVE_DEFAULT_PARTITION__" if pd.isna(region) else quote(region, safe="")
        (lake / name / str(day)).mkdir(parents=True)
        part.drop(columns=["day", "region"]).to_parquet(lake / name / str(day) / "x.parquet", index=False)
    job = job_over(tmp_path / "w", "{region}/{day}")
    own = frame[frame["day"] == DAY]
    found = seen(job, DAY, "SELECT id, region FROM rows")
    assert sorted(found["id"]) == sorted(own["id"])
    assert found["region"].isna().sum() == own["region"].isna().sum() == 20


def test_a_folder_of_no_day_without_a_key_is_a_policy_too(tmp_path: Path) -> None:
    """Left out only where the input says so."""
    lake = tmp_path / "w/data/in"
    for name in ("20260201", "__HIVE_DEFAULT_PARTITION__"):
        (lake / name).mkdir(parents=True)
        rows()[["id", "a", "b", "region"]].to_parquet(lake / name / "x.parquet", index=False)
    job = job_over(tmp_path / "w", "{day:%Y%m%d}")
    with pytest.raises(Broken, match="these are rows without one; no_day: ignore"):
        inputs.resolve_inputs(job, DAY)
