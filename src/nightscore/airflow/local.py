"""Airflow on this machine, for one person: `make airflow`, or `python -m nightscore.airflow.local --help`.

It starts `airflow standalone` in a session of its own, waits until all of it is healthy, says where it is,
and takes all of it down again. The web page is reachable from this machine alone.
"""

import argparse
import contextlib
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import TextIO

from nightscore.airflow.standalone import (
    GRACE_SECONDS,
    HOST,
    USER,
    Local,
    free_port,
    has_dags,
    healthy,
    hold_lock,
    is_free,
    refuse_ended,
    start_airflow,
)
from nightscore.common import WORKSPACE_VARIABLE, Broken, NightscoreError, open_workspace
from nightscore.job import load_all

PORT = 8080
PARTS = ("metadatabase", "scheduler", "dag_processor", "triggerer")
READY_SECONDS = 240.0  # a slow machine's; about 30 s is usual
SAMPLE = "retail_recommendations"
TRY = f"""
Try it: {{url}}/dags/{SAMPLE}
  1. Press Trigger, choose the day 2017-11-02, press Trigger. Some minutes later the day is published.
  2. Open the run: its tab Report shows what was scored. In the navigation, Nightscore has the tables.
  Triggering switches the DAG on, so the night that was due last runs, too. The sample has that day: 2017
  once more, as days that end yesterday. Other samples end when they ended, and so do their nights."""
ABOUT = """\
Airflow for the jobs of a workspace, on this machine and for you alone.

The first start makes a database (SQLite) in the home folder, which takes half a minute. DAGs are paused
until you trigger one or switch one on. Ctrl-C stops everything that was started; a second one does
so at once.

Variables AIRFLOW__... of your shell are not passed on, so that no other Airflow's database is touched; your
own settings go into airflow.cfg in the home folder.
"""


stopping = threading.Event()  # a signal came


def main(arguments: list[str] | None = None) -> int:
    """Start Airflow, wait for a signal, stop it; returns the exit code."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # A handler, so that Airflow starts with the default even where a script has SIGINT ignored.
        signal.signal(number, lambda *_: stopping.set())
    options = _parser().parse_args(arguments)
    try:
        workspace = open_workspace(options.workspace)
        check_plugin()
        home = (options.home or workspace.root / ".airflow").absolute()
        serve(Local(workspace, home, chosen_port(options.port)))
    except NightscoreError as error:
        say(f"broken: {error}", sys.stderr)
        return error.exit_code
    return 0


def serve(local: Local) -> None:
    """Run Airflow until a signal comes.

    Raises:
        Broken: it runs already from this home, or it ended by itself.
    """
    local.home.mkdir(parents=True, exist_ok=True, mode=0o700)  # passwords and keys lie there
    with hold_lock(local.home) as lock:
        say(f"Airflow {version('apache-airflow')} for the workspace {local.workspace.root}")
        if stopping.is_set():
            return
        say(f"Starting; its log is {local.log}")
        terminal = sys.stdin.isatty()  # where `make` leads its session, make alone is told that it has closed
        since = time.monotonic()
        with start_airflow(local, lock, stopping) as process:
            wait_until_ready(local, process)
            if not stopping.is_set():
                say(welcome(local, time.monotonic() - since))
            while not stopping.wait(1.0) and (sys.stdin.isatty() or not terminal):
                refuse_ended(local, process)
            say(f"Stopping: running tasks have {GRACE_SECONDS:.0f} s to end; Ctrl-C again ends them now")
            stopping.clear()  # the next signal hurries
        say("Stopped.")


def check_plugin() -> None:
    """Refuse to start where Airflow would not find the timetables: no DAG could be read then.

    Raises:
        Broken: the package is not installed, or was before it had the plugin.
    """
    if not any(point.name == "nightscore" for point in entry_points(group="airflow.plugins")):
        raise Broken(
            "Airflow does not find nightscore's plugin (entry point airflow.plugins: nightscore); "
            "install the package into the environment of Airflow: pip install -e '.[airflow]'"
        )


def chosen_port(port: int | None) -> int:
    """The port of --port, which must be free; without one the first free port from PORT on.

    Raises:
        Broken: the port is in use.
    """
    if port is not None and not is_free(port, HOST):
        raise Broken(f"port {port} is in use (by another Airflow?); name another with --port")
    return port if port is not None else free_port(PORT)


def wait_until_ready(local: Local, process: subprocess.Popen[bytes]) -> None:
    """Wait until every part is healthy and the DAGs are there, or until a signal comes; says what is there.

    Raises:
        Broken: Airflow ended, or took too long.
    """
    since = time.monotonic()
    missing = {part: partial(healthy, local, part) for part in PARTS} | {"DAGs": partial(has_dags, local)}
    while missing and not stopping.wait(0.5):
        refuse_ended(local, process)
        for name in [name for name, is_there in missing.items() if is_there()]:
            del missing[name]
            say(f"  {time.monotonic() - since:3.0f} s  {name}")
        if time.monotonic() - since > READY_SECONDS:
            raise Broken(f"no {', '.join(missing)} after {READY_SECONDS:.0f} s; look into {local.log}")


def welcome(local: Local, seconds: float) -> str:
    """What a person needs to know now."""
    jobs, broken = load_all(local.workspace)
    names = [job.name for job in jobs]
    lines = [
        f"\nAirflow is ready after {seconds:.0f} s.\n",
        f"  address   {local.url}",
        f"  user      {USER}",
        f"  password  {local.password}",
        f"  DAGs      {', '.join(names) or 'none: the workspace has no job yet'}",
        *(f"  broken    {error}" for error in broken),
    ]
    if SAMPLE in names:
        lines.append(TRY.format(url=local.url))
    return "\n".join((*lines, "\nCtrl-C stops it."))


def say(text: str, stream: TextIO | None = None) -> None:
    """A line for the person who started this; nobody may be there any more."""
    with contextlib.suppress(OSError):
        (stream or sys.stdout).write(f"{text}\n")
        (stream or sys.stdout).flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m nightscore.airflow.local",
        description=ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    option = parser.add_argument
    option("--port", type=int, help=f"of the web page; default: the first that is free from {PORT} on")
    option(
        "--home", type=Path, help="Airflow's database, log-in and logs; default: .airflow in the workspace"
    )
    option(
        "--workspace",
        type=Path,
        help=f"holds jobs/ and data/; default: ${WORKSPACE_VARIABLE}, else this folder",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
