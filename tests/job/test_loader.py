"""A job is read from its folder whole, or Broken says why; names are unique over a workspace."""

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nightscore.common.errors import Broken
from nightscore.common.workspace import Workspace
from nightscore.job.loader import Job, load, load_all, read_job
from tests.job.test_spec import TEXT
from tests.support.users import another_user
from tests.support.workspace import FEATURES, JOB, TOP


def add_job(root: Path, folder: str, text: str | bytes = JOB) -> Path:
    path = root / "jobs" / folder
    path.mkdir(parents=True, exist_ok=True)
    (path / "top.sql").write_text(TOP)
    (path / "features.sql").write_text(FEATURES)
    (path / "job.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def renamed(name: str, decision: str) -> str:
    return JOB.replace("job: mini", f"job: {name}").replace("mini_top", decision)


def test_a_job_is_its_folder(tmp_path: Path) -> None:
    """Spec and SQL are read; paths of the workspace are relative to its root."""
    add_job(tmp_path, "some/where/mini", JOB.replace("features: rows", "features: features.sql"))
    job = load("mini", tmp_path)
    assert (job.name, job.shown) == ("mini", "jobs/some/where/mini/job.yaml")
    assert (job.features_sql, dict(job.decide_sql)) == (FEATURES, {"mini_top": TOP})
    assert job.spec.tables == ("mini_scores", "mini_top")


def test_an_unknown_job_suggests_the_nearest(tmp_path: Path) -> None:
    """A misspelt name is answered with the name that was meant, another with all there are."""
    add_job(tmp_path, "a", renamed("prices", "prices_top"))
    add_job(tmp_path, "b", renamed("recommendations", "recommendations_top"))
    with pytest.raises(Broken, match=r"has no job 'recomendations'; did you mean recommendations\?$"):
        load("recomendations", tmp_path)
    with pytest.raises(Broken, match=r"has no job 'xyz'; its jobs: prices, recommendations$"):
        load("xyz", tmp_path)


def test_a_workspace_without_jobs_says_so(tmp_path: Path) -> None:
    """An empty jobs folder is no error of another kind."""
    (tmp_path / "jobs").mkdir()
    with pytest.raises(Broken, match=r"has no job 'mini'; its jobs: none$"):
        load("mini", tmp_path)
    assert load_all(Workspace(tmp_path)) == ([], [])


def test_a_broken_neighbour_does_not_keep_a_job_from_loading(tmp_path: Path) -> None:
    """One folder's mistake is that folder's: the other jobs are read, and the mistake is told."""
    add_job(tmp_path, "bad", "job: [\n")
    add_job(tmp_path, "mini")
    assert load("mini", tmp_path).name == "mini"
    jobs, broken = load_all(Workspace(tmp_path))
    assert [job.name for job in jobs] == ["mini"]
    assert [str(error).split(": ")[0] for error in broken] == ["jobs/bad/job.yaml:2"]


def test_a_job_that_cannot_be_read_is_found_by_its_folder(tmp_path: Path) -> None:
    """Whoever asks for a job whose job.yaml is broken hears what is broken, not that there is none."""
    add_job(tmp_path, "mini", "job: mini\nkey: [\n")
    with pytest.raises(Broken, match=r"^jobs/mini/job.yaml:3: not valid YAML"):
        load("mini", tmp_path)


UNREAD = "jobs/team/held_out/job.yaml: can't be read: Permission denied"
TWICE = "about: one\nabout: two\n"  # a key that stands twice: no YAML for us
UNREADABLE = {
    "its name can be seen": ("held", f"job: held_out\n{TWICE}", 3),
    "its name in quotes": ("held", f'{TWICE}job: "held_out"  # a comment\n', 2),
    "its folder has the name": ("held_out", f"job: [\n{TWICE}", 3),
}


@pytest.mark.parametrize(("folder", "text", "line"), UNREADABLE.values(), ids=UNREADABLE.keys())
def test_a_job_that_cannot_be_read_is_found_by_the_name_that_it_gives_itself(
    tmp_path: Path, folder: str, text: str, line: int
) -> None:
    """Its folder may have another name: the message is the file's own, with its line."""
    add_job(tmp_path, folder, text)
    add_job(tmp_path, "a", renamed("held", "held_top"))
    with pytest.raises(Broken, match=rf"^jobs/{folder}/job.yaml:{line}: "):
        load("held_out", tmp_path)
    assert load("held", tmp_path).shown == "jobs/a/job.yaml", "the one that can be read is meant"


def test_files_that_hide_their_name_are_told_with_what_is_wrong(tmp_path: Path) -> None:
    """Behind the hint about names: every job.yaml that can't be read, a line each; one of them may be it."""
    add_job(tmp_path, "a", renamed("prices", "prices_top"))
    add_job(tmp_path, "b", f"'job': held_out\n{TWICE}")
    add_job(tmp_path, "c", "abot: x\n")
    add_job(tmp_path, "d", "- job\n")
    add_job(tmp_path, "e", b"job\xff")
    with pytest.raises(Broken) as caught:
        load("held_out", tmp_path)
    start, *lines = str(caught.value).splitlines()
    assert start == f"workspace {tmp_path} has no job 'held_out'; its jobs: prices"
    told = [line.removeprefix("can't be read, and may be it: ") for line in lines]
    assert told[0] == "jobs/b/job.yaml:3: the key 'about' stands twice (first in line 2)"
    assert [one.split(": ")[0] for one in told] == [
        "jobs/b/job.yaml:3", "jobs/c/job.yaml:1", "jobs/d/job.yaml:1", "jobs/e/job.yaml"
    ]  # fmt: skip
    assert told[1].endswith("more)") and "is missing" in str(load_all(Workspace(tmp_path))[1][1])
    with pytest.raises(Broken, match=r"did you mean prices\?\ncan't be read"):
        load("price", tmp_path)


@pytest.mark.parametrize("mode", [0o000, 0o111, 0o444])
def test_a_job_in_a_folder_that_is_closed_is_not_missed(mode: int) -> None:
    """To this user: listings say that there is one, and a job that isn't found may be it."""
    root = Path(tempfile.mkdtemp())
    root.chmod(0o755)
    add_job(root, "a", renamed("prices", "prices_top"))
    closed = add_job(root, "team/held_out", renamed("held_out", "held_top"))
    try:
        closed.chmod(mode)
        with another_user():
            jobs, broken = load_all(Workspace(root))
            if mode == 0o111:  # a file of a known name can be read there
                assert ([job.name for job in jobs], broken) == (["prices", "held_out"], [])
                return
            assert [job.name for job in jobs] == ["prices"]
            assert [str(error) for error in broken] == [UNREAD]
            with pytest.raises(Broken, match=f"^{UNREAD}$"):
                load("held_out", root)
        closed.parent.chmod(mode)
        with another_user(), pytest.raises(Broken, match=r"(may be it: |^)jobs/team/.*: Permission denied$"):
            load("held_out", root)
    finally:
        closed.parent.chmod(0o755)
        closed.chmod(0o755)
        shutil.rmtree(root)


def test_a_schedule_is_not_held_against_tables_that_nobody_can_know(tmp_path: Path) -> None:
    """While a job.yaml can't be read, jobs after its tables go on; when it can be, a typo is told again."""
    add_job(tmp_path, "bad", f"job: bad\n{TWICE}")
    add_job(tmp_path, "good", renamed("good", "good_top") + "schedule: {after: [bad_top]}\n")
    add_job(tmp_path, "typo", renamed("typo", "typo_top") + "schedule: {after: [bad_topp]}\n")
    assert (load("good", tmp_path).name, load("typo", tmp_path).name) == ("good", "typo")
    jobs, [broken] = load_all(Workspace(tmp_path))
    assert [job.name for job in jobs] == ["good", "typo"]
    assert str(broken) == "jobs/bad/job.yaml:3: the key 'about' stands twice (first in line 2)"
    add_job(tmp_path, "bad", renamed("bad", "bad_top"))
    jobs, [broken] = load_all(Workspace(tmp_path))
    assert [job.name for job in jobs] == ["bad", "good"]
    assert "no other job publishes 'bad_topp'; did you mean bad_top?" in str(broken)


def test_a_job_after_a_table_that_nobody_publishes_is_broken(tmp_path: Path) -> None:
    """It would never run and nobody would be told; its own tables don't count, those of a broken job do."""
    add_job(tmp_path, "bad", renamed("bad", "bad_top").replace("key: [id]", "key: id"))
    add_job(tmp_path, "good", renamed("good", "good_top") + "schedule: {after: [bad_scores, bad_top]}\n")
    add_job(tmp_path, "typo", renamed("typo", "typo_top") + "schedule: {after: [good_topp]}\n")
    add_job(tmp_path, "self", renamed("self", "self_top") + "schedule:\n  after:\n    - self_top\n")
    assert load("good", tmp_path).name == "good"
    says = {
        "typo": r"jobs/typo/job.yaml:\d+: schedule.after.0: no other job publishes 'good_topp'; "
        r"did you mean good_top\?$",
        "self": r"schedule.after.0: no other job publishes 'self_top'; ",
    }
    for name, message in says.items():
        with pytest.raises(Broken, match=message):
            load(name, tmp_path)
    jobs, broken = load_all(Workspace(tmp_path))
    assert [job.name for job in jobs] == ["good"] and len(broken) == 3


def test_two_jobs_of_one_name_are_refused(tmp_path: Path) -> None:
    """Neither loads, and the list of all jobs has one of them."""
    add_job(tmp_path, "a")
    add_job(tmp_path, "b", renamed("mini", "other_top"))
    jobs, [broken] = load_all(Workspace(tmp_path))
    assert [job.shown for job in jobs] == ["jobs/a/job.yaml"]
    says = "job: job mini is also the name of jobs/a/job.yaml; names are unique: change one"
    assert str(broken) == f"jobs/b/job.yaml:1: {says}"
    with pytest.raises(Broken, match=r"job mini is also the name of jobs/[ab]/job.yaml"):
        load("mini", tmp_path)


@pytest.mark.parametrize("decision", ["mini_top", "mini_scores"])
def test_a_table_that_two_jobs_name_is_known_to_both(tmp_path: Path, decision: str) -> None:
    """Whose it is, is not for a job.yaml to say: who publishes asks that."""
    add_job(tmp_path, "a")
    add_job(tmp_path, "b", renamed("other", decision))
    jobs, broken = load_all(Workspace(tmp_path))
    assert not broken
    shared = {"mini": {decision: "jobs/b/job.yaml"}, "other": {decision: "jobs/a/job.yaml"}}
    assert {job.name: job.shared for job in jobs} == shared
    assert {name: load(name, tmp_path).shared for name in shared} == shared


SQL_FILES = {
    "not there": (None, "top.sql can't be read beside job.yaml: No such file or directory"),
    "empty": (b" \n", "top.sql is empty; it holds one SELECT"),
    "not UTF-8": (b"SELECT '\xff'", "top.sql is not UTF-8 text"),
}


@pytest.mark.parametrize(("raw", "says"), SQL_FILES.values(), ids=SQL_FILES.keys())
def test_a_sql_file_that_cannot_be_read(tmp_path: Path, raw: bytes | None, says: str) -> None:
    """The line of job.yaml that names the file, and why it can't be read."""
    folder = add_job(tmp_path, "mini")
    (folder / "top.sql").unlink()
    if raw is not None:
        (folder / "top.sql").write_bytes(raw)
    with pytest.raises(Broken) as caught:
        load("mini", tmp_path)
    assert str(caught.value) == f"jobs/mini/job.yaml:13: decide.mini_top: {says}"


def test_a_sql_file_that_leaves_the_workspace_is_refused(tmp_path: Path) -> None:
    """A symbolic link to a file elsewhere is not read as SQL."""
    secret = tmp_path / "secret"
    secret.write_text("SELECT 'secret'")
    folder = add_job(tmp_path / "space", "mini")
    (folder / "top.sql").unlink()
    (folder / "top.sql").symlink_to(secret)
    with pytest.raises(Broken, match=r"top.sql lies outside the workspace"):
        load("mini", tmp_path / "space")


def test_parameters_are_defaults_or_overrides(tmp_path: Path) -> None:
    """An override may be a value or a text; it is held to the parameter; an unknown name is refused."""
    add_job(tmp_path, "mini")
    job = load("mini", tmp_path)
    assert job.params() == {"n": 10}
    assert job.params({"n": "7"}) == job.params({"n": 7}) == {"n": 7}
    with pytest.raises(Broken, match=r"^parameter n of job mini: 'x' is no integer; allowed: integer >= 1"):
        job.params({"n": "x"})
    with pytest.raises(Broken, match=r"^parameter n of job mini: 101 is not allowed; allowed: integer >= 1"):
        job.params({"n": 101})
    with pytest.raises(Broken, match=r"^job mini has no parameter 'm'; its parameters: n$"):
        job.params({"m": 1})


def hash_of(root: Path, name: str, old: str, new: str, file: str = "job.yaml") -> str:
    folder = add_job(root, name)
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new))
    return read_job(folder / "job.yaml", Workspace(root)).hash


def test_the_hash_is_of_what_can_change_what_is_published(tmp_path: Path) -> None:
    """Spec and SQL count; texts for people, the schedule and comments don't (parameters count by value)."""
    plain = hash_of(tmp_path, "plain", "job: mini", "job: mini")
    assert hash_of(tmp_path, "a", "about: Rows", "about: All rows") == plain
    assert hash_of(tmp_path, "b", "owner: tests", "owner: others # and a comment") == plain
    assert hash_of(tmp_path, "c", "inputs:", "schedule: {after: [x]}\ninputs:") == plain
    assert hash_of(tmp_path, "d", "default: 10", "default: 11") == plain
    changes = {
        hash_of(tmp_path, "e", "keep: [a]", "keep: [b]"),
        hash_of(tmp_path, "f", "score: y", "value: y"),
        hash_of(tmp_path, "g", "partition: day", "partition: day, lookback: 2"),
        hash_of(tmp_path, "h", "score DESC", "score ASC", file="top.sql"),
        hash_of(tmp_path, "i", "as many as asked for", "as many as wanted"),
    }
    assert len(changes | {plain}) == 6


def outcome(root: Path, text: str | bytes) -> None:
    """Reading this text as a job.yaml gives a job, or Broken with a message that can be shown."""
    file = add_job(root, "full", text) / "job.yaml"
    try:
        assert isinstance(read_job(file, Workspace(root)), Job)
    except Broken as error:
        assert str(error).encode().startswith(b"jobs/full/job.yaml")
    load_all(Workspace(root))


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda t: t.encode("utf-8", "replace")))
@settings(max_examples=200)
@example(b"job: mini\n? {a: b}\n: c")
@example(b'"\\ud800": 1')
def test_any_file_is_a_job_or_broken(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    """No bytes in a job.yaml give an error of another kind."""
    outcome(tmp_path_factory.getbasetemp() / "any", raw)


PIECES = st.sampled_from(
    ["no", "~", "[]", "{}", "{a: b}", "[1, 2]", "010", "1.5", "2020-01-01", "12:30:00", ".nan", "'x'", "&a b",
     "*a", "!!set {x}", "- x", "\t", "x: y", "\"\\ud800\"", "9" * 30, "|", "rows", "day", "scores", "true"]
)  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A valid job.yaml, a few lines of which were changed, moved, dropped or doubled."""
    lines = [line.partition(" #")[0].rstrip() for line in TEXT.splitlines()]
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(lines) - 1))
        key, colon, _ = lines[at].partition(":")
        doubled, indented = [lines[at], lines[at]], ["  " + lines[at]]
        valued = [f"{key}{colon} {draw(PIECES)}"]
        renamed_key = [lines[at].replace(key.strip(), draw(PIECES))] if key.strip() else ["x: y"]
        lines[at : at + 1] = draw(st.sampled_from([[], doubled, indented, valued, valued, renamed_key]))
    return "\n".join(lines)


@given(mutated())
@settings(max_examples=200)
def test_any_change_of_a_job_is_a_job_or_broken(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """Whatever is wrong with a nearly right job.yaml, it is told as Broken."""
    outcome(tmp_path_factory.getbasetemp() / "mutated", text)
