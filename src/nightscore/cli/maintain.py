"""Commands about the workspace and the machine."""

from typing import Annotated, Literal

from cyclopts import Parameter

from jobs.commands.said import print_json
from jobs.options import AsJson, workspace


def gc(
    *,
    older_than: Annotated[float, Parameter(help="Hours: younger leftovers of stopped runs are kept.")] = 24.0,
    dry_run: Annotated[bool, Parameter(negative="", help="Only say what would be removed.")] = False,
) -> int:
    """Remove staged files that nothing refers to; never one that is live."""
    from jobs.gc import gc as collect

    removed = collect(workspace(), older_than, dry_run)
    for one in removed:
        print(f"{one.path}  {one.bytes:,} bytes: {one.reason}")
    word = "would be removed" if dry_run else "removed"
    print(f"{len(removed)} {word}, {sum(one.bytes for one in removed):,} bytes")
    return 0


def data(
    lake: Annotated[Literal["retail", "finance", "digits"], Parameter(help="Which sample lake.")], /
) -> int:
    """Write a sample lake.

    `retail` is The Complete Journey, 1.47 million real transactions; `finance` is real prices of 20 stocks,
    1990 to 2022, a made-up book of 10,000 positions, and 10,000 real loans; `digits` is 1,797 real images of
    handwritten digits.
    """
    from jobs.progress import shown
    from jobs.samples import digits, finance, loans, retail

    with shown() as report:
        for one in {"retail": (retail,), "finance": (finance, loans), "digits": (digits,)}[lake]:
            one.write_lake(workspace().root, report)
    print(f"{lake}: data/lake/{lake}")
    return 0


def hardware(*, json: AsJson = False) -> int:
    """Show what scoring may use here: cores, memory, instruction sets, devices and kinds of scorers."""
    from dataclasses import asdict

    from jobs import show
    from scorers.hardware import hardware as found
    from scorers.registry import kinds
    from scorers.runtime import devices, problems

    machine, there, failed = found(), devices(), problems()
    if json:
        listed = {"devices": [asdict(one) for one in there], "problems": failed, "kinds": kinds()}
        print_json({**asdict(machine), **listed})
        return 0
    show.hardware(machine, there, failed, kinds())
    return 0
