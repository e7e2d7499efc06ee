"""What a job's nights take: of the last ones seconds and CPU by stage, and memory.

It stands in `data/attempts/<job>/paces.json`: told by each night that is published, and compared with the one
that follows. No day depends on it: what can't be read or written is as if no night had told anything.
"""

import contextlib
import statistics
from collections.abc import Iterator, Mapping, Sequence

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from nightscore.common import NightscoreError, Workspace
from nightscore.store import renames, storage
from nightscore.store.documents.receipt import Receipt
from nightscore.store.records.attempts import HOME
from nightscore.store.storage import Place

PACES_FILE = "paces.json"
KEPT = 40  # nights
COMPARED = 20  # nights
ENOUGH = 8  # nights before anything is called usual
SPREADS = 5.0  # so many standard deviations are beyond the usual spread, as the MAD estimates one
MAD_TO_DEVIATION = 1.4826  # of a normal distribution: 1 / the 75 % quantile
SHARE = 0.5  # and half as long again as usual
LEAST_SECONDS = 2.0  # and by so much


class Pace(BaseModel):
    """What one published night took: wall-clock and CPU seconds by stage, for so many rows scored.

    `peak_memory` is that of its largest process, in bytes; 0 where an earlier version told nothing of it.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    day: str
    run_id: str
    rows: int
    seconds: Mapping[str, float]
    cpu_seconds: Mapping[str, float] = {}
    peak_memory: int = 0

    @property
    def total(self) -> float:
        """Seconds of all stages."""
        return sum(self.seconds.values())


PACES = TypeAdapter(list[Pace])


def read_paces(workspace: Workspace, job: str) -> list[Pace]:
    """The last nights of a job, the newest last; none where nothing is told."""
    return read_paces_file(_place(workspace, job))


def read_paces_file(file: Place) -> list[Pace]:
    """The nights in a file, as `read_paces`."""
    try:
        return PACES.validate_json(file.read_text())
    except (OSError, ValueError, ValidationError, NightscoreError):
        return []


def note_pace(workspace: Workspace, receipt: Receipt) -> None:
    """Tell what a published night took."""
    pace = _pace(receipt)
    others = [one for one in read_paces(workspace, receipt.job) if one.run_id != pace.run_id]
    with contextlib.suppress(OSError, NightscoreError):
        _place(workspace, receipt.job).replace_text(PACES.dump_json([*others, pace][-KEPT:]).decode())


def usual_memory(paces: Sequence[Pace]) -> int:
    """The most bytes that a process of the last COMPARED nights had; 0 where nothing is told."""
    return max((one.peak_memory for one in paces[-COMPARED:]), default=0)


def find_slower(workspace: Workspace, receipt: Receipt) -> tuple[str, ...]:
    """In which stages a night took longer than the last ones do, a sentence each."""
    return slower_stages(read_paces(workspace, receipt.job), _pace(receipt))


def slower_stages(paces: Sequence[Pace], new: Pace) -> tuple[str, ...]:
    """In which stages a night is beyond the usual spread of the nights before, in seconds or CPU seconds.

    Each per million rows, beside the median of the last COMPARED; the spread is the median of the absolute
    deviations from it (MAD), so that one slow night before does not hide this one.
    """
    if len(paces) < ENOUGH or not new.rows:
        return ()
    told = [(one.seconds, one.rows) for one in paces[-COMPARED:] if one.rows]
    cpu = [(one.cpu_seconds, one.rows) for one in paces[-COMPARED:] if one.rows]
    return (*_slower(told, new.seconds, new.rows, "s"), *_slower(cpu, new.cpu_seconds, new.rows, "CPU s"))


def _slower(
    before: Sequence[tuple[Mapping[str, float], int]], now: Mapping[str, float], rows: int, unit: str
) -> Iterator[str]:
    for stage, spent in now.items():
        usual = [seconds[stage] / count * 1e6 for seconds, count in before if stage in seconds]
        if len(usual) < ENOUGH:
            continue
        middle = statistics.median(usual)
        spread = MAD_TO_DEVIATION * statistics.median(abs(value - middle) for value in usual)
        took = spent / rows * 1e6
        beyond = middle + max(SPREADS * spread, SHARE * middle)
        if took > beyond and spent - middle * rows / 1e6 >= LEAST_SECONDS:
            yield (
                f"{stage}: {took:,.1f} {unit} per million rows, usually {middle:,.1f} "
                f"(± {spread:,.1f} over {len(usual)} nights)"
            )


def _pace(receipt: Receipt) -> Pace:
    return Pace(
        day=receipt.day, run_id=receipt.run_id, rows=receipt.rows.scored, seconds=receipt.seconds,
        cpu_seconds=receipt.cost.cpu_seconds, peak_memory=receipt.cost.peak_memory_bytes,
    )  # fmt: skip


def _place(workspace: Workspace, job: str) -> Place:
    return storage.place_of(
        workspace, f"{HOME}/{renames.last_names(workspace).jobs.origin(job)}/{PACES_FILE}"
    )
