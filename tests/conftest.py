"""Settings of all tests."""

import atexit
import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.support.tiers import read_long_tests, read_rest_cases

if TYPE_CHECKING:
    from tests.support.s3 import Server
    from tests.support.s3_proxy import Proxy

HERE = Path(__file__).parent

# A busy machine makes an example slow, not wrong.
settings.register_profile("nightscore", deadline=None)
settings.load_profile("nightscore")


RUNNERS = {
    ("", "nightscore.pipeline.executors"),
    ("", "nightscore.cli.main"),
    ("nightscore.pipeline.executors", "run"),
    ("nightscore.pipeline.executors", "backfill"),
    ("nightscore.pipeline.executors", "Threads"),
    ("nightscore.cli.main", "call"),
    ("nightscore.pipeline.steps", "plan_day"),
    ("tests.behaviour.processes", "night"),
    ("tests.behaviour.processes", "start"),
}
LAKES = ("airflow", "behaviour", "e2e", "faults", "workspace")


def runs_jobs(path: Path, module: object) -> bool:
    """Whether a module's tests may run jobs: it lies beside whole lakes and nights, or has what runs one."""
    named = {(getattr(one, "__module__", ""), getattr(one, "__name__", "")) for one in vars(module).values()}
    return bool(RUNNERS & named) or path.relative_to(HERE).parts[0] in LAKES


LONG, KEPT = 12, 8  # cases: of a longer table so many are of the default suite


def leave_samples(items: list[pytest.Item]) -> None:
    """Of a long table of cases some stay, spread over it, or as many as `sample(n)` says; others are slow."""
    tables: dict[str, list[pytest.Item]] = {}
    for item in items:
        if not any(map(item.get_closest_marker, ("slow", "bucket"))):  # behaviour samples buckets
            tables.setdefault(item.nodeid.split("[")[0], []).append(item)
    for cases in tables.values():
        mark = cases[0].get_closest_marker("sample")
        most = min(mark.args[0] if mark else KEPT if len(cases) > LONG else len(cases), len(cases))
        kept = {round((len(cases) - 1) * one / max(most - 1, 1)) for one in range(most)}
        for place, item in enumerate(cases):
            if place not in kept:
                item.add_marker(pytest.mark.slow)


@pytest.hookimpl(tryfirst=True)  # before those that are not asked for are dropped by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What runs no job is of the unit tier: `make test-unit`. Most cases of long tables are slow."""
    long_tests, rest_cases = read_long_tests(), read_rest_cases()
    for item in items:
        if item.nodeid in rest_cases:
            item.add_marker(pytest.mark.rest)
            item.add_marker(pytest.mark.slow)
        if item.nodeid.split("[")[0] in long_tests:
            item.add_marker(pytest.mark.long)
            item.add_marker(pytest.mark.slow)
    leave_samples(items)
    found: dict[Path, bool] = {}
    for item in items:
        if item.path not in found:
            found[item.path] = runs_jobs(item.path, item.getparent(pytest.Module).obj)  # type: ignore[union-attr]
        if found[item.path]:
            item.add_marker(pytest.mark.runs)


def pytest_collection(session: pytest.Session) -> None:
    """Collect no garbage while everything is imported: each full collection looks at all that is there."""
    gc.disable()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Put what was imported by now, half a million objects, out of the collector's sight.

    Each full collection would go through them: a third of a second, several times in many tests.
    """
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Let the interpreter's own last collection see everything again."""
    gc.unfreeze()


def forget_hypothesis() -> None:
    """Take Hypothesis' callback from the collector, which outlives all modules and holds its own.

    Through it DuckDB's types were alive when its bindings looked, and told them as leaked.
    """
    gc.callbacks[:] = [one for one in gc.callbacks if "hypothesis" not in getattr(one, "__module__", "")]


atexit.register(forget_hypothesis)  # at the very end: a worker of pytest-xdist goes on after its session


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Server"]:
    """A real S3 server, of this process of tests."""
    from tests.support.s3 import start_server

    server = start_server(tmp_path_factory.mktemp("s3"))
    yield server
    server.kill()


@pytest.fixture(scope="session")
def azurite_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a server of Azure's kind, with the container; skipped where there is no such program."""
    from tests.support.azurite import running_azurite

    with running_azurite(tmp_path_factory.mktemp("azurite")) as port:
        yield port


@pytest.fixture
def proxy(s3_server: "Server") -> Iterator["Proxy"]:
    """What lets requests to the server through, counts them, and breaks those that it is told to."""
    from tests.support.s3_proxy import Proxy

    with Proxy(s3_server.port) as one:
        yield one


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: many tests wait, for servers and for processes of their own."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores + 1
