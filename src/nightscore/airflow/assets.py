"""What a job reads and publishes, as Airflow's assets; and what an event of one says of the day.

The same file or table is the same asset in every job: its name is the path that job.yaml gives, its URI made
of that alone. So the asset graph joins the jobs, and a DAG has no new version because a day has passed.
"""

import posixpath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.sdk import Asset

from nightscore.airflow.timetable import GROUP, table_asset
from nightscore.common import Workspace
from nightscore.job import REGISTRY_URI, Input, Job, TableInput

if TYPE_CHECKING:
    from nightscore.store import Receipt

LONGEST = 1500  # bytes of a URI, as Airflow keeps it
PLAIN = "/:=@,+*"  # what a path may hold and a URI's path needs not quote


def assets_read(job: Job) -> list[Asset]:
    """The assets of a job's inputs and models, each once; not of its own tables."""
    own, inputs = job.spec.tables, job.spec.inputs.values()
    read = [_asset_of(source) for source in inputs if getattr(source, "table", None) not in own]
    model = job.spec.model
    named = [*([model.file] if model.file else []), *model.rivals.values()]
    return list({asset.uri: asset for asset in [*read, *map(model_asset, named)]}.values())


def file_asset(path: str, root: str | None = None) -> Asset:
    """The asset of a file or folder of the workspace, or of a root of it."""
    plain = posixpath.normpath(path)
    shown = plain if "/" in plain else f"./{plain}"  # a table's name has no slash
    place = f"roots/{root}" if root else "workspace"
    return _asset(f"{root}:{plain}" if root else shown, f"{place}/{plain}")


def model_asset(name: str) -> Asset:
    """The asset of a model: of its file, or of a registry's name of it."""
    return _asset(name, f"registry/{name}") if REGISTRY_URI.fullmatch(name) else file_asset(name)


def event_extra(workspace: Workspace, receipt: "Receipt", table: str) -> dict[str, Any]:
    """What the event of a table says: whose day it is, how much, how long, and where the receipt lies."""
    from nightscore.store import RunFolder, renames

    home = renames.runs_home(workspace, receipt.job)
    told = receipt.tables.get(table)
    warned = [audit.name for audit in receipt.audits if not audit.passed]
    return {
        "job": receipt.job,
        "day": receipt.day,
        "run_id": receipt.run_id,
        "status": receipt.status,
        "rows": told.rows if told else 0,
        "bytes": told.bytes if told else 0,
        "version": told.version if told else None,
        "rejected": receipt.rows.rejected,
        "audits_warned": warned,
        **({"degraded": str(receipt.degraded)} if receipt.degraded else {}),
        "seconds": round(sum(receipt.seconds.values()), 3),
        "receipt": str(RunFolder(home / receipt.day / receipt.run_id).receipt),
    }


def _asset_of(source: Input) -> Asset:
    if isinstance(source, TableInput):
        return table_asset(source.table)
    catalog = getattr(source, "catalog", None)
    if catalog:
        return _asset(f"{catalog}:{source.address}", f"catalogs/{catalog}/{source.address}")
    root = source.root
    return file_asset(source.address.removeprefix(f"{root}:") if root else source.address, root)


def _asset(name: str, place: str) -> Asset:
    return Asset(name=name, uri=f"nightscore://{quote(place, safe=PLAIN)}"[:LONGEST], group=GROUP)
