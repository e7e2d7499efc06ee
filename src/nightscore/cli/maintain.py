"""Commands about the workspace and the machine."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from nightscore.cli.options import AsJson, open_chosen_workspace
from nightscore.cli.output import print_error, print_json, say
from nightscore.common import Broken, byte_size

if TYPE_CHECKING:
    from nightscore.store import Removal, RootState

By = Annotated[str, Parameter(help="Who decides; it goes into the table removals.")]
Because = Annotated[str, Parameter(help="Why; it goes into the table removals.")]
DryRun = Annotated[bool, Parameter(negative="", help="Only say what would be removed.")]


def gc(
    *,
    older_than: Annotated[float, Parameter(help="Hours: younger leftovers of stopped runs are kept.")] = 24.0,
    dry_run: DryRun = False,
) -> int:
    """Remove staged files that nothing refers to, and what is older than its job keeps it (`retain`).

    Never what is live. A day that is older is gone for every reader at once, and its files go with the first
    gc that is so many hours later; receipts stay, and the table `removals` says what was removed, and when.
    """
    from nightscore.job import load_all
    from nightscore.lifecycle import apply_retention, find_due
    from nightscore.store import collect_garbage

    workspace = open_chosen_workspace()
    jobs, problems = load_all(workspace)
    for problem in problems:
        say(f"nothing is removed by retain, for a job can't be read, and may read it: {problem}")
    kept = bool(problems)
    for one in [] if kept else find_due(workspace, jobs) if dry_run else apply_retention(workspace, jobs):
        of = f"{one.table_name} {one.removed_day}, run {one.run_id}"
        say(f"{of}: {'is due' if dry_run else 'removed'} ({one.because})")
    removed = collect_garbage(workspace, older_than, dry_run)
    for file in removed:
        say(f"{file.path}  {file.bytes:,} bytes: {file.reason}")
    word = "would be removed" if dry_run else "removed"
    say(f"{len(removed)} {word}, {sum(file.bytes for file in removed):,} bytes")
    return 0


def drop_table(
    table: Annotated[str, Parameter(help="The table, as `nightscore tables` lists it.")], /, *,
    because: Because, by: By, dry_run: DryRun = False, json: AsJson = False,
) -> int:  # fmt: skip
    """Remove a published table that no job publishes or reads any more.

    It is gone for every reader at once, other engines' too; its files go with the first `nightscore gc` that
    is a day later (--older-than). Receipts stay, and the table `removals` says who removed it, when and why.
    Then another job may publish a table of its name.
    """
    from nightscore.lifecycle import drop_table as drop

    workspace = open_chosen_workspace()
    return _print_removed(drop(workspace, table, because=because, by=by, dry_run=dry_run), dry_run, json)


def drop_job(
    job: Annotated[str, Parameter(help="The job's name; its folder is gone from jobs/ already.")], /, *,
    because: Because, by: By, dry_run: DryRun = False, json: AsJson = False,
) -> int:  # fmt: skip
    """Remove all tables of a job that is no more, and what its runs have left, as `drop-table` does.

    Refused while a job reads one of them, while a day of it is held, and while one of its runs is at work.
    """
    from nightscore.lifecycle import drop_job as drop

    workspace = open_chosen_workspace()
    return _print_removed(drop(workspace, job, because=because, by=by, dry_run=dry_run), dry_run, json)


def _print_removed(removed: "list[Removal]", dry_run: bool, json: bool) -> int:
    from dataclasses import asdict

    if json:
        print_json([asdict(one) | {"removed_at": one.removed_at.isoformat()} for one in removed])
        return 0
    for one in removed:
        say(f"{one.table_name} {one.removed_day}, run {one.run_id}")
    say(f"{len(removed)} days of tables {'would be removed' if dry_run else 'removed'}")
    return 0


def warm(job: Annotated[list[str], Parameter(help="Jobs; default: all.", negative="")] = [], /) -> int:
    """Compile what nights would compile at their first call, and keep it: for an image that is built once.

    Each job's model is opened in every way in which a night may compute it, and scores some made-up rows;
    nothing is read from the jobs' inputs, and nothing is published. Numba keeps what it compiles in
    NUMBA_CACHE_DIR if that is set, else beside the package if it may write there, else in the user's cache
    folder; it holds for this processor and these versions. A way that this machine has not is named.
    """
    from nightscore.job import load, load_all
    from nightscore.pipeline import warm_job
    from nightscore.scorers import kept_in

    workspace = open_chosen_workspace()
    readable, broken = ([load(name, workspace) for name in job], []) if job else load_all(workspace)
    for one in readable:
        try:
            for way in warm_job(one):
                end = f"not here: {way.problem}" if way.problem else f"{way.seconds:6.1f} s"
                say(f"{f'{one.name}, {way.variant}':<56} {end}")
        except Broken as error:
            broken.append(error)
    for folder in kept_in():
        if folder:
            say(f"kept in {folder}")
        else:
            broken.append(Broken("nothing is kept: set NUMBA_CACHE_DIR to a folder that can be written"))
    for mistake in broken:
        print_error("broken", mistake)
    return Broken.exit_code if broken else 0


def doctor(*, json: AsJson = False) -> int:
    """Show where the workspace and its roots lie, by which setting, and what is wrong there, if anything is.

    Of `data` it shows whether it can be written, what is free, and whether its file system has hard links
    (without them published files are copies) and file locks; of a bucket how long a request took, and what is
    free for the files that are fetched. Exit code 1 if something is wrong.
    """
    from dataclasses import asdict

    from nightscore.store import diagnose

    found = diagnose(open_chosen_workspace())
    if json:
        print_json(asdict(found))
        return Broken.exit_code if found.problems else 0
    say(f"workspace  {found.workspace}")
    say(f"python     {found.python}, {', '.join(f'{n} {v}' for n, v in found.versions.items())}")
    for root in found.roots:
        say(f"root {root.name:<5} {root.at} ({root.setting}): {_abilities(root)}")
    if found.scratch:
        say(f"scratch    {found.scratch.at} ({found.scratch.setting}): {_scratch(found.scratch)}")
    for problem in found.problems:
        say(f"wrong      {problem}")
    say("" if found.problems else "nothing is wrong")
    return Broken.exit_code if found.problems else 0


def _scratch(scratch: "RootState") -> str:
    """What may be done in the folder for fetched files, in words."""
    if scratch.readable or not scratch.writable:
        return _abilities(scratch)
    room = byte_size(scratch.free or 0)
    return f"is not there; a run makes it, where {room} are free now: is its disk mounted?"


def _abilities(root: "RootState") -> str:
    """What may be done in a root, in words."""
    if root.writable is None:
        word = "can be read" if root.readable else "can't be read"
        if root.seconds is None:
            return word
        room = byte_size(root.free or 0)
        return f"{word}, {root.seconds * 1000:.0f} ms a request; {room} free for its files on this machine"
    said = [f"can{'' if root.writable else 'not'} be written", f"{byte_size(root.free or 0)} free"]
    if root.writable:
        links = "hard links" if root.hard_links else "no hard links, so published files are copies"
        said += [links, "file locks" if root.locks else "no file locks"]
    return ", ".join(said)


def copy(
    folder: Annotated[Path, Parameter(help="What is copied, with models/, lake/ and tables/ in it.")] = Path(
        "data"
    ),
    /,
    *,
    dry_run: Annotated[bool, Parameter(negative="", help="Only say what would be copied.")] = False,
) -> int:
    """Copy a folder's models, lake, tables and runs to where the workspace's data is to lie.

    Set NIGHTSCORE_ROOT_DATA to that place first, such as s3://bucket/prefix. What is there already with the
    same bytes is left, so a copy that was stopped goes on; nothing is overwritten, and the folder stays as it
    is. Files keep their times of change, so that published days stay unchanged. Let no run work in either
    place meanwhile; `nightscore verify` afterwards says whether all is there.
    """
    from nightscore.store import copy_data

    files = size = there = 0
    for file in copy_data(open_chosen_workspace(), folder, dry_run):
        files, size, there = files + 1, size + file.bytes, there + file.there
        if not file.there:
            say(f"{file.path}  {byte_size(file.bytes)}")
    word = "would be copied" if dry_run else "copied"
    say(f"{files - there} files {word}, {there} were there; {byte_size(size)} in all")
    return 0


def hardware(*, json: AsJson = False) -> int:
    """Show what scoring may use here: cores, memory, instruction sets, devices and kinds of scorers."""
    from dataclasses import asdict

    from nightscore.review import text
    from nightscore.scorers import find_devices, find_plugin_problems, read_hardware, scorer_kinds

    machine, devices, problems = read_hardware(), find_devices(), find_plugin_problems()
    try:
        kinds = scorer_kinds(open_chosen_workspace().root)
    except Broken:  # the machine has kinds without a workspace, too
        kinds = scorer_kinds()
    if json:
        scoring = {"devices": [asdict(device) for device in devices], "problems": problems, "kinds": kinds}
        print_json({**asdict(machine), **scoring})
        return 0
    text.print_hardware(machine, devices, problems, kinds)
    return 0
