"""Pages and tables for people: written whole, replaced at will, and nothing is decided by them."""

from pathlib import Path

from nightscore.common import Broken, Workspace, remove_path, replace_bytes
from nightscore.store.storage import Place

REPORT = "report.html"  # in a run's folder, on this machine


def remove_report(run: Place) -> None:
    """Remove the page of a run, by its folder, where this machine has one."""
    remove_path(run.scratch() / REPORT)


def write_page(file: Path, html: str) -> None:
    """Write a page; whoever opens the file meanwhile sees the old page or the new one.

    Raises:
        Broken: `file` is a folder.
    """
    if file.is_dir():
        raise Broken(f"{file} is a folder; name the file to write, such as {file / 'report.html'}")
    replace_bytes(file, html.encode())


def write_bakeoff(workspace: Workspace, job: str, day: str, name: str, data: bytes) -> str:
    """Write a file of a bake-off's result, `data/bakeoffs/<job>/<day>/<name>`; gives its path there."""
    file = workspace.bakeoffs / job / day / name
    replace_bytes(file, data)
    return workspace.relative(file)
