"""A closed day whose input was only touched or copied is unchanged; one whose bytes are others is not."""

import os
import shutil
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from nightscore import Restate, load, run
from nightscore.common.units import as_day
from nightscore.pipeline.publish.closing import Closed
from nightscore.review.late_data import find_late_days
from tests.support.workspace import DAYS, JOB, linear_model, make_workspace, rows_of

CLOSING = JOB + "close: true\n"
LOOKING_BACK = CLOSING.replace("features: rows", "features: features.sql").replace(
    "partition: day}", "partition: day, lookback: 3}"
)


def workspace(root: Path, job: str) -> Path:
    """The workspace, whose features are the least values of each id."""
    make_workspace(root, rows=40, job=job)
    (root / "jobs/mini/features.sql").write_text("SELECT id, min(a) AS a, min(b) AS b FROM rows GROUP BY id")
    return root


def part(root: Path, day: str = DAYS[0]) -> Path:
    return root / f"data/lake/rows/day={day}/part-0.parquet"


def plain(root: Path) -> None:
    """The day's input without compression, dictionary or statistics: a page's value is a footer's nothing."""
    table = rows_of(DAYS[0], 40)
    pq.write_table(table, part(root), compression="none", use_dictionary=False, write_statistics=False)


def other_page(path: Path) -> None:
    """The same size and the same footer, and one value of a page another."""
    before, values = path.read_bytes(), pq.read_table(path, partitioning=None)["a"].to_numpy()
    old, new = values[:1].tobytes(), np.array([0.125], np.float32).tobytes()
    assert before.count(old) == 1
    path.write_bytes(before.replace(old, new))
    assert pq.read_table(path, partitioning=None)["a"][0].as_py() == 0.125


def touched(path: Path) -> None:
    os.utime(path, ns=(time.time_ns(), time.time_ns()))


def written_again(path: Path) -> None:
    path.write_bytes(path.read_bytes())


def copied_over(path: Path) -> None:
    """As rsync and git do: another file under the name, with a time of its own."""
    other = path.with_name(".copy")
    shutil.copyfile(path, other)
    other.replace(path)


SAME: list[Callable[[Path], None]] = [touched, written_again, copied_over]


@pytest.mark.parametrize("act", SAME)
@pytest.mark.parametrize("job", [CLOSING, LOOKING_BACK], ids=["streamed", "by SQL"])
@pytest.mark.sample(2)
def test_a_closed_day_whose_inputs_have_the_same_bytes_is_unchanged(
    tmp_path: Path, act: Callable[[Path], None], job: str
) -> None:
    """Nothing is written, `late` does not list it, and the receipt has each file's sha256, by hashlib."""
    root = workspace(tmp_path, job)
    first = run(load("mini", root), DAYS[2])
    assert {file.path: file.sha256 for file in first.inputs} == {
        file.path: sha256((root / file.path).read_bytes()).hexdigest() for file in first.inputs
    }
    for day in DAYS:
        act(part(root, day))
    again = run(load("mini", root), DAYS[2])
    assert (again.status, again.run_id) == ("unchanged", first.run_id)
    assert list(find_late_days(load("mini", root), as_day(DAYS[0]))) == []


def test_a_closed_day_of_which_a_page_has_changed_is_closed(tmp_path: Path) -> None:
    """Size and footer are the same, and the time and some bytes are not: the file is read to know."""
    root = make_workspace(tmp_path, rows=40, job=CLOSING)
    plain(root)
    run(load("mini", root), DAYS[0])
    other_page(part(root))
    with pytest.raises(Closed, match=r"inputs changed: .*part-0\.parquet"):
        run(load("mini", root), DAYS[0])
    [late] = find_late_days(load("mini", root), as_day(DAYS[0]))
    assert late.causes.changed == [f"data/lake/rows/day={DAYS[0]}/part-0.parquet"]


def test_a_closed_day_with_another_cause_does_not_name_the_file_that_was_touched(tmp_path: Path) -> None:
    """Only the model is said to differ."""
    root = make_workspace(tmp_path, rows=40, job=CLOSING)
    run(load("mini", root), DAYS[0])
    touched(part(root))
    linear_model(root / "data/models/linear.onnx", (4.0, 1.0))
    with pytest.raises(Closed, match="the model") as caught:
        run(load("mini", root), DAYS[0])
    assert "inputs" not in str(caught.value)


@pytest.mark.disk_only(reason="it sets times of files, or counts reads of them")
def test_a_restatement_reads_the_files_as_they_are_now(tmp_path: Path) -> None:
    """The plan of a run that scores has today's fingerprints, of a touched file, too."""
    root = make_workspace(tmp_path, rows=40, job=CLOSING)
    before = run(load("mini", root), DAYS[0])
    touched(part(root))
    linear_model(root / "data/models/linear.onnx", (4.0, 1.0))
    after = run(load("mini", root), DAYS[0], restate=Restate("another model", "tests"))
    assert after.status == "published"
    assert after.inputs[0].sha256 == before.inputs[0].sha256
    assert after.inputs[0].fingerprint != before.inputs[0].fingerprint
    assert run(load("mini", root), DAYS[0]).status == "unchanged"


@pytest.mark.disk_only(reason="it sets times of files, or counts reads of them")
def test_a_long_lookback_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a receipt of the day before has, with the same fingerprint, is not read again."""
    from nightscore.pipeline.read import contents

    root, hashed = workspace(tmp_path, LOOKING_BACK), []
    run(load("mini", root), DAYS[1])
    real = contents.file_sha256
    monkeypatch.setattr(contents, "file_sha256", lambda path: hashed.append(path) or real(path))
    receipt = run(load("mini", root), DAYS[2])
    assert hashed == [part(root, DAYS[2])]
    assert len(receipt.inputs) == 3 and all(file.sha256 for file in receipt.inputs)


@pytest.mark.disk_only(reason="it sets times of files, or counts reads of them")
def test_a_day_without_books_is_scored_again_and_its_inputs_are_not_hashed(tmp_path: Path) -> None:
    """As before: nothing is claimed of bytes that nobody has read."""
    root = make_workspace(tmp_path, rows=40)
    first = run(load("mini", root), DAYS[0])
    assert [file.sha256 for file in first.inputs] == [""]
    touched(part(root))
    assert run(load("mini", root), DAYS[0]).status == "published"


def test_a_job_that_holds_its_inputs_to_their_sha256_is_unchanged_after_a_touch_without_books(
    tmp_path: Path,
) -> None:
    """The receipt has the hashes anyway."""
    root = make_workspace(tmp_path, rows=40, job=JOB + "verify_inputs: sha256\n")
    for day in DAYS:
        digest = sha256(part(root, day).read_bytes()).hexdigest()
        part(root, day).with_name("SHA256SUMS").write_text(f"{digest}  part-0.parquet\n")
    first = run(load("mini", root), DAYS[0])
    touched(part(root))
    assert run(load("mini", root), DAYS[0]).run_id == first.run_id
