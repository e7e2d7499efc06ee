"""The command `nightscore`: where it starts, and how it ends."""

import gc
import json
import os
import sys
import traceback
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated

from cyclopts import App, CycloptsError, Group, Parameter

import nightscore
from nightscore.cli import (
    approve,
    cases,
    deliver,
    evaluate,
    forget,
    history,
    maintain,
    night,
    nights,
    published,
    rename,
    run,
    start,
    watch,
)
from nightscore.cli.options import Misuse, chosen
from nightscore.cli.output import open_streams, print_document, print_error
from nightscore.common import (
    WORKSPACE_VARIABLE,
    Broken,
    NightscoreError,
    NotYet,
    calls_left_running,
    exit_on_signals,
)

USAGE = 2
GARBAGE_AFTER = 20_000  # objects; the number after which Python looks for garbage is 700 by itself
ACTS = (
    "init",
    "new",
    "dags",
    "run",
    "score",
    "backfill",
    "night",
    "watch",
    "release",
    "discard",
    "replay-rejects",
    "repair",
    "evolve",
    "redeliver",
    "withdraw",
    "promote",
    "warm",
    "bakeoff",
    "gc",
    "drop-table",
    "drop-job",
    "rename-job",
    "rename-table",
    "forget",
    "report",
    "dossier",
)
asked: ContextVar[str] = ContextVar("asked", default="")  # the command of this call
HELP = """Score a day of rows with a model, publish it atomically, and prove what was published.

A workspace is a folder with `jobs/**/job.yaml` and `data/`. `nightscore init DEMO` makes one that runs;
in one that is there, start with `nightscore jobs`.

Exit codes: 0 published or unchanged; 1 broken (retrying won't help); 75 not yet (try again later);
2 usage; 130 and 143 stopped by SIGINT and SIGTERM.
"""


def paragraphs(text: str | None) -> str:
    """A docstring with each paragraph on one line, for the terminal to break where it is wide."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in (text or "").split("\n\n"))


# Plain text: to show Markdown takes a tenth of a second to import.
app = App(
    name="nightscore",
    help=paragraphs(HELP),
    version=lambda: nightscore.__version__,
    version_flags=["--version"],
    help_on_error=False,
    help_format="plaintext",
)
app.meta.group_parameters = "Global options"

GROUPS = {  # by what one wants to do, in the order of the help
    "Begin": (start.init, start.new, start.schema, start.dags),
    "Run days": (run.jobs, run.check, cases.test, run.plan, run.run, run.backfill, night.night),
    "See how nights went": (nights.runs, nights.missing, watch.watch),
    "Read what is published": (
        published.tables, published.query, published.receipts, published.report, published.dossier,
    ),
    "Prove it, and look again": (
        published.verify, published.why, history.late, history.recheck, history.diff,
    ),
    "Decide on days that are held, and rows set aside": (
        approve.held, approve.release, approve.discard, approve.rejects, approve.replay_rejects,
    ),
    "Follow what was delivered": (deliver.deliveries, deliver.redeliver, deliver.withdraw),
    "Compare models": (evaluate.bakeoff, evaluate.judge, evaluate.promote),
    "Change, mend and remove": (
        approve.evolve, approve.repair, approve.hand_over, rename.rename_job, rename.rename_table,
        maintain.drop_table, maintain.drop_job, forget.forget, maintain.gc,
    ),
    "Look after the machine": (maintain.doctor, maintain.hardware, maintain.warm),
}  # fmt: skip
groups = [Group(title, sort_key=number) for number, title in enumerate(GROUPS)]
for group, commands in zip(groups, GROUPS.values(), strict=True):
    for command in commands:
        app.command(command, help=paragraphs(command.__doc__), group=group)
app.command(run.score, help=paragraphs(run.score.__doc__), show=False)  # between machines, for no person
storage = App(
    name="storage", help="Bring data/ to where NIGHTSCORE_ROOT_DATA says.", help_format="plaintext",
    group=groups[-1],
)  # fmt: skip
storage.command(maintain.copy, help=paragraphs(maintain.copy.__doc__))
app.command(storage)
app.register_install_completion_command(
    help="Have bash, zsh or fish complete commands and options; says which file it writes.", group=groups[-1]
)


@app.meta.default
def _launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    workspace: Annotated[
        Path | None,
        Parameter(
            env_var=WORKSPACE_VARIABLE,
            help="The folder that holds jobs/ and data/; default: the current folder.",
        ),
    ] = None,
) -> int:
    chosen.set(workspace)
    asked.set(tokens[0] if tokens else "")
    if not tokens:
        app.help_print([])
        return 0
    return int(app(tokens, exit_on_error=False, print_error=False, result_action="return_value") or 0)


def main() -> None:
    """Run the command line; every failure is one message and an exit code."""
    # What imports make is no garbage: to look through it 500 times takes 0.4 s of processor time.
    gc.set_threshold(GARBAGE_AFTER)
    output = open_streams()
    exit_on_signals("--json" in sys.argv[1:])
    code = call(sys.argv[1:])
    sys.stdout.flush()
    if output.problem and not isinstance(output.problem, BrokenPipeError):
        code = _untold(code, output.problem)
    if calls_left_running():  # to end as usual, the interpreter would take a model's memory from under it
        os._exit(code)
    # Threads that wait for a signal, or a library's own, must not keep a finished command.
    sys.exit(code)


def _untold(code: int, problem: OSError) -> int:
    """The exit code where standard output could not be written: of what was done it stays as it is."""
    if asked.get() in ACTS:
        said = "what was done is done, and the exit code is its own"
        print_error("warning", RuntimeError(f"standard output can't be written: {problem}; {said}"))
        return code
    print_error("not yet", RuntimeError(f"standard output can't be written: {problem}"))
    return code or NotYet.exit_code


def call(arguments: list[str]) -> int:
    """Run one command; returns its exit code."""
    try:
        return int(
            app.meta(arguments, exit_on_error=False, print_error=False, result_action="return_value") or 0
        )
    except CycloptsError as error:
        print_error("usage", error)
        print(
            "`nightscore --help` lists the commands, `nightscore COMMAND --help` explains one",
            file=sys.stderr,
        )
        return USAGE
    except NightscoreError as error:
        return _failed(arguments, error)
    except (OSError, MemoryError) as error:
        # The disk, the network or the memory of this moment; what was staged is kept.
        return _failed(arguments, NotYet(f"{type(error).__name__}: {error}"))
    except Exception as error:
        if os.environ.get("NIGHTSCORE_DEBUG"):
            traceback.print_exc()
        hint = "; NIGHTSCORE_DEBUG=1 shows where; please report it"
        return _failed(arguments, Broken(f"unexpected {type(error).__name__}: {error}{hint}"))


def _failed(arguments: list[str], error: NightscoreError) -> int:
    status = "not yet" if isinstance(error, NotYet) else "broken"
    print_error("usage" if isinstance(error, Misuse) else status, error)
    if "--json" in arguments:
        print_document(json.dumps({"status": status, "message": str(error)}, ensure_ascii=False))
    return error.exit_code
