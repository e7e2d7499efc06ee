"""Pages and tables for people: written whole, replaced at will, and nothing is decided by them."""

from pathlib import Path

from nightscore.common import Broken, Workspace, remove_path, replace_bytes
from nightscore.store.storage import Place

REPORT = "report.html"  # in a run's folder


def keep_report(run: Place, html: str) -> None:
    """Keep the page of a run in its folder, for readers on any machine."""
    (run / REPORT).replace_text(html)


def read_report(run: Place) -> str | None:
    """The page that is kept of a run; None where there is none."""
    try:
        return (run / REPORT).read_text()
    except (OSError, ValueError):
        return None


def has_report(run: Place) -> bool:
    """Whether a page of a run is kept, or was written on this machine."""
    return (run.scratch() / REPORT).exists() or (run / REPORT).exists()


def remove_report(run: Place) -> None:
    """Remove the page of a run, by its folder: the one that is kept, and the one that this machine has."""
    (run / REPORT).remove()
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
