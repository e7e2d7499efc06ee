"""P9: what runs and tables leave on disk, damaged: every command still ends with one message that names it.

FAULTS_TIMES=20 takes twenty times as many damages, FAULTS_SEED=… repeats them.
"""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from nightscore.common.workspace import open_workspace
from nightscore.store.published.gc import collect_garbage
from tests.behaviour.conftest import ROWS
from tests.behaviour.processes import Fault, night
from tests.behaviour.world import DAY, TABLES, Truth, copy, ours
from tests.faults.damage import SEED, TIMES, each_apart, said, told
from tests.faults.marks import mostly_slow
from tests.support.workspace import linear_model

pytestmark = pytest.mark.disk_only(reason="damage is done by children, which see a folder")

RUN = ("run", "mini", "--day", DAY)
SUM = "SELECT count(*), sum(score) FROM mini_scores"
COMMANDS = (("query", SUM), ("tables",), ("receipts",), ("verify",), ("gc", "--dry-run"), RUN)
NEW = Truth(ROWS, (4.0, 1.0))
OTHERS = (
    b"",
    b"\0",
    b"{",
    b"{}",
    b"[]",
    b"null",
    b"[1, 2",
    b'"text"',
    b"\xff\xfe",
    b'{"receipt": null}',
    b"[" * 5_000,
)
Damage = tuple[str, bytes]  # a file, relative to the workspace, and what it holds now


@pytest.fixture(scope="module")
def halfway(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with one published day, and a run of it that was killed just before its commits."""
    root = copy(template, tmp_path_factory.mktemp("halfway") / "w")
    linear_model(root / "data/models/linear.onnx", NEW.weights)
    assert night(root, DAY, Fault("publication")).killed
    return root


def damages(root: Path, pattern: str, count: int) -> list[Damage]:
    """Some files that fit a pattern, with other bytes: cut short, flipped, doubled, or something else.

    The first are the same for every seed.
    """
    print(f"FAULTS_SEED={SEED}")  # noqa: T201 - pytest shows it where the test fails
    chance, found = random.Random(SEED), []  # noqa: S311
    paths = sorted(path for path in root.glob(pattern) if path.is_file())
    assert paths, pattern
    newest = paths[-1].relative_to(root).as_posix()
    found += [(newest, b""), (newest, b"[]"), (newest, b"\xff\xfe"), (newest, paths[-1].read_bytes()[:-9])]
    for _ in range(count * TIMES - len(found)):
        path = chance.choice(paths)
        data = bytearray(path.read_bytes())
        at = chance.randrange(len(data))
        match chance.randrange(4):
            case 0:
                data[at] ^= 1 << chance.randrange(8)
            case 1:
                del data[at:]
            case 2:
                data[at:at] = data[at : at + chance.randrange(1, 50)]
            case _:
                data = bytearray(chance.choice(OTHERS))
        found.append((path.relative_to(root).as_posix(), bytes(data)))
    return found


def with_damage(damage: Damage, root: Path, scratch: Path, commands: tuple[tuple[str, ...], ...]) -> str:
    """What the commands say in a copy of the workspace with one damaged file; only what is amiss."""
    shutil.rmtree(scratch, ignore_errors=True)
    copy(root, scratch)
    path = scratch / damage[0]
    path.unlink()
    path.write_bytes(damage[1])
    answers = [(arguments, told(scratch, *arguments)) for arguments in commands]
    stray = [f"{arguments[0]}: {answer}" for arguments, answer in answers if answer.startswith("STRAY")]
    return stray[0] if stray else "one message"


PLACES = {
    "plan.json": "data/runs/mini/*/*/plan.json",
    "outcome.json": "data/runs/mini/*/*/outcome.json",
    "receipt.json": "data/runs/mini/*/*/receipt.json",
    "the log of a table": "data/tables/mini_*/_delta_log/*.json",
    "the log of the receipts": "data/tables/receipts/_delta_log/*.json",
    "a file of the receipts": "data/tables/receipts/*/*.parquet",
    "a file of a table": "data/tables/mini_*/*/*.parquet",
}


QUICK = ("outcome.json", "the log of the receipts")


def holds(halfway: Path, tmp_path: Path, place: str, count: int) -> None:
    cases = damages(halfway, PLACES[place], count)
    found = list(each_apart(with_damage, cases, halfway, tmp_path / "w", COMMANDS))
    wrong = said(found, "one message", "killed by signal")
    assert wrong == [], f"{len(wrong)} of {len(found)}, such as: {wrong[0][0][0]}: {wrong[0][1]}"


@pytest.mark.parametrize("place", mostly_slow(PLACES, QUICK))
def test_damaged_state_is_one_message(halfway: Path, tmp_path: Path, place: str) -> None:
    """P9: queries, verify, gc and runs say what can't be read, or go on without it; no traceback."""
    holds(halfway, tmp_path, place, 4 if place in QUICK else 8)


DELETED: dict[str, Callable[[Path], object]] = {
    "the runs' folders": lambda root: shutil.rmtree(root / "data/runs"),
    "all but outcome.json of the run": lambda root: [
        shutil.rmtree(p.parent / n, ignore_errors=True)
        for p in root.glob("data/runs/mini/*/*/outcome.json") for n in ("scores", "decide")
    ],
    "empty folders in their place": lambda root: (root / f"data/runs/mini/{DAY}/20990101T000000-x-y").mkdir(),
    "a file in place of a folder": lambda root: (root / f"data/runs/mini/{DAY}/x").write_text("x"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("delete", DELETED.values(), ids=DELETED.keys())
def test_what_a_person_removed_by_hand_is_made_again(
    halfway: Path, tmp_path: Path, delete: Callable[[Path], object]
) -> None:
    """P2, P9: below data/runs anything may go, though a run stands half-way: the next run publishes."""
    root = copy(halfway, tmp_path / "w")
    delete(root)
    assert night(root, DAY).status in ("published", "unchanged")
    assert all(ours(root, name).is_(NEW, name) for name in TABLES)
    collect_garbage(open_workspace(root), 0.0)
    assert all(ours(root, name).is_(NEW, name) for name in TABLES)


def test_a_damaged_publication_is_named_and_can_be_removed(halfway: Path, tmp_path: Path) -> None:
    """P9: the run can't be completed: its file is named; without it, the day runs again."""
    root = copy(halfway, tmp_path / "w")
    [path] = [
        p for p in root.glob("data/runs/mini/*/*/outcome.json") if not (p.parent / "receipt.json").exists()
    ]
    path.write_text(json.dumps({"publish": {**json.loads(path.read_text())["publish"], "files": 7}}))
    answer = told(root, *RUN)
    assert answer.startswith("1: nightscore: broken: ") and "outcome.json" in answer, answer
    assert all(ours(root, name).is_(Truth(ROWS), name) for name in TABLES)
    path.unlink()
    assert night(root, DAY).status == "published"
    assert all(ours(root, name).is_(NEW, name) for name in TABLES)
