"""A usual VACUUM of another engine takes nothing that a receipt names, of old workspaces neither."""

import json
from pathlib import Path

import pytest
from deltalake import DeltaTable

from nightscore import load, query, run
from nightscore.common.workspace import open_workspace
from nightscore.store import delta_commit
from nightscore.store.published.catalog import read_catalog
from tests.behaviour.conftest import ROWS, Build
from tests.behaviour.world import DAY, TABLES, Truth

NIGHTS = [Truth(ROWS, weights) for weights in ((1.0, 2.0), (4.0, 1.0), (2.0, 8.0), (8.0, 1.0))]
PROPERTY = "delta.deletedFileRetentionDuration"


def a_month_later(root: Path) -> None:
    """Let all that was replaced have been replaced a month ago, as the tables' logs say it."""
    for file in (root / "data/tables").glob("*/_delta_log/*.json"):
        actions = [json.loads(line) for line in file.read_text().splitlines()]
        for remove in [action["remove"] for action in actions if "remove" in action]:
            remove["deletionTimestamp"] -= 30 * 86_400_000
        file.write_text("\n".join(map(json.dumps, actions)))


def vacuumed(root: Path, name: str) -> set[str]:
    """What VACUUM would remove of a table after its usual week, by deltalake."""
    found = DeltaTable(str(root / "data/tables" / name)).vacuum(dry_run=True)
    return {Path(path).name for path in found}


def named(root: Path, name: str) -> list[str]:
    """The files of a table that any receipt names, by the version that it gives."""
    state = read_catalog(open_workspace(root))
    return [file.path.name for entry in state.history for file in state.files_of(entry, name)]


def test_vacuum_takes_nothing_that_receipts_name_once_an_old_workspace_has_published(
    fresh: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two nights as they were published before, then two: every table keeps all, by one commit more."""
    root = fresh(days=(DAY,))
    job = load("mini", root)
    with monkeypatch.context() as before:
        before.setattr(delta_commit, "KEPT", {"delta.logRetentionDuration": "interval 3650 days"})
        for night in NIGHTS[:2]:
            night.write_model(root)
            assert run(job, DAY).status == "published"
    a_month_later(root)
    lost = {name: vacuumed(root, name) & set(named(root, name)) for name in TABLES}
    assert all(lost.values()), "as it was: what the first receipt names would go"
    for night in NIGHTS[2:]:
        night.write_model(root)
        assert run(job, DAY).status == "published"
        a_month_later(root)
    for name in (*TABLES, "receipts"):
        table = DeltaTable(str(root / "data/tables" / name))
        assert vacuumed(root, name) == set(), name
        assert table.metadata().configuration[PROPERTY] == "interval 3650 days"
        commits = [one["operation"] for one in table.history()][::-1]
        assert commits == ["CREATE TABLE", "WRITE", "WRITE", "SET TBLPROPERTIES", "WRITE", "WRITE"]
    for version, night in zip((1, 2, 4, 5), NIGHTS, strict=True):
        rows = query("SELECT * EXCLUDE (day, run_id) FROM mini_scores ORDER BY id", root, version)
        assert rows.combine_chunks().equals(night.table("mini_scores"))
