"""Days that are closed: what differs between a published day and what it would be made from now."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel

from nightscore.common.errors import Broken, NotYet
from nightscore.common.units import as_day
from nightscore.job.loader import Job
from nightscore.store import delta, run_folder
from nightscore.store.plan import Plan, Restate
from nightscore.store.receipt import Receipt

SHOWN = 5  # paths of a kind, in a message


class Closed(Broken):
    """The day is closed, and would be another one now. Nothing is written."""


class Causes(BaseModel):
    """What differs between the causes of a published day and those of now.

    Paths of input files, and a sentence for everything else.
    """

    added: list[str] = []
    removed: list[str] = []
    changed: list[str] = []
    others: list[str] = []

    @property
    def inputs(self) -> bool:
        """Whether an input differs."""
        return bool(self.added or self.removed or self.changed)

    def sentences(self) -> list[str]:
        """What differs, for a person."""
        kinds = {"added": self.added, "removed": self.removed, "changed": self.changed}
        return [f"inputs {kind}: {_some(paths)}" for kind, paths in kinds.items() if paths] + self.others


def differences(now: Plan, then: Receipt) -> Causes:
    """What differs between a day as it was published and the plan that is made of it now."""
    files = {f.path: f.fingerprint for some in now.inputs.values() for f in some}
    read = {f.path: f.fingerprint for f in then.inputs}
    found = Causes(
        added=sorted(files.keys() - read.keys()),
        removed=sorted(read.keys() - files.keys()),
        changed=sorted(p for p in files.keys() & read.keys() if files[p] != read[p]),
        others=list(_others(now, then)),
    )
    if found == Causes() and now.fingerprint != then.fingerprint:
        replayed = "the day is a replay of rejects, " if then.replayed else ""
        found.others.append(f"{replayed}the device that was asked for, or the scorer's own code, differs")
    return found


def restating(job: Job, wanted: Plan, last: Receipt | None, restate: Restate | None) -> Plan:
    """The plan of a day that would be published anew, with what it replaces.

    Raises:
        Closed: the day is closed, and this is no restatement.
        Broken: it is one, and the day was never published.
        NotYet: another run is publishing the day.
    """
    closes = job.spec.close or (last is not None and last.closed)
    if closes or restate:
        _refuse_half_published(job, wanted, last)
    if restate is None:
        if last and closes:
            raise _closed(job, wanted, last)
        return wanted
    if not (restate.because.strip() and restate.by.strip()):
        raise Broken(f"job {job.name}: a restatement says why and by whom; the receipt keeps both")
    if last is None:
        raise Broken(f"job {job.name}: {wanted.day} is not published, so there is nothing to restate")
    return dataclasses.replace(wanted, restate=restate, replaces=last.run_id)


def _refuse_half_published(job: Job, wanted: Plan, last: Receipt | None) -> None:
    """Know that the files which the plan may replace are those of the receipt in force.

    Otherwise a run that has committed its first table, and no receipt yet, could be replaced by a plain one
    although its day is about to be closed. From here on the commit itself refuses another state of the day.
    """
    seen = {delta.run_of(Path(name)) for name in wanted.seen}
    if seen == ({last.run_id} if last else set()):
        return
    some = run_folder.folders(job.workspace, job.name, as_day(wanted.day))
    if any(run.publication.exists() and not run.finished for run in some):
        raise NotYet(
            f"job {job.name}: a run has begun to publish {wanted.day} and has not ended; the next run of the "
            "day completes it"
        )


def _closed(job: Job, wanted: Plan, last: Receipt) -> Closed:
    differ = differences(wanted, last).sentences()
    why = "and its causes are others now" if differ else (
        "its causes are the same, and neither --force nor a table that was rolled back opens it"
    )  # fmt: skip
    when = f" at {last.published_at:%Y-%m-%d %H:%M} UTC" if last.published_at else ""
    return Closed(
        "\n  ".join(
            [
                f"job {job.name}: {wanted.day} is closed: run {last.run_id} published it{when}, {why}; "
                "nothing is written",
                *differ,
                f"to publish it anew beside what was reported: `nightscore run {job.name} --day {wanted.day} "
                "--restate --because TEXT`",
            ]
        )
    )


def _others(now: Plan, then: Receipt) -> Iterator[str]:
    if now.job_hash != then.job_hash:
        yield (f"the job (its SQL or job.yaml): hash {then.job_hash[:16]} -> {now.job_hash[:16]}")
    model = then.model
    if model is None or model.sha256 != now.model_sha256:
        old = f"{model.path} {model.sha256[:16]}" if model else "none"
        yield (f"the model: {old} -> {now.model_path} {now.model_sha256[:16]}")
    yield from _challengers(now, then)
    for name in sorted(now.params.keys() | then.params.keys()):
        if now.params.get(name) != then.params.get(name):
            yield (f"the parameter {name}: {then.params.get(name)!r} -> {now.params.get(name)!r}")
    if now.known_at != then.known_at:
        yield f"what was known: {_moment(then.known_at)} -> {_moment(now.known_at)}"


def _challengers(now: Plan, then: Receipt) -> Iterator[str]:
    was = {one.path: one.sha256 for one in then.challengers}
    for one in now.challengers:
        if was.get(one.path, one.sha256) != one.sha256:
            yield f"the challenger {one.path}: {was[one.path][:16]} -> {one.sha256[:16]}"


def _moment(known_at: str) -> str:
    return f"by {known_at}" if known_at else "all rows"


def _some(paths: Sequence[str]) -> str:
    more = f", and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
    return ", ".join(paths[:SHOWN]) + more
