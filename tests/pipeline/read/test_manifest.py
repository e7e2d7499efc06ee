"""A SHA256SUMS says which files a day has: while one is missing, the day is not there."""

import hashlib
import subprocess
from pathlib import Path

import pytest

from nightscore import load, run
from nightscore.common.errors import Broken, NotYet
from tests.support.workspace import JOB, make_workspace, write_day

DAY, BEFORE = "2020-01-03", "2020-01-02"
PLACE = "rows: {path: data/lake/rows, partition: day"
SKIP = "verify_inputs: sha256\npolicy: {missing: skip}\n"


def workspace(root: Path, more: str = "", tail: str = SKIP) -> Path:
    return make_workspace(root, 20, JOB.replace(PLACE, PLACE + more) + tail, (BEFORE, DAY))


def shell(line: str, folder: Path) -> None:
    subprocess.run(["/bin/sh", "-c", line], cwd=folder, check=True)


def part(root: Path, number: int, day: str = DAY) -> Path:
    return root / f"data/lake/rows/day={day}/part-{number}.parquet"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("where", ["beside", "at the root"])
def test_a_file_that_is_listed_and_has_not_arrived_is_not_yet(tmp_path: Path, where: str) -> None:
    """Named; nothing is published, nor the day skipped. Once it is there, the day is published whole."""
    root = workspace(tmp_path)
    write_day(root, DAY, 20, files=3)
    folder, line = (
        (part(root, 0).parent, "sha256sum *.parquet > SHA256SUMS") if where == "beside"
        else (part(root, 0).parents[1], "sha256sum */*.parquet > SHA256SUMS")
    )  # fmt: skip
    shell(line, folder)
    last = part(root, 2).read_bytes()
    part(root, 2).unlink()
    with pytest.raises(NotYet, match=r"SHA256SUMS lists 3 files .* and 1 have not arrived: .*part-2.parquet"):
        run(load("mini", root), DAY)
    assert not (root / "data/tables").exists()
    for path in part(root, 0).parent.glob("part-*"):
        path.rename(path.with_name(f"_{path.name}"))
    with pytest.raises(NotYet, match="3 have not arrived"):
        run(load("mini", root), DAY)
    for path in part(root, 0).parent.glob("_part-*"):
        path.rename(path.with_name(path.name[1:]))
    part(root, 2).write_bytes(last)
    assert run(load("mini", root), DAY).rows.published == 20


def test_a_whole_day_that_is_listed_and_has_not_arrived_is_not_yet(tmp_path: Path) -> None:
    """By the list at the lake's root; `missing: skip` skips only what nobody has promised."""
    root = workspace(tmp_path)
    shell("sha256sum */*.parquet > SHA256SUMS", root / "data/lake/rows")
    part(root, 0).parent.rename(root / "data/lake/.kept")
    with pytest.raises(NotYet, match=f"1 have not arrived: day={DAY}/part-0.parquet"):
        run(load("mini", root), DAY)


def test_files_of_days_that_are_not_read_do_not_count(tmp_path: Path) -> None:
    """Unless the lookback reaches them; nor does what is hidden, or ignored."""
    root = workspace(tmp_path, ", ignore: [x.csv]")
    lake = root / "data/lake/rows"
    shell("sha256sum */*.parquet > SHA256SUMS", lake)
    with (lake / "SHA256SUMS").open("a") as sums:
        for name in (f"day={DAY}/_SUCCESS", f"day={DAY}/x.csv", ".x", "day=2020-01-09/x.parquet", "other/x"):
            sums.write(f"{'0' * 64}  {name}\n")
    part(root, 0, BEFORE).unlink()
    assert run(load("mini", root), DAY).status == "published"
    text = (root / "jobs/mini/job.yaml").read_text().replace("partition: day", "partition: day, lookback: 2")
    (root / "jobs/mini/job.yaml").write_text(text)
    with pytest.raises(NotYet, match=f"1 have not arrived: day={BEFORE}/part-0.parquet"):
        run(load("mini", root), DAY)


def test_an_empty_list_is_not_yet(tmp_path: Path) -> None:
    """`sha256sum … > SHA256SUMS` makes it before it fills it."""
    root = workspace(tmp_path)
    for text in ("", "\n \n"):
        (part(root, 0).parent / "SHA256SUMS").write_text(text)
        with pytest.raises(NotYet, match="SHA256SUMS is empty"):
            run(load("mini", root), DAY)


def test_every_form_of_a_line_is_read(tmp_path: Path) -> None:
    """As sha256sum writes it, binary, tagged, with ./ in front, with CRLF, in capitals, twice."""
    root = workspace(tmp_path)
    own = sha256(part(root, 0))
    for line in (
        f"{own}  part-0.parquet\n", f"{own} *part-0.parquet\n", f"SHA256 (part-0.parquet) = {own}\n",
        f"{own}  ./part-0.parquet\r\n", f"{own.upper()}  part-0.parquet", f"{own}  part-0.parquet\n" * 2,
        f"\ufeff{own}  part-0.parquet\n",
    ):  # fmt: skip
        (part(root, 0).parent / "SHA256SUMS").write_text(line)
        assert run(load("mini", root), DAY, force=True).inputs[0].sha256 == own


WRONG = {
    "a short sum": ("0123  part-0.parquet", "can't be read: a line is SHA256  NAME"),
    "no sum": ("part-0.parquet", "can't be read: a line is SHA256  NAME"),
    "a path of the producer's": (f"{'0' * 64}  /export/part-0.parquet", "leads out of the folder"),
    "a path outside": (f"{'0' * 64}  ../day=2020-01-02/part-0.parquet", "leads out of the folder"),
    "two sums": (f"{'0' * 64}  part-0.parquet\n{'1' * 64}  part-0.parquet", "stands twice, with two sha256"),
}


@pytest.mark.parametrize(("text", "says"), WRONG.values(), ids=WRONG.keys())
def test_a_list_that_cannot_be_meant_is_broken(tmp_path: Path, text: str, says: str) -> None:
    """With its place."""
    root = workspace(tmp_path)
    (part(root, 0).parent / "SHA256SUMS").write_text(text)
    with pytest.raises(Broken, match=says):
        run(load("mini", root), DAY)


def test_two_lists_that_differ_are_broken_with_both_named(tmp_path: Path) -> None:
    """The nearest does not win without a word."""
    root = workspace(tmp_path)
    shell("sha256sum *.parquet > SHA256SUMS", part(root, 0).parent)
    (root / "data/lake/rows/SHA256SUMS").write_text(f"{'0' * 64}  day={DAY}/part-0.parquet\n")
    with pytest.raises(Broken, match=rf"has two sha256: .*day={DAY}/SHA256SUMS and 0+ in data/lake/rows/SHA"):
        run(load("mini", root), DAY)


def test_a_file_behind_a_link_is_held_to_the_list_beside_the_link(tmp_path: Path) -> None:
    """By the name under which it is listed."""
    root = workspace(tmp_path)
    (root / "data/other").mkdir()
    part(root, 0).rename(root / "data/other/x.parquet")
    part(root, 0).symlink_to(root / "data/other/x.parquet")
    shell("sha256sum *.parquet > SHA256SUMS", part(root, 0).parent)
    assert run(load("mini", root), DAY).status == "published"
