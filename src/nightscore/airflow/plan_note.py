"""The plan as one task hands it to the next: without its files and pieces, which lie in the run's folder.

A plan of hundreds of files is hundreds of kilobytes, and what goes through XCom lies in Airflow's database.
So there goes what names the run, and what this try has decided anew; the rest is read from `plan.json`, in a
bucket as on disk. A plan that was handed on whole, by a version before, is taken as it is.

Light to import: what is heavy is imported where it is used.
"""

import dataclasses

from nightscore.common import NotYet, Workspace
from nightscore.store import Plan, plan_from_json

KEPT = ("inputs", "sha256", "pieces", "seen", "ignored")  # grow with the files, and are a run's at each try


def note_of(plan: Plan) -> str:
    """What of a plan is handed on, as JSON text; `read_noted_plan` makes a plan of it."""
    return dataclasses.replace(plan, inputs={}, sha256={}, pieces=(), seen=(), ignored={}).to_json()


def read_noted_plan(workspace: Workspace, text: str) -> Plan:
    """The plan that a note stands for.

    An `unchanged` or `skipped` plan has no folder: it stays without its files, which nobody asks for.

    Raises:
        NotYet: the run's folder has it no more, or another one; the day is to be planned again.
    """
    from nightscore.store import run_folder

    plan = plan_from_json(text)
    if plan.status not in ("score", "carry") or plan.pieces:
        return plan
    place = run_folder.folder_of_plan(workspace, plan).plan
    try:
        kept = run_folder.read_plan(place)
    except FileNotFoundError:
        kept = None
    if kept is None or (kept.run_id, kept.fingerprint) != (plan.run_id, plan.fingerprint):
        raise NotYet(f"job {plan.job}, day {plan.day}: {place} has no such plan; plan the day again")
    return dataclasses.replace(plan, **{name: getattr(kept, name) for name in KEPT})
