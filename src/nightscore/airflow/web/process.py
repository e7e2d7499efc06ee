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
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nightscore.airflow.web.query_worker import LATER, MISTAKE
from nightscore.common import Broken, NightscoreError, NotYet

ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH")  # what a process inherits
STORAGE = (
    "AWS_",
    "GOOGLE_",
    "AZURE_",
    "MLFLOW_",
    "NIGHTSCORE_ROOT_",
    "NIGHTSCORE_SCRATCH",
    "HOME",
)  # how names begin of what opens a bucket

LOOK_SECONDS = 0.1  # between two looks whether anybody waits still

log = logging.getLogger(__name__)


class Cancelled(Broken):
    """A person has cancelled it, or has gone away."""


def run_worker(
    question: dict[str, Any], seconds: float, late: NightscoreError, gone: Callable[[], bool] = lambda: False,
    *, with_storage: bool = False,
) -> bytes:  # fmt: skip
    """What the process of `query_worker` answers. It is killed after some seconds; then `late` is raised.

    It is killed, too, as soon as `gone` says that nobody waits for it any more. `with_storage` lets it open
    the workspace's bucket: only of questions in which nobody's SQL is.

    Raises:
        Broken: it refuses, or it died.
        Cancelled: it was killed because of `gone`.
        NotYet: the same may succeed later.
    """
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name in ENVIRONMENT or (with_storage and name.startswith(STORAGE))
    }
    with subprocess.Popen(  # noqa: S603 - this interpreter, a module of ours, the question on its input
        [sys.executable, "-P", "-m", f"{__package__}.query_worker"],
        env=inherited | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        cwd=Path("/"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as worker:  # fmt: skip
        try:
            asked = json.dumps(question, default=str).encode()
            answer, said = _answer_of(worker, asked, time.monotonic() + seconds, late, gone)
        finally:
            worker.kill()  # of one that has ended nothing is left to kill
    message = said.decode(errors="replace").strip()
    if worker.returncode == 0:
        return answer
    if worker.returncode in (MISTAKE, LATER):
        raise (Broken if worker.returncode == MISTAKE else NotYet)(message)
    log.error("the process of a page ended with %s: %s", worker.returncode, message)
    raise Broken(
        "its process died; it needed more than it may use, or has a fault (see the API server's log)"
    )


def _answer_of(
    worker: "subprocess.Popen[bytes]", asked: bytes, end: float, late: NightscoreError,
    gone: Callable[[], bool],
) -> tuple[bytes, bytes]:  # fmt: skip
    """What a process has written when it has ended, and what it said on stderr."""
    once: list[bytes] = [asked]  # the question is handed over once; what was read is kept from call to call
    while True:
        try:
            wait = max(0.01, min(LOOK_SECONDS, end - time.monotonic()))
            return worker.communicate(once.pop() if once else None, timeout=wait)
        except subprocess.TimeoutExpired:
            if gone():
                raise Cancelled("the query was cancelled; nothing of it is shown") from None
            if time.monotonic() >= end:
                raise late from None
