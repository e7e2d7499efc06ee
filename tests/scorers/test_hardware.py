"""Cores and memory are what the container grants, not what the machine has."""

import os
from pathlib import Path

import pytest

from nightscore.scorers import hardware as module
from nightscore.scorers.hardware import read_hardware

GROUPS = {
    "v2, half a core": ({"cpu.max": "50000 100000"}, 1),
    "v2, one core and a half": ({"cpu.max": "150000 100000"}, 2),
    "v2, no limit": ({"cpu.max": "max 100000"}, None),
    "v1, one core": ({"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1),
    "v1, no limit": ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
    "none at all": ({}, None),
    "many more than there are": ({"cpu.max": "99900000 100000"}, None),
}


def group(root: Path, files: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A control group's folder with these files, in the place of the machine's."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")
    monkeypatch.setattr(module, "CGROUP", root)


@pytest.mark.parametrize(("files", "cores"), GROUPS.values(), ids=GROUPS.keys())
def test_cores_are_granted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], cores: int | None
) -> None:
    """The quota of either version of control groups, rounded up, and never more than the affinity."""
    group(tmp_path, files, monkeypatch)
    affinity = len(os.sched_getaffinity(0))
    assert read_hardware().cores == (affinity if cores is None else min(cores, affinity))


def test_affinity_limits_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is bound to one core has one."""
    group(tmp_path, {}, monkeypatch)
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert read_hardware().cores == 1
    finally:
        os.sched_setaffinity(0, before)


MEMORY = {
    "v2": ({"memory.max": "400000000"}, 400_000_000),
    "v1": ({"memory/memory.limit_in_bytes": "300000000"}, 300_000_000),
    "v2, no limit": ({"memory.max": "max"}, None),
    "v1, no limit": ({"memory/memory.limit_in_bytes": str(2**63 - 4096)}, None),
    "none at all": ({}, None),
}


@pytest.mark.parametrize(("files", "limit"), MEMORY.values(), ids=MEMORY.keys())
def test_memory_is_granted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], limit: int | None
) -> None:
    """The smaller of what the machine has and what the control group grants."""
    group(tmp_path, files, monkeypatch)
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert read_hardware().memory == (machine if limit is None else limit)


def test_this_machine_has_a_processor() -> None:
    """What receipts say of the machine is there."""
    found = read_hardware()
    assert found.cores >= 1
    assert found.memory > 100_000_000
    assert found.processor
