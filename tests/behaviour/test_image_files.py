"""Nights on images that lie as files in folders, named by rows of another input."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import load_digits

from nightscore import Broken, NotYet, load, query, run
from nightscore.cli.main import call
from nightscore.common.workspace import Workspace
from nightscore.review.verify import verify_days
from tests.behaviour.conftest import Build
from tests.behaviour.test_images import DIGITS, REJECT, TOP, png, truth
from tests.behaviour.test_images import JOB as OF_BYTES
from tests.behaviour.world import DAY

ROWS = 60
JOB = OF_BYTES.replace(
    "  scans: {path: data/lake/scans, partition: day}\n",
    "  pages: {path: data/lake/pages, partition: day}\n  scans: {path: data/lake/scans, format: image}\n",
).replace("key: [id]\n", "key: [id]\nkeep: [path]\n")
FEATURES = "SELECT id, path, content AS scan FROM pages LEFT JOIN scans ON file = path\n"
BY_DAY = JOB.replace("data/lake/scans, ", "data/lake/scans, partition: day, ")
STREAMED = """\
job: mini
inputs:
  scans: {path: data/lake/scans, format: image, partition: day}
features: scans
key: [file]
model:
  kind: image
  path: data/models/digits.onnx
  columns: [content]
  image: {colour: grey}
  outputs: {probabilities: "probabilities[*]"}
"""


def workspace(fresh: Build, job: str = JOB, below: str = "", paths: dict[int, str] | None = None) -> Path:
    """Real digits as PNG files below data/lake/scans, and a day's rows that name them; `paths` are others."""
    root = fresh(rows=10, job=job)
    (root / "jobs/mini/features.sql").write_text(FEATURES)
    (root / "jobs/mini/top.sql").write_text(TOP)
    (root / "data/models/digits.onnx").write_bytes(DIGITS.read_bytes())
    named = [(paths or {}).get(i, f"{below}{i % 3}/{i}.png") for i in range(ROWS)]
    for number, image in enumerate(load_digits().images[:ROWS]):
        file = root / f"data/lake/scans/{below}{number % 3}/{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png(image))
    folder = root / f"data/lake/pages/day={DAY}"
    folder.mkdir(parents=True)
    rows = pa.table({"id": pa.array(range(ROWS), pa.int64()), "path": pa.array(named)})
    pq.write_table(rows, folder / "part-0.parquet")
    return root


def published(root: Path, key: str = "id") -> tuple[list[object], np.ndarray]:
    """The keys that have scores, and the scores."""
    found = query(f"SELECT {key}, probabilities FROM mini_scores ORDER BY {key}", root)
    return found[key].to_pylist(), np.array(found["probabilities"].to_pylist())


def test_rows_name_their_images(fresh: Build, capsys: pytest.CaptureFixture[str]) -> None:
    """Each row has the score of its own file, which is a cause of the day and stands in its receipt."""
    root = workspace(fresh)
    receipt = run(load("mini", root), DAY)
    assert receipt.status == "published"
    keys, scores = published(root)
    assert keys == list(range(ROWS))
    np.testing.assert_allclose(scores, truth()[:ROWS], atol=1e-6)
    assert len(receipt.inputs) == ROWS + 1
    verified = list(verify_days(Workspace(root)))
    assert verified and not any(one.differences for one in verified)
    assert run(load("mini", root), DAY).status == "unchanged"
    file = root / "data/lake/scans/1/1.png"
    file.write_bytes(png(load_digits().images[70]))
    assert run(load("mini", root), DAY).status == "published"
    _, again = published(root)
    assert not np.allclose(again[1], truth()[1], atol=1e-3)
    np.testing.assert_allclose(np.delete(again, 1, axis=0), np.delete(truth()[:ROWS], 1, axis=0), atol=1e-6)
    assert call(["--workspace", str(root), "plan", "mini", "--day", DAY]) == 0
    assert f"{ROWS + 1} files, {2 * ROWS} rows" in capsys.readouterr().out


BESIDE = {3: "0/gone.png", 4: "../models/digits.onnx", 5: "/etc/hostname", 6: "0/./0.png"}


def test_a_row_whose_file_is_not_there_is_a_reject(fresh: Build) -> None:
    """Missing, above the root, elsewhere on the machine: such a row is never scored by another file."""
    root = workspace(fresh, JOB + REJECT, paths=BESIDE)
    assert run(load("mini", root), DAY).status == "published"
    rejects = query("SELECT id, message, features FROM mini_rejects ORDER BY id", root).to_pylist()
    assert {row["id"]: json.loads(row["features"])["path"] for row in rejects} == BESIDE
    assert all("a row without an image has no score" in row["message"] for row in rejects)
    keys, scores = published(root)
    assert keys == [i for i in range(ROWS) if i not in BESIDE]
    np.testing.assert_allclose(scores, truth()[keys], atol=1e-6)
    (root / "jobs/mini/job.yaml").write_text(JOB)
    with pytest.raises(Broken, match="a row without an image has no score"):
        run(load("mini", root), DAY)


CHANGES: dict[str, Callable[[Path], object]] = {
    "other bytes": lambda file: file.write_bytes(png(np.ones((8, 8)))),
    "gone": lambda file: file.unlink(),
    "one more": lambda file: file.with_name("more.png").write_bytes(png(np.ones((8, 8)))),
}


@pytest.mark.parametrize("stage", ["features", "score", "audit"])
@pytest.mark.parametrize("change", CHANGES)
def test_files_that_change_while_a_night_runs_publish_nothing(fresh: Build, change: str, stage: str) -> None:
    """What the plan saw is what is read, or the run ends as not yet; the next one publishes what is there."""
    root = workspace(fresh, JOB + REJECT)
    before: set[str] = set()

    def meanwhile(at: str, *_: object) -> None:
        if at == stage and not before:
            before.add(at)
            CHANGES[change](root / "data/lake/scans/2/2.png")

    with pytest.raises(NotYet, match=r"data/lake/scans/2/(2|more)\.png: .*nothing is published"):
        run(load("mini", root), DAY, report=meanwhile)
    assert not (root / "data/tables/mini_scores").exists()
    assert run(load("mini", root), DAY).status == "published"
    assert len(published(root)[0]) == ROWS - (change == "gone")


def test_a_day_sees_the_images_of_its_days_alone(fresh: Build) -> None:
    """Partitions by day are cut as everywhere; `file` is the path below the input's, with its folders."""
    root = workspace(fresh, BY_DAY, below=f"day={DAY}/")
    later = root / "data/lake/scans/day=2020-01-03/0/0.png"
    later.parent.mkdir(parents=True)
    later.write_bytes(b"no image")
    receipt = run(load("mini", root), DAY)
    assert receipt.status == "published" and len(receipt.inputs) == ROWS + 1
    np.testing.assert_allclose(published(root)[1], truth()[:ROWS], atol=1e-6)


def test_a_folder_of_images_is_scored_without_sql(fresh: Build) -> None:
    """Each file of the day is a row, and its path the key."""
    root = workspace(fresh, STREAMED, below=f"day={DAY}/")
    assert run(load("mini", root), DAY).status == "published"
    keys, scores = published(root, "file")
    numbers = [int(Path(str(key)).stem) for key in keys]
    assert sorted(numbers) == list(range(ROWS)) and keys[0] == f"day={DAY}/0/0.png"
    np.testing.assert_allclose(scores, truth()[numbers], atol=1e-6)


OF_FILES = {"{day:%Y%m%d}_*.png": "20200102_{}.png", "{camera}/{day:%Y-%m-%d}.png": "{}/2020-01-02.png"}


@pytest.mark.parametrize("partition", OF_FILES)
def test_the_name_of_an_image_says_its_day(fresh: Build, partition: str) -> None:
    """Without a folder for each day; images of later days are not seen."""
    root = workspace(fresh, STREAMED.replace("partition: day", f"partition: '{partition}'"))
    lake = root / "data/lake/scans"
    lake.rename(lake.with_name("unnamed"))
    for number in range(ROWS):
        file = lake / OF_FILES[partition].format(number)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes((lake.with_name("unnamed") / f"{number % 3}/{number}.png").read_bytes())
        later = Path(str(file).replace("01-02", "01-03").replace("0102", "0103"))
        later.write_bytes(b"no image")
    assert run(load("mini", root), DAY).status == "published"
    keys, scores = published(root, "file")
    named = [OF_FILES[partition].format(number) for number in range(ROWS)]
    numbers = [named.index(str(key)) for key in keys]
    assert sorted(numbers) == list(range(ROWS))
    np.testing.assert_allclose(scores, truth()[numbers], atol=1e-6)


NAMES = ("0/o'clock.PNG", "0/Ärger.jpeg", "0/a b/c%20d.jpg", "0/{1,2}.png", "0/k=1.png")


def test_any_name_is_the_name_of_its_own_file(fresh: Build) -> None:
    """Quotes, blanks, braces: a row has the scores of that file."""
    root = workspace(fresh, paths=dict(enumerate(NAMES)))
    for number, name in enumerate(NAMES):
        file = root / "data/lake/scans" / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes((root / f"data/lake/scans/{number % 3}/{number}.png").read_bytes())
    assert run(load("mini", root), DAY).status == "published"
    np.testing.assert_allclose(published(root)[1], truth()[:ROWS], atol=1e-6)


def test_what_is_no_image_by_its_name_is_refused(fresh: Build) -> None:
    """As data of another format in any input; `ignore` leaves it out."""
    root = workspace(fresh)
    (root / "data/lake/scans/list.txt").write_text("1.png")
    with pytest.raises(Broken, match=r"data/lake/scans/list.txt: .*allowed are \*\.png, \*\.jpg, \*\.jpeg"):
        run(load("mini", root), DAY)
    ignore = JOB.replace("format: image", "format: image, ignore: ['*.txt']")
    (root / "jobs/mini/job.yaml").write_text(ignore)
    assert run(load("mini", root), DAY).status == "published"


@pytest.mark.disk_only(reason="a bucket has no links")
def test_a_link_out_of_the_workspace_is_refused(fresh: Build, tmp_path: Path) -> None:
    """As in any input: what lies there is nothing of the workspace's."""
    root = workspace(fresh)
    (tmp_path / "secret.png").write_bytes(png(np.zeros((8, 8))))
    (root / "data/lake/scans/0/linked.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(Broken, match=r"data/lake/scans/0/linked\.png"):
        run(load("mini", root), DAY)


REFUSED = {
    "columns: {file: VARCHAR}": "columns: of images a row has file and content; leave columns out",
    "known_at: seen": "known_at: needs Parquet files, and the format is image",
    "day_column: day": "day_column: needs Parquet files, and the format is image",
    "bad_lines: 3": "bad_lines: are of csv and json, and the format is image",
    "csv: {delimiter: ';'}": "csv: says how CSV files are written, and the format is image",
}


@pytest.mark.disk_only(reason="a job that is refused as it is read reaches no data")
@pytest.mark.parametrize("said", REFUSED)
def test_what_is_of_other_formats_is_refused_by_its_line(fresh: Build, said: str) -> None:
    """And not left out quietly."""
    root = fresh(rows=10, job=JOB.replace("format: image", f"format: image, {said}"))
    (root / "jobs/mini/features.sql").write_text(FEATURES)
    (root / "jobs/mini/top.sql").write_text(TOP)
    with pytest.raises(Broken) as error:
        load("mini", root)
    assert REFUSED[said] in str(error.value) and "job.yaml:6" in str(error.value)


@pytest.mark.parametrize("folder", ["content=5", "day=x/filename=a"])
def test_a_folder_that_gives_a_column_of_images_is_refused(fresh: Build, folder: str) -> None:
    """DuckDB would read hive folders' values beside the files' own."""
    root = workspace(fresh)
    file = root / "data/lake/scans" / folder / "0.png"
    file.parent.mkdir(parents=True)
    file.write_bytes(png(np.zeros((8, 8))))
    with pytest.raises(Broken, match=r"gives a column '(content|filename)', as images themselves do"):
        run(load("mini", root), DAY)


def test_a_folder_above_the_input_that_gives_a_column_of_images_is_refused(fresh: Build) -> None:
    """There, too, DuckDB looks for hive folders."""
    root = workspace(fresh, JOB.replace("data/lake/scans", "data/lake/content=5/scans"))
    (root / "data/lake/content=5").mkdir()
    (root / "data/lake/scans").rename(root / "data/lake/content=5/scans")
    with pytest.raises(
        Broken, match=r"the folder 'content=5' gives a column 'content', as images themselves"
    ):
        run(load("mini", root), DAY)


def test_a_case_gives_images_as_escaped_bytes(fresh: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """`nightscore test` without a lake: an input of images has its two columns, whatever its folder holds."""
    root = workspace(fresh, JOB + REJECT)
    escaped = "".join(f"\\x{byte:02X}" for byte in png(load_digits().images[7]))
    (root / "jobs/mini/tests").mkdir()
    (root / "jobs/mini/tests/seven.yaml").write_text(
        f"""\
day: 2026-01-07
types: {{pages: {{path: VARCHAR}}}}
inputs:
  pages: [{{id: 1, path: a.png}}, {{id: 2, path: b.png}}]
  scans: [{{file: a.png, content: '{escaped}'}}]
expect:
  mini_top: [{{id: 1, digit: {int(truth()[7].argmax())}}}]
  rejects: [{{id: 2}}]
"""
    )
    monkeypatch.chdir(root)
    assert call(["test", "mini"]) == 0
