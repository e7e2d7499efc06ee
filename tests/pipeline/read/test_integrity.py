"""Input files held to their contract, their pages' checksums, or the sha256 of their producer."""

import hashlib
import random
import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightscore import load, run
from nightscore.common.errors import Broken, NotYet
from nightscore.common.units import as_day
from nightscore.pipeline.read.inputs import resolve_inputs
from nightscore.pipeline.read.integrity import verify_inputs
from nightscore.pipeline.steps import check_job, plan_day, publish_day, score_piece
from tests.behaviour.world import DAY
from tests.support.workspace import JOB, make_workspace, rows_of

PLACE = "rows: {path: data/lake/rows, partition: day}"


def workspace(tmp_path: Path, how: str, columns: str = "") -> Path:
    place = PLACE.replace("}", f", columns: {columns}}}") if columns else PLACE
    return make_workspace(tmp_path, 2_000, JOB.replace(PLACE, place) + f"verify_inputs: {how}\n", days=(DAY,))


def file_of(root: Path) -> Path:
    return root / f"data/lake/rows/day={DAY}/part-0.parquet"


def rewrite(root: Path, table: pa.Table, **options: object) -> Path:
    path = file_of(root)
    path.unlink()
    pq.write_table(table, path, row_group_size=500, **options)
    return path


def sums(root: Path) -> None:
    """What a producer would do."""
    shell("sha256sum *.parquet > SHA256SUMS", file_of(root).parent)


def shell(line: str, folder: Path) -> None:
    subprocess.run(["/bin/sh", "-c", line], cwd=folder, check=True)


def test_the_pages_of_every_writer_have_checksums_or_are_known_to_have_none(tmp_path: Path) -> None:
    """Dictionaries, plain pages, two versions of data pages, three codecs; by pyarrow and by DuckDB."""
    root = workspace(tmp_path, "checksum")
    job = load("mini", root)
    for codec in ("none", "snappy", "zstd"):
        for version in ("1.0", "2.0"):
            options = {"compression": codec, "data_page_version": version}
            rewrite(root, rows_of(DAY, 2_000), write_page_checksum=True, **options)
            assert verify_inputs(job, resolve_inputs(job, as_day(DAY))) == {}
            rewrite(root, rows_of(DAY, 2_000), **options)
            with pytest.raises(
                Broken, match=r"part-0.parquet: its pages have no checksums; its writer can add them"
            ):
                verify_inputs(job, resolve_inputs(job, as_day(DAY)))


def test_a_flipped_bit_of_any_value_is_found_by_checksum(tmp_path: Path) -> None:
    """36 bits of the values, by a seed: each is damage, and named."""
    root = workspace(tmp_path, "checksum")
    path = rewrite(
        root, rows_of(DAY, 2_000), write_page_checksum=True, compression="none", use_dictionary=False
    )
    whole = path.read_bytes()
    footer = pq.read_metadata(path)
    columns = [footer.row_group(g).column(c) for g in range(4) for c in range(3)]
    ends = [column.data_page_offset + column.total_compressed_size for column in columns]
    job, rng = load("mini", root), random.Random(5)  # noqa: S311 - places, no secret
    for end in ends * 3:
        at = end - 1 - rng.randrange(2_000)  # 500 values of 4 or 8 bytes, and no header
        data = bytearray(whole)
        data[at] ^= 1 << (at % 8)
        path.write_bytes(data)
        with pytest.raises(Broken, match=f"{path.name}: "):
            verify_inputs(job, resolve_inputs(job, as_day(DAY)))
    path.write_bytes(whole)
    assert run(job, DAY).status == "published"


def test_sha256_is_what_the_producer_wrote_down(tmp_path: Path) -> None:
    """A file that stands in no SHA256SUMS, or has another hash, stops the run; else it is in the receipt."""
    root = workspace(tmp_path, "sha256")
    with pytest.raises(
        Broken, match=r"part-0.parquet stands in no SHA256SUMS of its input; its producer writes one"
    ):
        run(load("mini", root), DAY)
    sums(root)
    [read] = run(load("mini", root), DAY).inputs
    assert read.sha256 == hashlib.sha256(file_of(root).read_bytes()).hexdigest()
    data = bytearray(file_of(root).read_bytes())
    data[100] ^= 4
    file_of(root).write_bytes(data)
    with pytest.raises(Broken, match=rf"has sha256 [0-9a-f]{{64}}; its producer wrote down {read.sha256}"):
        run(load("mini", root), DAY)


def test_sums_may_lie_at_the_root_of_an_input(tmp_path: Path) -> None:
    """One list for all partitions, with paths; a line that is none is named."""
    root = workspace(tmp_path, "sha256")
    lake = root / "data/lake/rows"
    shell("sha256sum */*.parquet > SHA256SUMS", lake)
    assert run(load("mini", root), DAY).status == "published"
    (lake / "SHA256SUMS").write_text("no sum\nat-all\n")
    with pytest.raises(Broken, match="rows/SHA256SUMS can't be read: a line is SHA256  NAME"):
        run(load("mini", root), DAY, force=True)


def test_a_change_that_keeps_size_and_time_is_seen_by_sha256(tmp_path: Path) -> None:
    """Inode, bytes and time of change as before, another value inside: nothing is published."""
    import os

    root = workspace(tmp_path, "sha256")
    sums(root)
    job = load("mini", root)
    plan = plan_day(job, as_day(DAY))
    pieces = [score_piece(job, plan, piece) for piece in plan.pieces]
    path = file_of(root)
    stat, data = path.stat(), bytearray(path.read_bytes())
    data[200] ^= 1
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises((NotYet, Broken)):
        publish_day(job, plan, pieces)
    assert not (root / "data/tables").exists()


def test_a_table_of_another_job_is_held_to_its_receipt(tmp_path: Path) -> None:
    """No SHA256SUMS is needed where a receipt holds the sha256."""
    root = make_workspace(tmp_path, 500, days=(DAY,))
    run(load("mini", root), DAY)
    folder = root / "jobs/later"
    folder.mkdir()
    (folder / "job.yaml").write_text(
        "job: later\nabout: x\nowner: x\ninputs: {rows: {table: mini_scores}}\n"
        "features: rows.sql\nkey: [id]\n"
        "model: {path: data/models/linear.onnx, outputs: {again: y}}\nverify_inputs: sha256\n"
    )
    (folder / "rows.sql").write_text("SELECT id, a, score AS b FROM rows")
    receipt = run(load("later", root), DAY)
    assert all(len(one.sha256) == 64 for one in receipt.inputs)


CONTRACTS = {
    "as they are": ("{id: BIGINT NOT NULL, a: FLOAT, b: real}", ""),
    "another type": (
        "{id: INTEGER, a: FLOAT, b: FLOAT}",
        "column 'id' is BIGINT in data/lake/rows/day=2020-01-02/part-0.parquet and INTEGER in their contract",
    ),
    "wider ones": ("{id: HUGEINT, a: DOUBLE, b: FLOAT}", ""),
    "one less": ("{id: BIGINT, a: FLOAT, b: FLOAT, c: DATE}", "column 'c' is absent in the files of"),
    "another case": ("{ID: BIGINT, a: FLOAT, b: FLOAT}", "column 'ID' is absent in the files"),
    "no type": ("{id: NUMBERS, a: FLOAT, b: FLOAT}", "NUMBERS"),
}


@pytest.mark.parametrize(("columns", "says"), CONTRACTS.values(), ids=CONTRACTS.keys())
def test_files_are_held_to_the_contract_before_a_row_is_read(tmp_path: Path, columns: str, says: str) -> None:
    """These columns, in this case, of these types or narrower; the message names the line of job.yaml."""
    job = load("mini", workspace(tmp_path, "footer", columns))
    if not says:
        assert check_job(job).startswith("ok")
        return
    with pytest.raises(Broken) as caught:
        check_job(job)
    assert str(caught.value).startswith("jobs/mini/job.yaml:5: inputs.rows.columns: ")
    assert says in str(caught.value)


def test_a_column_beside_the_contract_is_not_read(tmp_path: Path) -> None:
    """SQL does not see it, a model neither: the message says that the contract has it not."""
    job = load("mini", workspace(tmp_path, "footer", "{id: BIGINT, a: FLOAT}"))
    says = "no column 'b'\ncolumn 'b' of input rows is not read: its contract has it not"
    with pytest.raises(Broken, match=says):
        check_job(job)


@pytest.mark.parametrize("statistics", [True, False])
def test_a_null_in_a_column_that_has_none_is_broken(tmp_path: Path, statistics: bool) -> None:
    """NOT NULL is held by the footer's counts, and by counting where there are none."""
    root = workspace(tmp_path, "footer", "{id: BIGINT NOT NULL, a: FLOAT NOT NULL, b: FLOAT}")
    table = rows_of(DAY, 2_000)
    holes = pa.array(table["b"].to_numpy(), mask=np.arange(2_000) % 7 == 0)
    rewrite(
        root,
        table.set_column(2, "b", holes).drop(["b"]).append_column("b", table["b"]),
        write_statistics=statistics,
    )
    assert run(load("mini", root), DAY).status == "published"
    rewrite(root, table.set_column(1, "a", holes), write_statistics=statistics)
    with pytest.raises(Broken, match=r"column 'a' has 286 nulls; its contract is NOT NULL"):
        run(load("mini", root), DAY)
