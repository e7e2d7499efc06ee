"""The workspace: one folder that holds `jobs/**/job.yaml` and `data/`, and where everything in it lies."""

import os
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path

from nightscore.common.errors import Broken

WORKSPACE_VARIABLE = "NIGHTSCORE_WORKSPACE"
REFUSED = set("=?#%")  # = is a hive partition's; deltalake (1.6) takes the others for a part of an address


@dataclass(frozen=True)
class Workspace:
    """Paths of one workspace. Relative paths in a job.yaml are relative to `root`."""

    root: Path

    @property
    def data(self) -> Path:
        """The folder that is written below, and where the models and the default lake lie."""
        return self.root / "data"

    @property
    def tables(self) -> Path:
        """The folder of the output tables, one Delta table a folder."""
        return self.data / "tables"

    @property
    def runs(self) -> Path:
        """The folder of what runs stage, and of their receipts: `<job>/<day>/<run_id>/`."""
        return self.data / "runs"

    @property
    def models(self) -> Path:
        """The folder of the models; those of a registry are copied to `.registry` in it."""
        return self.data / "models"

    @property
    def choices(self) -> Path:
        """The folder of the variants that were chosen on this machine, for the next nights."""
        return self.data / "choices"

    @property
    def variants(self) -> Path:
        """The folder of the models that bake-offs made and took: `<job>/`."""
        return self.data / "variants"

    @property
    def bakeoffs(self) -> Path:
        """The folder of what bake-offs found: `<job>/<day>/`."""
        return self.data / "bakeoffs"

    @property
    def dossiers(self) -> Path:
        """The folder of the jobs' model documents: `<job>/`."""
        return self.data / "dossiers"

    def runs_of(self, job: str, day: date) -> Path:
        """The folder that holds the runs of one day of one job."""
        return self.runs / job / day.isoformat()

    def job_files(self) -> list[Path]:
        """Every job.yaml of the workspace, sorted by path."""
        return sorted((self.root / "jobs").glob("**/job.yaml"))

    def resolve(self, path: str) -> Path:
        """The absolute path that a path of a job.yaml means.

        Raises:
            Broken: it leaves the workspace, by `..`, by an absolute path or through a symbolic link.
                A link of `data/` itself is the operator's choice of a disk and is followed. Or it is
                no path at all.
        """
        try:
            full = (self.root / path).resolve()
            full.exists()  # a name too long is found out here
        except (OSError, RuntimeError, ValueError) as error:
            raise Broken(f"{path!r} is no path that can be read: {error}") from error
        if not any(full.is_relative_to(home) for home, _ in self._homes):
            raise Broken(f"{path} lies outside the workspace {self.root}; a job reads only files inside it")
        return full

    @cached_property
    def _homes(self) -> tuple[tuple[Path, str], ...]:
        """Where `root` and `data/` lie, links resolved, and what stands for them in plans and receipts."""
        return (self.root.resolve(), ""), (self.data.resolve(), "data/")

    @property
    def homes(self) -> tuple[Path, ...]:
        """The folders in which all lies that a job may read, links resolved."""
        return tuple(home for home, _ in self._homes)

    def locate(self, path: str) -> Path:
        """Where a file lies that a plan or a receipt names, as `relative` wrote it."""
        return self.root / path

    def relative(self, path: Path) -> str:
        """`path` as written in plans and receipts: relative to the root where it lies inside."""
        for home, prefix in ((self.root, ""), *self._homes):
            if path.is_relative_to(home):
                return prefix + path.relative_to(home).as_posix()
        return path.as_posix()


def open_workspace(root: Path | str | None = None) -> Workspace:
    """The workspace at `root`, else at $NIGHTSCORE_WORKSPACE, else the current folder.

    Raises:
        Broken: there is no such folder, it holds no `jobs` folder, or its path has a character of REFUSED.
    """
    folder = Path(root or os.environ.get(WORKSPACE_VARIABLE) or ".").absolute()
    if not (folder / "jobs").is_dir():
        lacks = "it has no folder jobs/" if folder.is_dir() else "there is no such folder"
        raise Broken(
            f"{folder} is no workspace: {lacks}. "
            f"Name one with --workspace or {WORKSPACE_VARIABLE}, or call from its top folder"
        )
    if REFUSED & set(folder.resolve().as_posix()):
        raise Broken(f"{folder}: the path of a workspace must not contain any of {' '.join(sorted(REFUSED))}")
    return Workspace(folder)
