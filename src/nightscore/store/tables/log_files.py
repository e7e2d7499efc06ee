"""A table's log as files: which data files its commits name, and which of its checkpoints nobody needs."""

import json
import re
from collections.abc import Iterator
from urllib.parse import unquote

from nightscore.common import Broken
from nightscore.store.storage import Place

NAMING = ("add", "remove")  # the actions of a commit that name a data file
KEPT_NEAR, KEPT_EVERY = 100, 100  # versions: all checkpoints near the newest, farther back one in so many
CHECKPOINT = re.compile(r"(\d{20})\.checkpoint\.parquet")
COMMIT = re.compile(r"(\d{20})\.json")


def committed_files(root: Place) -> set[Place]:
    """Every data file that a commit of a table has named, whether its newest version has it or not.

    Raises:
        Broken: a commit is damaged.
    """
    named: set[Place] = set()
    for commit in (root / "_delta_log").glob("*.json"):
        try:
            actions = [json.loads(line) for line in commit.read_text().splitlines()]
            files = [action[kind]["path"] for action in actions for kind in NAMING if kind in action]
            named.update(root / unquote(name) for name in files)
        except (ValueError, TypeError, KeyError) as error:
            raise Broken(f"table {root.name}: _delta_log/{commit.name} is damaged: {error}") from error
    return named


def spare_checkpoints(root: Place) -> Iterator[Place]:
    """Checkpoints without which every version is readable as before, by its commits behind an earlier one.

    A checkpoint holds a whole table, so one for every ten commits would soon be larger than the receipts.
    One whose commits are not all there, from the checkpoint on that stays before it, is no spare one.
    """
    names = [path.name for path in (root / "_delta_log").glob("*")]
    commits = {int(found[1]) for found in map(COMMIT.fullmatch, names) if found}
    checkpoints = sorted(int(found[1]) for found in map(CHECKPOINT.fullmatch, names) if found)
    base = -1  # the last version that is readable without what is spared
    for version in checkpoints:
        near = version > checkpoints[-1] - KEPT_NEAR
        if near or version - base >= KEPT_EVERY or not commits.issuperset(range(base + 1, version + 1)):
            base = version
        else:
            yield root / "_delta_log" / f"{version:020}.checkpoint.parquet"


def outlived_log(root: Place, oldest: int) -> Iterator[Place]:
    """Commits and checkpoints that no version from `oldest` on is read by: those before a checkpoint.

    None where the log has no checkpoint up to there, behind which every commit is there.
    """
    names = [path.name for path in (root / "_delta_log").glob("*")]
    commits = {int(found[1]) for found in map(COMMIT.fullmatch, names) if found}
    checkpoints = sorted(int(found[1]) for found in map(CHECKPOINT.fullmatch, names) if found)
    bases = [v for v in checkpoints if v <= oldest and commits.issuperset(range(v + 1, max(commits) + 1))]
    for version in sorted(commits) if bases else ():
        if version <= bases[-1]:
            yield root / "_delta_log" / f"{version:020}.json"
    for version in checkpoints if bases else ():
        if version < bases[-1]:
            yield root / "_delta_log" / f"{version:020}.checkpoint.parquet"
