"""A day is planned, scored and published by one set of libraries: the one that its receipt names."""

import json
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from nightscore import load, run
from nightscore.common.workspace import open_workspace
from nightscore.store.documents.plan import plan_from_json
from nightscore.store.published.catalog import read_catalog
from tests.behaviour.conftest import ROWS
from tests.behaviour.processes import Fault, night
from tests.behaviour.test_verbs import ask, plan_it, publish_it, score_some
from tests.behaviour.world import DAY, TABLES, Truth, ours, receipts, staged, tree

LIBRARY = "duckdb"
NEW = Truth(ROWS, weights=(4.0, 1.0))


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """What makes a process believe that it has another version of a library: the library's metadata."""
    folder = tmp_path / "image" / f"{LIBRARY}-0.0.1.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {LIBRARY}\nVersion: 0.0.1\n")
    return folder.parent


def elsewhere(answers: Connection, image: Path, act: Callable[..., None], *values: Any) -> None:
    """Do what another process does, on a machine of another image; a NotYet is answered with its text."""
    from nightscore.common.errors import NotYet

    sys.path.insert(0, str(image))
    try:
        act(answers, *values)
    except NotYet as error:
        answers.send(str(error))


def run_it(answers: Connection, root: Path) -> None:
    receipt = run(load("mini", root), DAY)
    answers.send({"status": receipt.status, "run": receipt.run_id, "versions": dict(receipt.versions)})


def receipt_of(root: Path) -> Any:
    return next(iter(read_catalog(open_workspace(root)).in_force.values())).read_receipt()


@pytest.mark.slow
def test_no_step_is_taken_with_other_libraries_than_the_plan_names(published: Path, image: Path) -> None:
    """Score and publish say which library, both versions and what to do; here the same plan goes on."""
    NEW.write_model(published)
    text = ask(plan_it, published)
    there = plan_from_json(text).versions[LIBRARY]
    says = f"planned with other libraries than this process has: {LIBRARY} {there} (here: 0.0.1); plan again"
    before = tree(published / "data")
    assert says in ask(elsewhere, image, score_some, published, text, [0])
    assert tree(published / "data") == before, "nothing is staged"
    files = [file for _, file in ask(score_some, published, text, [0])]
    before = tree(published / "data")
    assert says in ask(elsewhere, image, publish_it, published, text, files)
    assert tree(published / "data") == before, "nothing is published"
    ask(publish_it, published, text, files)
    assert all(ours(published, name).is_(NEW, name) for name in TABLES)
    assert receipt_of(published).versions[LIBRARY] == there


def test_a_stopped_run_of_other_libraries_is_planned_again(published: Path, image: Path) -> None:
    """Stopped here and run elsewhere: a run of its own, with staged files of its own, and it publishes."""
    NEW.write_model(published)
    assert night(published, DAY, Fault("audit")).killed
    before = staged(published)
    found = ask(elsewhere, image, run_it, published)
    assert (found["status"], found["versions"][LIBRARY]) == ("published", "0.0.1")
    assert found["run"] not in {path.parts[-3] for path in before}
    assert {p.name for p in staged(published).keys() - before.keys()}.isdisjoint(p.name for p in before)
    assert before.items() <= staged(published).items(), "what was staged before is left as it was"
    assert all(ours(published, name).is_(NEW, name) for name in TABLES)


def test_a_run_that_was_publishing_is_completed_by_whatever_libraries(published: Path, image: Path) -> None:
    """All of it was proven and staged: its receipt goes on naming the libraries that scored it."""
    NEW.write_model(published)
    assert night(published, DAY, Fault("commit mini_scores")).killed
    assert ask(elsewhere, image, run_it, published)["status"] == "unchanged"
    assert len(receipts(published)) == 2
    assert receipt_of(published).versions[LIBRARY] != "0.0.1"


def test_a_published_day_is_unchanged_under_other_libraries(published: Path, image: Path) -> None:
    """An upgrade alone publishes nothing: the libraries are no cause of a day."""
    before = tree(published / "data")
    assert ask(elsewhere, image, run_it, published)["status"] == "unchanged"
    assert tree(published / "data") == before


def test_a_plan_of_one_library_more_or_less_is_refused_too(published: Path) -> None:
    """A plug-in that is here and was not there, or the other way round, can change a score's last bit."""
    NEW.write_model(published)
    plan = json.loads(ask(plan_it, published))
    less = {name: version for name, version in plan["versions"].items() if name != "numba"}
    for versions in (plan["versions"] | {"plugin": "1.0"}, less):
        text = json.dumps(plan | {"versions": versions})
        found = ask(elsewhere, published / "none", score_some, published, text, [0])
        [name] = versions.keys() ^ plan["versions"].keys()
        assert f"{name} {versions.get(name, 'not installed')} (here: " in found
