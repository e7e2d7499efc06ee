"""One number for memory: how it is written, how it is split, and what it may be."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightscore import Broken, load
from nightscore.common.units import UNITS, parse_size
from nightscore.pipeline.executors import run
from nightscore.scorers import hardware as module
from nightscore.scorers.hardware import read_hardware
from nightscore.store.sql.memory_budget import (
    LEAST,
    LIBRARIES,
    MemoryBudget,
    job_memory_budget,
    machine_budget,
    split,
)
from tests.support.workspace import DAYS, JOB, make_workspace

SIZES = {
    "4GB": 4_000_000_000,
    "4 GB": 4_000_000_000,
    "1.5GiB": 3 * 2**29,
    "0.3GB": 300_000_000,
    "512MiB": 2**29,
    "700 kB": 700_000,
    "1000000KiB": 1_024_000_000,
}
NO_SIZES = [
    "4", "4G", "4gb", "4 gb", "GB", "-4GB", "4GB ", " 4GB", "4  GB", "4,5GB", "1e3MB", "4.GB", ".5GB", "4TB",
    "", "inf", "auto ", "4GB\n", "1.2.3GB", "٤GB",
]  # fmt: skip


@pytest.mark.parametrize("text", SIZES)
def test_a_size_is_read(text: str) -> None:
    """A number and a unit, decimal or binary, a space between them or none."""
    assert parse_size(text) == SIZES[text]


@pytest.mark.parametrize("text", NO_SIZES)
def test_what_is_no_size_is_refused(text: str) -> None:
    """The message has the text, and what is allowed."""
    with pytest.raises(
        ValueError, match=r"is no size; allowed: a number and one of kB, MB, GB, KiB, MiB, GiB"
    ):
        parse_size(text)


@given(st.integers(0, 10**11), st.sampled_from(sorted(UNITS)), st.integers(0, 999))
def test_a_size_is_exact(number: int, unit: str, thousandths: int) -> None:
    """No byte is lost to floating point, whatever the number."""
    assert (
        parse_size(f"{number}.{thousandths:03d}{unit}") == (number * 1000 + thousandths) * UNITS[unit] // 1000
    )


def parts(found: MemoryBudget) -> list[int]:
    piece = found.piece
    return [
        found.at_once, piece.duckdb, piece.arrow, piece.scorer, piece.chunk,
        found.sql, found.beside, found.arrow, found.proof,
    ]  # fmt: skip


MEMORY = st.integers(LEAST, 4 * 10**12) | st.integers(LEAST, 4 * 10**9)
CORES = st.integers(1, 512)


@given(MEMORY, CORES)
def test_the_parts_are_no_more_than_the_whole(memory: int, cores: int) -> None:
    """While pieces are scored, and while SQL runs, the parts and the libraries are within the number."""
    found = split(memory, cores)
    piece = found.piece
    assert LIBRARIES + found.at_once * (piece.duckdb + piece.arrow + piece.scorer) <= memory
    assert LIBRARIES + found.sql + found.beside + found.arrow <= memory
    assert found.proof <= found.sql
    assert 1 <= found.at_once <= cores


@given(MEMORY, CORES)
def test_no_part_is_too_small_to_work(memory: int, cores: int) -> None:
    """DuckDB sorts and reads row groups, and a chunk holds a few thousand rows of a usual width."""
    found = split(memory, cores)
    assert min(found.piece.duckdb, found.sql, found.proof) >= 60_000_000
    assert found.beside >= 16_000_000
    assert found.piece.chunk >= 7_000_000
    assert found.piece.scorer >= 30_000_000


@given(MEMORY, MEMORY, CORES)
def test_more_memory_makes_no_part_smaller(one: int, other: int, cores: int) -> None:
    """Nor the pieces at once fewer."""
    less, more = split(min(one, other), cores), split(max(one, other), cores)
    assert all(a <= b for a, b in zip(parts(less), parts(more), strict=True))


def with_memory(root: Path, memory: str) -> Path:
    return make_workspace(root, 200, JOB + f"memory: {memory}\n", DAYS[:1])


def test_the_default_is_a_share_of_the_control_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """60 % of what is granted; the job says nothing, or says auto."""
    (tmp_path / "memory.max").write_text("2000000000\n")
    monkeypatch.setattr(module, "CGROUP", tmp_path)
    assert machine_budget() == split(1_200_000_000, read_hardware().cores)
    job = load("mini", make_workspace(tmp_path / "w", 10, JOB + "memory: auto\n"))
    assert job_memory_budget(job) == machine_budget()


def test_a_group_that_this_process_lies_in_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of v1 and v2: the own group and those above it; the least of their limits."""
    monkeypatch.setattr(module, "CGROUP", tmp_path)
    monkeypatch.setattr(module, "OWN_GROUPS", tmp_path / "own")
    for text, folder, name in (
        ("0::/a/b\n", "a/b", "memory.max"),
        ("3:cpuset:/\n4:memory:/a/b\n0::/\n", "memory/a/b", "memory.limit_in_bytes"),
    ):
        (tmp_path / "own").write_text(text)
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / name).write_text("700000000")
        (tmp_path / folder).parent.joinpath(name).write_text("600000000")
        assert read_hardware().memory == 600_000_000
        (tmp_path / folder / name).write_text("500000000")
        assert read_hardware().memory == 500_000_000
    (tmp_path / "own").write_text("0::/elsewhere\n")
    assert read_hardware().memory > 700_000_000


MISTAKES = {
    "9999GB": r"jobs/mini/job\.yaml:\d+: memory: 9999GB is more than the [0-9.]+ GB that this",
    "100MB": r"jobs/mini/job\.yaml:\d+: memory: 100MB is not allowed: a night needs 256 MB at the least",
}


@pytest.mark.parametrize("memory", MISTAKES)
def test_memory_that_cannot_be_is_broken(tmp_path: Path, memory: str) -> None:
    """More than there is, or too little for anything: before a row is read, with the line of job.yaml."""
    job = load("mini", with_memory(tmp_path / "w", memory))
    with pytest.raises(Broken, match=MISTAKES[memory]):
        run(job, DAYS[0])


@pytest.mark.parametrize("memory", ["4000000000", "4G", "'-1GB'", "[4GB]", "", "4gb"])
def test_memory_that_is_no_size_is_broken(tmp_path: Path, memory: str) -> None:
    """The message has file, line, the value, and what is allowed."""
    with pytest.raises(
        Broken, match=r"job\.yaml:\d+: memory: .* is no size; allowed: a number and one of kB"
    ):
        load("mini", with_memory(tmp_path / "w", memory))
