"""The workspace: one folder that holds `jobs/**/job.yaml` and `data/`, and where everything in it lies."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

from nightscore.common.errors import Broken
from nightscore.common.roots import (
    DATA,
    PLACE,
    SCHEME,
    WORKSPACE_FILE,
    Root,
    peek_workspace_name,
    read_roots,
    read_workspace_file,
    variable_of,
)
from nightscore.common.strict_yaml import LineNumbers

JOB_FILE = "job.yaml"
WORKSPACE_VARIABLE = "NIGHTSCORE_WORKSPACE"
REFUSED = set("=?#%")  # = is a hive partition's; deltalake (1.6) takes the others for a part of an address


@dataclass(frozen=True)
class Workspace:
    """Paths of one workspace. Relative paths in a job.yaml are relative to `root`."""

    root: Path

    @cached_property
    def data(self) -> Path:
        """The folder that is written below, and where models and the lake lie; of a bucket its mirror.

        Raises:
            Broken: it is set to what is no folder.
        """
        if DATA not in self.roots:
            return self.root / DATA
        root = self.roots[DATA]
        if not (root.is_bucket or root.folder.is_dir()):
            raise Broken(
                f"root data is {root.at} (by {root.setting}), which is no folder; make it, or mount it"
            )
        return root.folder

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

    def job_files(self) -> list[Path]:
        """Every job.yaml of the workspace, sorted by path; in a folder that can't be listed there is one.

        So its job is not missed: whoever reads it says why it can't be read.
        """
        closed: list[OSError] = []
        found = {
            Path(folder) / JOB_FILE
            for folder, inside, files in os.walk(self.root / "jobs", onerror=closed.append)
            if JOB_FILE in (*inside, *files)
        }
        gone = FileNotFoundError, NotADirectoryError  # since it was seen
        return sorted(found | {Path(e.filename) / JOB_FILE for e in closed if not isinstance(e, gone)})

    def resolve(self, path: str) -> Path:
        """The absolute path that a path of a job.yaml means, or one as plans write it, such as lake:products.

        Raises:
            Broken: it leaves the workspace and its roots, by `..`, by an absolute path or through a symbolic
                link. A link of `data/` itself is the operator's choice of a disk and is followed. Or it is
                no path at all, or of a root that is not set.
        """
        if SCHEME.match(path):
            raise Broken(
                f"{path} is an address, and a job names paths: set it as a root in {WORKSPACE_FILE}, "
                f"roots: {{NAME: {path}}}, and name the root in the input"
            )
        full = self._followed(self.locate(path), path)
        below = path.partition(":")[2] if self._root_of(path) else path
        if os.path.normpath(below).partition("/")[0] == ".." or not any(
            full.is_relative_to(home) for home in self.homes
        ):
            self._refuse_outside(path, full)
        return full

    def follow(self, path: Path) -> Path:
        """Where a path ends that was listed below one of `resolve`, links resolved.

        Raises:
            Broken: a link leads out of the workspace and its roots.
        """
        full = self._followed(path, path.as_posix())
        if not any(full.is_relative_to(home) for home in self.homes):
            self._refuse_outside(self.relative(path), full)
        return full

    def locate(self, path: str) -> Path:
        """Where a file lies that a plan or a receipt names, as `relative` wrote it.

        Raises:
            Broken: it is of a root that is not set.
        """
        if root := self._root_of(path):
            return root.folder / path.partition(":")[2]
        first, _, rest = path.partition("/")
        return self.data / rest if first == DATA and DATA in self.roots else self.root / path

    def relative(self, path: Path) -> str:
        """`path` as written in plans and receipts: relative to the root where it lies inside."""
        for home, prefix in self._homes:
            if path.is_relative_to(home):
                below = path.relative_to(home).as_posix()
                return prefix.removesuffix("/") if below == "." and prefix else prefix + below
        return path.as_posix()

    @property
    def homes(self) -> tuple[Path, ...]:
        """The folders in which all lies that a job may read, links resolved."""
        return tuple(home.resolve() for home, _ in self._homes)

    @cached_property
    def roots(self) -> Mapping[str, Root]:
        """The roots that are set, by name; `data` among them where it lies elsewhere.

        Raises:
            Broken: workspace.yaml, or a variable, has a mistake.
        """
        return read_roots(self.root)

    @cached_property
    def settings(self) -> tuple[Mapping[str, Any], LineNumbers]:
        """What workspace.yaml says, with the lines of its values; nothing where there is none.

        Raises:
            Broken: it can't be read, or has an unknown key.
        """
        return read_workspace_file(self.root)

    @cached_property
    def name(self) -> str:
        """What workspace.yaml calls it, "" without a name; one Airflow tells its workspaces apart by that."""
        return peek_workspace_name(self.root)

    @property
    def data_root(self) -> Root:
        """The root `data`, set or not."""
        return self.roots.get(DATA) or Root(DATA, str(self.root / DATA), "default", write=True)

    @cached_property
    def _homes(self) -> tuple[tuple[Path, str], ...]:
        """The folders in which all lies, the workspace also as it is named, and how plans begin its paths.

        What lies in two is of the first: a folder of the workspace is named as one, a root or not; but what
        is fetched from a bucket is named as there, wherever that lies on this machine.
        """
        own = [(self.root, ""), (self.root.resolve(), "")]
        data = [(self.data.resolve(), f"{DATA}/")]
        folders = [(root.folder, f"{root.name}:") for root in self.roots.values() if root.name != DATA]
        mirrors = {root.folder for root in self.roots.values() if root.is_bucket}
        others = sorted(folders, key=lambda f: -len(f[0].parts))
        fetched = [home for home in others if home[0] in mirrors]
        first = [*data, *own] if DATA in self.roots else [*own, *data]
        return (*fetched, *first, *others)

    def _root_of(self, path: str) -> Root | None:
        """The root of a path such as lake:products; None of one in the workspace."""
        found = PLACE.fullmatch(path) if ":" in path else None
        if found is None or (found[1] not in self.roots and (self.root / path.partition("/")[0]).exists()):
            return None
        if found[1] == DATA:  # a job may name it also where it lies in the workspace
            return self.data_root
        if found[1] not in self.roots:
            raise Broken(
                f"{path}: root {found[1]} is not set; set are {', '.join(self.roots) or 'none'}. Name its "
                f"folder in {WORKSPACE_FILE}, roots: {{{found[1]}: FOLDER}}, or in the variable "
                f"{variable_of(found[1])}"
            )
        return self.roots[found[1]]

    def _followed(self, path: Path, shown: str) -> Path:
        try:
            full = path.resolve()
            full.exists()  # a name too long is found out here
        except (OSError, RuntimeError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise Broken(f"{shown!r} is no path that can be read: {reason}") from error
        return full

    def _refuse_outside(self, shown: str, full: Path) -> NoReturn:
        roots = f" and its roots ({', '.join(self.roots)})" if self.roots else ""
        known = self.relative(full)
        way = (
            f"in the input write root: {known.partition(':')[0]}, path: {known.partition(':')[2]}"
            if PLACE.fullmatch(known)
            else f"make its folder a root: {WORKSPACE_FILE}, roots: {{NAME: FOLDER}}, and in the input "
            "root: NAME"
        )
        raise Broken(
            f"{shown} lies outside the workspace {self.root}{roots}; a job reads only files inside. "
            f"If it is to read {full}, {way}"
        )


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
            f"Name one with --workspace or {WORKSPACE_VARIABLE}, or call from its top folder; "
            "`nightscore init` makes one, and in a folder of yours so does `mkdir jobs`"
        )
    refuse_path(folder)
    return Workspace(folder)


def refuse_path(folder: Path) -> None:
    """Raise `Broken` where the path of a workspace, there or not, has a character of REFUSED."""
    if REFUSED & set(folder.resolve().as_posix()):
        raise Broken(f"{folder}: the path of a workspace must not contain any of {' '.join(sorted(REFUSED))}")
