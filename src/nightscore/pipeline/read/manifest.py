"""SHA256SUMS, in which a producer says which files a day has: all have to be there, each with its sha256."""

import datetime as dt
import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from nightscore.common import Broken, NotYet, Workspace
from nightscore.job import Job, PathInput
from nightscore.pipeline.read.listing import list_input, window
from nightscore.store import SUMS, tree_of

LINE = re.compile(r"\\?([0-9a-fA-F]{64})[ \t]+\*?(?:\./)*(\S.*)")
TAGGED = re.compile(r"SHA256 \((?:\./)*(.+)\) = ([0-9a-fA-F]{64})")  # as `sha256sum --tag` writes it
NAMED = 5  # files in a message


def refuse_incomplete(job: Job, day: dt.date) -> None:
    """Hold the inputs of a day to their SHA256SUMS, where the job asks for sha256: none listed is missing.

    A list in a folder above the days counts for those that the run of `day` reads.

    Raises:
        NotYet: a file that is listed has not arrived, or a list is empty.
        Broken: a list can't be read.
    """
    if job.spec.verify_inputs != "sha256":
        return
    for name, source in job.spec.inputs.items():
        if isinstance(source, PathInput):
            listed = list_input(job, name, source, day)
            there = {path for _, path in listed.files}
            for sums in listed.sums:
                names = [sums.parent / n for n in read_sums(job.workspace, sums)]
                counted = list(_counted(job, source, names, day))
                absent = [p for p in counted if p not in there and not tree_of(job.workspace, p).kind(p)]
                _refuse_absent(job.workspace, name, sums, absent, len(counted))


def written_down(job: Job, source: PathInput, shown: str, read: dict[Path, dict[str, str]]) -> str:
    """The sha256 of a file in the SHA256SUMS between it and its input's folder. `read` keeps what was read.

    Raises:
        Broken: none lists it, or two do and differ.
    """
    root = job.workspace.resolve(source.address)
    path = root / _below(job, source, shown)  # as it is listed: behind a link it lies elsewhere
    top = root if root.is_dir() else root.parent
    found: dict[str, Path] = {}
    for folder in (f for f in path.parents if f.is_relative_to(top)):
        sums = folder / SUMS
        if sums not in read:
            read[sums] = read_sums(job.workspace, sums) if sums.is_file() else {}
        if sha256 := read[sums].get(path.relative_to(folder).as_posix()):
            found.setdefault(sha256, sums)
    if len(found) > 1:
        said = " and ".join(f"{sha256} in {job.workspace.relative(sums)}" for sha256, sums in found.items())
        raise Broken(f"{shown} has two sha256: {said}; remove the list that is wrong")
    if not found:
        raise Broken(
            f"{shown} stands in no {SUMS} of its input; its producer writes one with "
            f"`sha256sum *.parquet > {SUMS}`, or the job's verify_inputs is footer or checksum"
        )
    return next(iter(found))


def read_sums(workspace: Workspace, path: Path) -> dict[str, str]:
    """Name -> sha256 of a SHA256SUMS; names are relative to its folder.

    Raises:
        Broken: a line is none, a name leads out of the folder, or stands twice with other sums.
        NotYet: it has no line: its producer is not done.
    """
    shown = workspace.relative(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, ValueError) as error:
        raise Broken(f"{shown} can't be read: {error}") from error
    found: dict[str, str] = {}
    for number, line in enumerate((line.rstrip("\r") for line in lines), 1):
        if line.strip():
            name, sha256 = _line(f"{shown}:{number}", shown, line)
            if found.setdefault(name, sha256) != sha256:
                raise Broken(f"{shown}:{number}: {name!r} stands twice, with two sha256")
    if not found:
        raise NotYet(f"{shown} is empty: its producer has not written it yet")
    return found


def _line(place: str, shown: str, line: str) -> tuple[str, str]:
    plain, tagged = LINE.fullmatch(line), TAGGED.fullmatch(line)
    if plain:
        name, sha256 = plain[2], plain[1]
    elif tagged:
        name, sha256 = tagged[1], tagged[2]
    else:
        raise Broken(f"{shown} can't be read: a line is SHA256  NAME ({place} is {line[:80]!r})")
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise Broken(f"{place}: {name!r} leads out of the folder; names are relative to that of {SUMS}")
    return name, sha256.lower()


def _counted(job: Job, source: PathInput, paths: Iterable[Path], day: dt.date) -> Iterator[Path]:
    """Those of some listed files that the run of a day has to read."""
    root = job.workspace.resolve(source.address)
    first, last = window(job, source, day)
    for path in paths:
        parts = path.relative_to(root).parts if path.is_relative_to(root) else ()
        if root.is_file() or not parts or _left_out(source, parts):
            continue
        on = source.layout.day_of(parts) if source.layout else None
        if source.layout is None or (on is not None and first <= on <= last):
            yield path


def _left_out(source: PathInput, parts: tuple[str, ...]) -> bool:
    """Whether a listed path is hidden, or what the input's `ignore` leaves out."""
    hidden = any(p.startswith(".") or (p.startswith("_") and "=" not in p) for p in parts)
    heads = ["/".join(parts[: i + 1]) for i in range(len(parts))]
    return hidden or any(
        fnmatchcase(part, pattern) or fnmatchcase(head, pattern)
        for part, head in zip(parts, heads, strict=True)
        for pattern in source.ignore
    )


def _refuse_absent(workspace: Workspace, name: str, sums: Path, absent: list[Path], count: int) -> None:
    if absent:
        names = ", ".join(p.relative_to(sums.parent).as_posix() for p in sorted(absent)[:NAMED])
        more = f" and {len(absent) - NAMED} more" if len(absent) > NAMED else ""
        raise NotYet(
            f"input {name}: {workspace.relative(sums)} lists {count} files of the days that are read, and "
            f"{len(absent)} have not arrived: {names}{more}"
        )


def _below(job: Job, source: PathInput, shown: str) -> str:
    """A file's path below its input's, of which both are as receipts name them; "" for that file itself."""
    home = job.workspace.relative(job.workspace.resolve(source.address))
    return shown.removeprefix(home).removeprefix("/")
