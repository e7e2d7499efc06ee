"""What a job reads and publishes, as Airflow's assets; and what an event of one says of the day.

The same file or table is the same asset in every job of a workspace: its name is the path that job.yaml
gives, after the workspace's name if it has one, its URI made of these alone. So the asset graph joins the
jobs, and a DAG has no new version because a day has passed.
"""

import posixpath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.sdk import Asset

from nightscore.airflow.timetables.timetable import GROUP, table_asset
from nightscore.airflow.workspaces import qualified, unqualified, uri_of
from nightscore.common import Workspace
from nightscore.job import REGISTRY_URI, Input, Job, TableInput

if TYPE_CHECKING:
    from nightscore.store import Receipt

LONGEST = 1500  # bytes of a URI, as Airflow keeps it
PLAIN = "/:=@,+*"  # what a path may hold and a URI's path needs not quote


def assets_read(job: Job) -> list[Asset]:
    """The assets of a job's inputs and models, each once; not of its own tables."""
    own, inputs = job.spec.tables, job.spec.inputs.values()
    space, model = job.workspace, job.spec.model
    read = [_asset_of(space, source) for source in inputs if getattr(source, "table", None) not in own]
    named = [*([model.file] if model.file else []), *model.rivals.values()]
    models = [model_asset(space, name) for name in named]
    return list({asset.uri: asset for asset in [*read, *models]}.values())


def file_asset(workspace: Workspace, path: str, root: str | None = None) -> Asset:
    """The asset of a file or folder of the workspace, or of a root of it."""
    plain = posixpath.normpath(path)
    shown = plain if "/" in plain else f"./{plain}"  # a table's name has no slash
    place = f"roots/{root}" if root else "workspace"
    return _asset(workspace, f"{root}:{plain}" if root else shown, f"{place}/{plain}")


def model_asset(workspace: Workspace, name: str) -> Asset:
    """The asset of a model: of its file, or of a registry's name of it."""
    if REGISTRY_URI.fullmatch(name):
        return _asset(workspace, name, f"registry/{name}")
    return file_asset(workspace, name)


def event_extra(workspace: Workspace, receipt: "Receipt", asset: str) -> dict[str, Any]:
    """What the event of a table's asset says: whose day, how much, how long, and where the receipt lies."""
    from nightscore.store import RunFolder, renames

    home = renames.runs_home(workspace, receipt.job)
    told = receipt.tables.get(unqualified(workspace, asset) or "")
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


def _asset_of(workspace: Workspace, source: Input) -> Asset:
    if isinstance(source, TableInput):
        return table_asset(workspace, source.table)
    catalog = getattr(source, "catalog", None)
    if catalog:
        return _asset(workspace, f"{catalog}:{source.address}", f"catalogs/{catalog}/{source.address}")
    root = source.root
    path = source.address.removeprefix(f"{root}:") if root else source.address
    return file_asset(workspace, path, root)


def _asset(workspace: Workspace, name: str, place: str) -> Asset:
    uri = f"{uri_of(workspace)}{quote(place, safe=PLAIN)}"
    return Asset(name=qualified(workspace, name), uri=uri[:LONGEST], group=GROUP)
