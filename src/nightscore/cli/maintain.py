"""Commands about the workspace and the machine."""

from typing import Annotated

from cyclopts import Parameter

from nightscore.cli.options import AsJson, open_chosen_workspace
from nightscore.cli.output import print_json, say


def gc(
    *,
    older_than: Annotated[float, Parameter(help="Hours: younger leftovers of stopped runs are kept.")] = 24.0,
    dry_run: Annotated[bool, Parameter(negative="", help="Only say what would be removed.")] = False,
) -> int:
    """Remove staged files that nothing refers to; never one that is live."""
    from nightscore.store import collect_garbage

    removed = collect_garbage(open_chosen_workspace(), older_than, dry_run)
    for file in removed:
        say(f"{file.path}  {file.bytes:,} bytes: {file.reason}")
    word = "would be removed" if dry_run else "removed"
    say(f"{len(removed)} {word}, {sum(file.bytes for file in removed):,} bytes")
    return 0


def hardware(*, json: AsJson = False) -> int:
    """Show what scoring may use here: cores, memory, instruction sets, devices and kinds of scorers."""
    from dataclasses import asdict

    from nightscore.common import Broken
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
