"""Workspaces for whole nights: made once, copied for each test."""

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.behaviour.processes import night
from tests.behaviour.world import DAY, copy
from tests.support.workspace import JOB, make_workspace

ROWS = 2_000
MANY = 99_000  # three pieces
Build = Callable[..., Path]
SHARE = 8  # one in so many is run for each change
SAMPLE = {  # of those in a bucket, what the default suite has time for: a second each
    "test_again.py::test_a_second_run_writes_nothing[bucket]",
    "test_again.py::test_a_changed_cause_runs_again[bucket-the model file]",
    "test_held.py::test_a_person_sees_decides_and_is_told[bucket]",
    "test_held.py::test_gc_leaves_what_is_held[bucket]",
    "test_killed.py::test_a_night_killed_between_its_commits_is_old_or_new_as_a_whole[bucket-receipt]",
    "test_no_model.py::test_what_sql_makes_is_published_and_proven[bucket]",
    "test_outcome.py::test_a_night_that_is_killed_right_after_its_outcome_is_completed[bucket]",
    "test_own_scores.py::test_the_receipt_says_what_was_scored_again[bucket]",
    "test_owners.py::test_a_held_day_is_not_released_after_a_hand_over[bucket]",
    "test_policies.py::test_a_missing_day_can_be_skipped[bucket]",
    "test_rejects.py::test_a_replay_carries_no_damaged_row[bucket]",
    "test_verify.py::test_a_published_day_holds[bucket]",
    "test_verify.py::test_what_differs_is_named[bucket-a score]",
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each test is one on disk, under its own name, and one in a bucket."""
    if metafunc.definition.get_closest_marker("disk_only") is None:
        cases = [
            pytest.param("disk", id=pytest.HIDDEN_PARAM),
            pytest.param("bucket", marks=pytest.mark.bucket),
        ]
        metafunc.parametrize("storage", cases, indirect=True)


@pytest.hookimpl(tryfirst=True)  # before those that are not asked for are dropped by their marks
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of those in a bucket, some are of the default suite; those that have no meaning there are none.

    An eighth of the others, by their names, are of the slow tier, and so of each change's tests; the rest
    is what `make test-buckets` and `make faults` run beside them: all of it takes as long as all other tests.
    """
    dropped = []
    for item in items:
        if item.get_closest_marker("bucket"):
            if item.get_closest_marker("disk_only"):
                dropped.append(item)
            elif item.nodeid.removeprefix("tests/behaviour/") not in SAMPLE:
                item.add_marker(pytest.mark.slow)
                if zlib.crc32(item.nodeid.encode()) % SHARE:
                    item.add_marker(pytest.mark.rest)
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = [item for item in items if item not in set(dropped)]


@pytest.fixture(autouse=True)
def storage(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where the `data/` of a test's workspaces lies: `disk` or `bucket`."""
    if (kind := getattr(request, "param", "disk")) == "disk":
        yield kind
        return
    from tests.support.in_bucket import in_bucket

    for _ in in_bucket(request):
        yield kind


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _published(tmp_path_factory.mktemp("nights") / "published")


@pytest.fixture(scope="session")
def large_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _large(tmp_path_factory.mktemp("nights") / "large")


def _published(root: Path) -> Path:
    assert night(make_workspace(root, ROWS), DAY).status == "published"
    return root


def _large(root: Path) -> Path:
    assert night(make_workspace(root, MANY, days=(DAY,)), DAY).status == "published"
    return root


def copied(request: pytest.FixtureRequest, template: str, build: Callable[[Path], Path]) -> Path:
    """A workspace like a fixture's, which `build` made, to be written to; in a bucket it is built there.

    What is put into a bucket has another time of change, and so would be another cause.
    """
    target: Path = request.getfixturevalue("tmp_path") / "w"
    if request.getfixturevalue("storage") == "bucket":
        return build(target)
    return copy(request.getfixturevalue(template), target)


@pytest.fixture
def published(request: pytest.FixtureRequest) -> Path:
    """A workspace with `mini` published for DAY: 2,000 rows, weights (1, 2), n 10."""
    return copied(request, "template", _published)


@pytest.fixture
def large(request: pytest.FixtureRequest) -> Path:
    """The same with 99,000 rows in three pieces."""
    return copied(request, "large_template", _large)


@pytest.fixture
def fresh(tmp_path: Path) -> Build:
    """Makes a workspace in which nothing is published: `fresh(rows=…, job=…, days=…)`."""

    def build(rows: int = ROWS, job: str = JOB, **options: object) -> Path:
        return make_workspace(tmp_path / "w", rows, job, **options)  # type: ignore[arg-type]

    return build
