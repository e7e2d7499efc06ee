"""Work of one page in a process of its own: a query, a report.

A process, because an interrupt isn't enough: DuckDB finishes the call of a function on one huge value first
(a minute was seen, and gigabytes beyond its own memory limit). What can't be interrupted can be killed; what
runs out of memory doesn't take Airflow's API server with it; and what draws charts brings a JavaScript
engine, which would stay in the server for good. The process has none of the server's environment, and so
none of its secrets.
"""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from nightscore.airflow.web.query_worker import LATER, MISTAKE
from nightscore.common import Broken, NightscoreError, NotYet

ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH")  # what a process inherits
STORAGE = ("AWS_", "GOOGLE_", "AZURE_", "NIGHTSCORE_", "HOME")  # how names begin of what opens a bucket

log = logging.getLogger(__name__)


def run_worker(
    question: dict[str, Any], seconds: float, late: NightscoreError, *, with_storage: bool = False
) -> bytes:
    """What the process of `query_worker` answers. It is killed after some seconds; then `late` is raised.

    `with_storage` lets it open the workspace's bucket: only of questions in which nobody's SQL is.

    Raises:
        Broken: it refuses, or it died.
        NotYet: the same may succeed later.
    """
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name in ENVIRONMENT or (with_storage and name.startswith(STORAGE))
    }
    try:
        completed = subprocess.run(  # noqa: S603 - this interpreter, a module of ours, the question on its input
            [sys.executable, "-P", "-m", f"{__package__}.query_worker"],
            input=json.dumps(question, default=str).encode(),
            env=inherited | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            cwd=Path("/"), capture_output=True, timeout=seconds, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise late from None
    message = completed.stderr.decode(errors="replace").strip()
    if completed.returncode == 0:
        return completed.stdout
    if completed.returncode in (MISTAKE, LATER):
        raise (Broken if completed.returncode == MISTAKE else NotYet)(message)
    log.error("the process of a page ended with %s: %s", completed.returncode, message)
    raise Broken(
        "its process died; it needed more than it may use, or has a fault (see the API server's log)"
    )
