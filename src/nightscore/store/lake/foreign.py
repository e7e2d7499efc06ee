"""Tables whose files are not their rows: another engine's, and this workspace's own.

Read as a folder of Parquet, rows that were deleted or replaced come back, and what was never committed is
read, too. Light to import.
"""

from collections.abc import Collection, Iterator
from pathlib import Path

from nightscore.common import Broken, Workspace
from nightscore.store.lake.trees import Tree

LOGS = {  # a name in a table's folder -> what the table is
    "_delta_log": "a Delta Lake table",
    ".hoodie": "a Hudi table",
    "_spark_metadata": "the output of a Spark stream, whose log says which files count",
}
ICEBERG = "metadata"  # the folder of an Iceberg table's metadata files
BACK = "read as plain Parquet, rows that were deleted or replaced would come back"
LATER = "let its engine write the rows as Parquet to a folder of their own"


def refuse_table(workspace: Workspace, folder: Path, names: Collection[str], tree: Tree) -> None:
    """Refuse a folder whose entries say that it is a table.

    Raises:
        Broken: says of which kind, and what to do.
    """
    for name in sorted(LOGS.keys() & set(names)):
        refuse_own(workspace, folder)
        shown = workspace.relative(folder)
        way = f"write the input as {{delta: {shown}}}" if name == "_delta_log" else LATER
        raise Broken(f"{shown} is {LOGS[name]} (it holds {name}); {BACK}: {way}")
    if ICEBERG in names and _is_iceberg(folder / ICEBERG, tree):
        shown = workspace.relative(folder)
        raise Broken(
            f"{shown} is an Iceberg table (it holds {ICEBERG}/); {BACK}: write the input as {{iceberg: "
            f"{shown}/{ICEBERG}/….metadata.json}}, with the metadata file that counts"
        )


def refuse_table_above(workspace: Workspace, path: Path, tree: Tree) -> None:
    """Refuse a path that lies in a table, or in what a workspace's runs write. Errors as `refuse_table`'s."""
    refuse_own(workspace, path)
    above = list(_inside(workspace, path))
    tree.preload(above)
    for folder in above:
        names = [*LOGS, ICEBERG]
        refuse_table(workspace, folder, [n for n in names if tree.kind(folder / n) == "folder"], tree)


def _inside(workspace: Workspace, path: Path) -> Iterator[Path]:
    """The folders above a path: in the workspace its own; of a root all, for it may lie in a table."""
    own = (workspace.root.resolve(), workspace.data.resolve())
    mirrors = [root.folder for root in workspace.roots.values() if root.is_bucket]
    # A mirror may lie in the workspace, whose folders are none of the bucket's.
    homes = [home for home in mirrors if path.is_relative_to(home)]
    homes = homes or [home for home in own if path.is_relative_to(home)]
    for folder in path.parents:
        if not homes or any(folder.is_relative_to(home) for home in homes):
            yield folder


def refuse_own(workspace: Workspace, path: Path) -> None:
    """Refuse what a workspace's runs write. Errors as `refuse_table`'s."""
    tables = workspace.tables.resolve()
    if path.is_relative_to(tables) and path != tables:
        name = path.relative_to(tables).parts[0]
        raise Broken(
            f"{workspace.relative(path)} is of the output table {name}, whose files are not its rows: "
            f"replaced ones lie among them. Read it as {{table: {name}}}, which sees what receipts name"
        )
    if path.is_relative_to(workspace.runs.resolve()):
        raise Broken(
            f"{workspace.relative(path)} is of what runs have staged, none of which is published; read the "
            "output table, as {table: …}"
        )


def _is_iceberg(folder: Path, tree: Tree) -> bool:
    try:
        names = [entry.name for entry in tree.entries(folder)]
    except NotADirectoryError:
        return False
    except OSError as error:
        raise Broken(f"{folder}: can't be listed: {error.strerror}") from error
    return any(".metadata.json" in name or name == "version-hint.text" for name in names)
