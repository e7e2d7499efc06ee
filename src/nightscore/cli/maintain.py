"""Commands about the workspace and the machine."""

from typing import Annotated

from cyclopts import Parameter

from nightscore.cli.options import AsJson, open_chosen_workspace
from nightscore.cli.output import print_json


def gc(
    *,
    older_than: Annotated[float, Parameter(help="Hours: younger leftovers of stopped runs are kept.")] = 24.0,
    dry_run: Annotated[bool, Parameter(negative="", help="Only say what would be removed.")] = False,
) -> int:
    """Remove staged files that nothing refers to; never one that is live."""
    from nightscore.store import collect_garbage as collect

    removed = collect(open_chosen_workspace(), older_than, dry_run)
    for one in removed:
        print(f"{one.path}  {one.bytes:,} bytes: {one.reason}")
    word = "would be removed" if dry_run else "removed"
    print(f"{len(removed)} {word}, {sum(one.bytes for one in removed):,} bytes")
    return 0


def hardware(*, json: AsJson = False) -> int:
    """Show what scoring may use here: cores, memory, instruction sets, devices and kinds of scorers."""
    from dataclasses import asdict

    from nightscore.common import Broken
    from nightscore.review import text
    from nightscore.scorers import find_devices, find_plugin_problems, scorer_kinds
    from nightscore.scorers import read_hardware as found

    machine, there, failed = found(), find_devices(), find_plugin_problems()
    try:
        known = scorer_kinds(open_chosen_workspace().root)
    except Broken:  # the machine has kinds without a workspace, too
        known = scorer_kinds()
    if json:
        listed = {"devices": [asdict(one) for one in there], "problems": failed, "kinds": known}
        print_json({**asdict(machine), **listed})
        return 0
    text.print_hardware(machine, there, failed, known)
    return 0
