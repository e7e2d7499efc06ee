"""P1, P9: every call to the C library that changes a file of a run fails in turn: ENOSPC, EIO, kill -9.

The calls of one night are counted first (about two hundred), then the k-th of them fails, for a seeded
sample of k; FAULTS_ALL=1 takes every k, FAULTS_SEED=… repeats a sample.
"""

import errno
import os
import random
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.behaviour.world import (
    DAY,
    READERS,
    TABLES,
    Truth,
    no_half_files,
    ours,
    plain_delta,
    plain_duckdb,
    receipts,
)
from tests.faults.disk import Failing, Forks, Said

SEED = int(os.environ.get("FAULTS_SEED", "303627"))  # `make faults` takes another each time
ALL = bool(os.environ.get("FAULTS_ALL"))
ROWS = 2_000  # as in tests/behaviour
RUN = ("run", "mini", "--day", DAY)
KINDS = {
    "a full disk": partial(Failing, error=errno.ENOSPC, lasting=True),
    "an error of the disk": partial(Failing, error=errno.EIO),
    "kill -9": partial(Failing, error=0),
    "an error of a read": partial(Failing, error=errno.EIO, reads=True),
}

pytestmark = [
    pytest.mark.skipif(shutil.which("cc") is None, reason="NOT TESTED: no C compiler here"),
    pytest.mark.disk_only(reason="it counts calls of the C library to a disk"),
]


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    with Forks(tmp_path_factory.mktemp("forks")) as made:
        yield made


def truths() -> Iterator[Truth]:
    """Nights that differ from each other, without end."""
    power = 1
    while True:
        power = power % 30 + 2
        yield Truth(ROWS, weights=(1.0, 2.0**power))


def calls_of_a_night(forks: Forks, root: Path, failing: Failing) -> int:
    done = forks.call(root, *RUN, "--force", failing=Failing(reads=failing.reads))
    assert done.code == 0, done
    return done.calls


def places(total: int, count: int) -> list[int]:
    """The k that are tried: all, or a seeded sample, the first and the last among them."""
    print(f"FAULTS_SEED={SEED}, {total} calls")  # noqa: T201 - pytest shows it where the test fails
    if ALL or count >= total:
        return list(range(1, total + 1))
    return sorted({1, total, *random.Random(SEED).sample(range(1, total + 1), count - 2)})  # noqa: S311


def old_or_new(root: Path, old: Truth, new: Truth) -> Truth:
    """What our readers see of the day, which is one whole night; every plain reader sees whole tables."""
    seen = {name: ours(root, name) for name in TABLES}
    assert len({one.runs for one in seen.values()}) == 1
    [truth] = [t for t in (old, new) if all(seen[name].is_(t, name) for name in TABLES)]
    for name in TABLES:
        for reader in (plain_delta, plain_duckdb):
            assert any(reader(root, name).is_(t, name) for t in (old, new)), (reader, name)
    no_half_files(root)
    return truth


def refused(said: Said, failing: Failing) -> str:
    """What is wrong with how a command ended; empty: nothing."""
    if not failing.error:
        return "" if said.code in (0, -9) else f"{failing}: exit code {said.code}: {said.err}"
    if said.code not in (0, 1, 75) or not said.is_one_message():
        return f"{failing}: exit code {said.code}: {said.err}"
    if failing.error == errno.ENOSPC and said.code == 1:
        return f"{failing}: a full disk is told as broken, not as not yet: {said.err}"
    return ""


def every_call(forks: Forks, root: Path, kind: str, count: int) -> None:
    """Fail at the k-th call; readers see old or new; the next night completes; nothing stands twice."""
    make = KINDS[kind]
    old, wrong = Truth(ROWS), []
    for k, new in zip(places(calls_of_a_night(forks, root, make(1)), count), truths(), strict=False):
        new.write_model(root)
        said = forks.call(root, *RUN, failing=make(k))
        wrong += [text] if (text := refused(said, make(k))) else []
        seen = old_or_new(root, old, new)
        assert said.code != 0 or seen == new, f"{make(k)}: {said.out} and the old table is there"
        assert forks.call(root, *RUN).code == 0, make(k)
        assert all(reader(root, name).is_(new, name) for name in TABLES for reader in READERS), make(k)
        old = new
    found = receipts(root)
    assert len(found) == len(set(found))
    left = list((root / "data/tables").rglob("*.tmp"))
    assert kind == "kill -9" or not left
    assert wrong == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["a full disk", "kill -9"])
def test_a_night_that_fails_at_a_call_leaves_old_or_new(published: Path, forks: Forks, kind: str) -> None:
    """P1, P9: a few calls of each kind; readers see old or new, and the next night completes."""
    every_call(forks, published, kind, count=2)


@pytest.mark.slow
@pytest.mark.rest
@pytest.mark.timeout(0)
@pytest.mark.parametrize("kind", KINDS)
def test_a_night_that_fails_at_its_kth_call_leaves_old_or_new(
    published: Path, forks: Forks, kind: str
) -> None:
    """P1, P9: the same for two dozen calls of each kind, or for every one with FAULTS_ALL=1."""
    every_call(forks, published, kind, count=24)
