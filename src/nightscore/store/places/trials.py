"""What trials of candidates leave in run folders on this machine, which are removed with the trial."""

from pathlib import Path
from typing import IO

from nightscore.common import replace_bytes
from nightscore.store.documents.plan import Plan, plan_from_json
from nightscore.store.places.run_folder import RunFolder


def write_plan(run: RunFolder, plan: Plan) -> Path:
    """Write the plan that a trial scores by; gives its file."""
    file = run.path.scratch() / "trial.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(plan.to_json())
    return file


def read_plan(file: Path) -> Plan:
    """The plan in the file of a trial. `ValueError` and its like where it is none."""
    return plan_from_json(file.read_text())


def open_log(run: RunFolder) -> IO[str]:
    """Open an empty file for what a trial's process writes to its standard error."""
    return (run.path.scratch() / "trial.log").open("w+")


def write_candidate(run: RunFolder, name: str, data: bytes) -> Path:
    """Write the model file of a candidate below the run that holds a trial's rows; gives its path."""
    file = run.path.scratch() / "candidates" / name
    replace_bytes(file, data)
    return file
