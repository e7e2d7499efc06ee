"""What is in a closed day's input files: one of which only the time of change is another is the same cause.

Fingerprints go by size, time of change and footer, which are quick to read. A copy, a checkout or `touch`
gives the same bytes another time, and a footer says nothing of the pages before it. So the receipt of a
closed day holds the sha256 of each file that it read, and a run that finds another time reads it again.
"""

import dataclasses
import datetime as dt
from collections.abc import Mapping

from nightscore.common import file_sha256
from nightscore.job import Job, PathInput
from nightscore.store import InputFile, InputResult, Plan, Receipt, catalog, storage

Files = Mapping[str, tuple[InputFile, ...]]


def input_contents(job: Job, plan: Plan) -> Mapping[str, str]:
    """The sha256 of the files that a plan reads, by path: all of them where the day is closed with it.

    One that a receipt of the job has already, with the same fingerprint, is not read again: of a long
    lookback only the newest day is. Ask it where the inputs are held to their fingerprints.
    """
    if not plan.closes:
        return plan.sha256
    files = {file.path: file for input_files in plan.inputs.values() for file in input_files}
    known = dict(plan.sha256)
    whole = files.keys() - _dated(job, plan)
    for file in _read_before(job, dt.date.fromisoformat(plan.day)) if whole - known.keys() else ():
        if file.sha256 and file.path in whole and files[file.path].fingerprint == file.fingerprint:
            known.setdefault(file.path, file.sha256)
    return {path: known.get(path) or file_sha256(storage.locate(job.workspace, path)) for path in files}


def _dated(job: Job, plan: Plan) -> set[str]:
    """The files whose fingerprints are of their rows up to the day, and say nothing of the others."""
    sources = job.spec.inputs.items()
    names = [name for name, source in sources if isinstance(source, PathInput) and source.since]
    return {file.path for name in names for file in plan.inputs[name]}


def as_recorded(job: Job, files: Files, then: Receipt) -> Files:
    """The input files as a receipt knew them, where every byte of them is what it was; others as they are."""
    recorded = {file.path: file for file in then.inputs if file.sha256}
    return {
        name: tuple(_as_recorded(job, file, recorded.get(file.path)) for file in input_files)
        for name, input_files in files.items()
    }


def _as_recorded(job: Job, file: InputFile, then: InputResult | None) -> InputFile:
    if then is None or then.fingerprint == file.fingerprint or then.bytes != file.bytes:
        return file
    try:
        same = file_sha256(storage.locate(job.workspace, file.path)) == then.sha256
    except OSError:  # gone in this moment: whoever reads it next says so
        same = False
    return dataclasses.replace(file, fingerprint=then.fingerprint) if same else file


def _read_before(job: Job, day: dt.date) -> list[InputResult]:
    """What the job read on the day itself, and on the published days next to it."""
    state = catalog.read_catalog(job.workspace)
    days = sorted(when for name, when in state.in_force if name == job.name)
    near = sorted(days, key=lambda when: abs((dt.date.fromisoformat(when) - day).days))[:2]
    receipts = [state.in_force[job.name, when].read_receipt_or_reason() for when in near]
    return [file for receipt in receipts for file in receipt.inputs]
