"""The workspaces of this Airflow, and whose a DAG is: its id is its job's name, after its workspace's.

    NIGHTSCORE_WORKSPACES=/srv/retail:/srv/risk    # several, joined as PATH is
    NIGHTSCORE_WORKSPACE=/srv/retail               # one
    neither: those that hold the folders of Airflow's DAG bundles, as far as these lie on this machine

The workspace called `risk` (workspace.yaml, `name: risk`) has DAGs such as `risk.market_risk` and assets such
as `risk.volatility_history`; one without a name has `market_risk`. Of two that are called alike, the one that
is named first keeps its DAGs; those of the other are an import error that names both.
"""

import os
from pathlib import Path
from typing import Any

from airflow.configuration import conf

from nightscore.common import WORKSPACE_VARIABLE, Broken, Workspace, open_workspace
from nightscore.job import Job, load

WORKSPACES_VARIABLE = "NIGHTSCORE_WORKSPACES"
DEFAULT_FOLDER = "dags-folder"  # the bundle that is Airflow's own dags_folder, where it names no path


def list_workspaces() -> list[Workspace]:
    """Every workspace of this Airflow, in the order in which they are named; without those that are gone.

    Raises:
        Broken: none of them is a workspace.
    """
    if named := _named():
        return _open(named)
    found = [open_workspace(folder) for folder in _bundle_folders() if (folder / "jobs").is_dir()]
    return found or [open_workspace(_dags_folder().parent)]


def workspaces_of_file(file: str) -> list[Workspace]:
    """Those whose DAGs a DAG file makes: that which it lies in, where that is one of this Airflow's.

    A file that lies elsewhere makes those of all that the variables name.

    Raises:
        Broken: none of them is a workspace.
    """
    own, named = Path(file).resolve().parents[1], _named()
    mine = [folder for folder in named if folder.resolve() == own]
    return _open(mine or named or [own])


def workspace_problems() -> list[str]:
    """Which of the folders that the variables name are no workspaces, and why."""
    return [str(error) for error in _try_each(_named()) if isinstance(error, Broken)]


def dag_id_of(job: Job) -> str:
    """The id of a job's DAG."""
    return qualified(job.workspace, job.name)


def qualified(workspace: Workspace, name: str) -> str:
    """The name of a job or of a table as this Airflow knows it, among those of other workspaces."""
    return f"{workspace.name}.{name}" if workspace.name else name


def uri_of(workspace: Workspace) -> str:
    """How the URIs of a workspace's assets begin."""
    return f"nightscore://{workspace.name}{'/' if workspace.name else ''}"


def split_name(qualified_name: str) -> tuple[str, str]:
    """The workspace's name, "" for the one without, and the name of the job or table within it."""
    before, _, name = qualified_name.rpartition(".")
    return (before, name) if before else ("", qualified_name)


def unqualified(workspace: Workspace, qualified_name: str) -> str | None:
    """The name within a workspace; None for one that is another's."""
    whose, name = split_name(qualified_name)
    return name if whose == workspace.name else None


def workspace_of(dag_id: str) -> Workspace:
    """The workspace that a DAG is of.

    Raises:
        Broken: there is none.
    """
    workspaces = list_workspaces()
    for workspace in workspaces:  # of two that are called alike the first one counts
        if unqualified(workspace, dag_id) is not None:
            return workspace
    names = ", ".join(one.name or str(one.root) for one in workspaces)
    raise Broken(f"DAG {dag_id} is of no workspace of this Airflow; it has {names}")


def load_of_dag(dag_id: str) -> Job:
    """The job of a DAG. Broken where there is none."""
    return load(split_name(dag_id)[1], workspace_of(dag_id))


def namesakes(workspace: Workspace) -> list[Workspace]:
    """The workspaces before this one that are called as it is, so that their DAGs may have the same ids."""
    found: list[Workspace] = []
    for other in list_workspaces():
        if other.root.resolve() == workspace.root.resolve():
            return found
        if other.name == workspace.name:
            found.append(other)
    return []


def _open(folders: list[Path]) -> list[Workspace]:
    found = _try_each(folders)
    good = [one for one in found if isinstance(one, Workspace)]
    if not good:
        raise next(one for one in found if isinstance(one, Broken))
    return good


def _try_each(folders: list[Path]) -> list[Workspace | Broken]:
    """Each folder's workspace, or why it is none."""
    found: list[Workspace | Broken] = []
    for folder in folders:
        try:
            found.append(open_workspace(folder))
        except Broken as error:
            found.append(error)
    return found


def _named() -> list[Path]:
    several = os.environ.get(WORKSPACES_VARIABLE, "")
    if several:
        return [Path(folder) for folder in several.split(os.pathsep) if folder]
    one = os.environ.get(WORKSPACE_VARIABLE)
    return [Path(one)] if one else []


def _bundle_folders() -> list[Path]:
    """The folders that hold those of Airflow's bundles; of one that is fetched nobody here knows where."""
    bundles: Any = conf.getjson("dag_processor", "dag_bundle_config_list", fallback=[]) or []
    paths = [_bundle_folder(one) for one in bundles if isinstance(one, dict)]
    return [Path(path).absolute().parent for path in dict.fromkeys(paths) if path]


def _bundle_folder(bundle: dict[str, Any]) -> str | None:
    path = (bundle.get("kwargs") or {}).get("path")
    return path or (str(_dags_folder()) if bundle.get("name") == DEFAULT_FOLDER else None)


def _dags_folder() -> Path:
    return Path(conf.get("core", "dags_folder"))
