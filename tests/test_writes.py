"""All that writes below `data/` goes through modules of `store/`: by what the code says, and by what it does.

The first reads every module for calls that make, change, lock or remove files. The second runs nights and has
the interpreter say who opened what for writing.
"""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import nightscore
from tests.support.workspace import JOB, make_workspace

PACKAGE = Path(nightscore.__file__).parent
AT_HOME = (
    "store/",
    "common/files.py",
    "common/signals.py",
)  # the room; what it is made of; a signal's tidying up
TEMPLATES = "start/templates/"  # scripts and tests that a new workspace gets: no modules of ours

# Who writes elsewhere than below data/, by which means, and where.
ELSEWHERE = {
    "common/roots.py": ({"tempfile"}, "where the system's temporary folder is: nothing is written"),
    "evaluation/promote.py": ({"replace_text", "chmod"}, "job.yaml, below jobs/"),
    "evaluation/recipes/network.py": ({"tempfile"}, "a folder of the system's, for tools that want files"),
    "evaluation/recipes/graph.py": ({"onnx.save"}, "a model on its way through a tool, in that folder"),
    "evaluation/recipes/quantize.py": ({"onnx.save"}, "a model on its way through a tool, in that folder"),
    "exporting/catboost.py": ({"save_model", "tempfile"}, "a folder of the system's, read at once"),
    "exporting/model.py": (
        {"replace_bytes", "write_table"},
        "a model and its expected rows, where the training script says: no run's",
    ),
    "exporting/texts.py": (
        {"replace_bytes", "write_table", "tempfile"},
        "a model and its expected rows, where the training script says: no run's",
    ),
    "exporting/torch.py": ({"tempfile"}, "a folder of the system's, read at once"),
    "pipeline/cases/night.py": ({"tempfile"}, "a folder of the system's, in which a case is run"),
    "scorers/mlflow/process.py": ({"shutil", "tempfile"}, "a copy of a model in a folder of the system's"),
    "scorers/mlflow/worker.py": (
        {"os.open", "shutil", "mkdir", "write_bytes"},
        "that copy, for a process of its own; and /dev/null, in the place of its input",
    ),
    "start/new_files.py": (
        {"write_once", "write_bytes"},
        "files of a new workspace or job, where none is: its sample rows before any run reads them",
    ),
    "start/samples.py": ({"write_table"}, "sample rows as Parquet in memory"),
    "review/export.py": ({"write_table", "write_csv"}, "a query's result, to standard output"),
    "delivery/formats.py": (
        {"open", "ParquetWriter"},
        "a file in a folder of the system's, to be put in a root",
    ),
    "delivery/postgres_types.py": ({"write_csv"}, "rows as CSV in memory, on their way to a server"),
    "airflow/local.py": ({"mkdir"}, "the home of Airflow on this machine"),
    "airflow/standalone.py": (
        {"open", "fcntl", "truncate", "mkdir", "write_text", "chmod"},
        "log, lock and the command of its parts in that home",
    ),
    "airflow/web/kept.py": (
        {"tempfile", "shutil", "mkdir", "write_text", "touch"},
        "a folder of the system's, where results of queries are for some minutes",
    ),
    "airflow/web/query.py": ({"tempfile"}, "a folder of the system's, where a page's query spills"),
    "airflow/web/query_worker.py": (
        {"write_table", "replace"},
        "a query's result, to a pipe or such a folder",
    ),
    "cli/output.py": ({"os.open"}, "/dev/null, in the place of a stream that is closed"),
}

MODULES = {"shutil", "tempfile", "fcntl", "sqlite3"}  # whoever imports one of them writes
FILES = {
    "write_once",
    "write_text_once",
    "replace_text",
    "replace_bytes",
    "link_or_copy",
    "sync",
}  # of common/files
OS = {
    "link", "symlink", "rename", "renames", "replace", "remove", "unlink", "rmdir", "removedirs", "mkdir",
    "makedirs", "mkfifo", "truncate", "open", "chmod", "chown", "utime",
}  # fmt: skip
OF_MODULES = {"files": FILES, "os": {f"os.{name}" for name in OS}, "onnx": {"onnx.save"}, "np": {"np.save"}}
METHODS = {  # of paths, of open files, and of writers of files
    "write_text", "write_bytes", "mkdir", "touch", "unlink", "rmdir", "rename", "chmod", "hardlink_to",
    "symlink_to", "truncate", "write_table", "write_to_dataset", "write_dataset", "write_csv",
    "write_feather", "ParquetWriter", "tofile", "to_parquet", "to_csv", "save_model", "vacuum", "delete",
    "write_deltalake", "create_write_transaction",
}  # fmt: skip


def writers(tree: ast.AST) -> Iterator[str]:
    """What a module has that writes files."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            yield from imported(node)
        elif isinstance(node, ast.Call):
            yield from called(node)


def imported(node: ast.ImportFrom) -> Iterator[str]:
    """Names that write, from where they come."""
    if node.module in MODULES:
        yield str(node.module)
    names = {alias.name for alias in node.names}
    if node.module in ("nightscore.common", "nightscore.common.files"):
        yield from names & FILES
    if node.module == "os":
        yield from (f"os.{name}" for name in names & OS)


def called(node: ast.Call) -> Iterator[str]:
    """A call that writes: by its name, `open` with such a mode, or a path's `replace` of one argument."""
    function = node.func
    if isinstance(function, ast.Name):
        opens = function.id == "open" and opens_for_writing(node, 1)
        yield from ["open"] if opens else {function.id} & {"ParquetWriter", "write_table"}
    elif isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
        yield from of_name(node, function.value.id, function.attr)
    elif isinstance(function, ast.Attribute):
        yield from of_anything(node, function.attr)


def of_name(node: ast.Call, base: str, name: str) -> Iterator[str]:
    """A function of a module, or a method of what has a name."""
    if base in OF_MODULES:
        yield from {name, f"{base}.{name}"} & OF_MODULES[base]
    else:
        yield from of_anything(node, name)


def of_anything(node: ast.Call, name: str) -> Iterator[str]:
    """A method, whatever it is one of."""
    if name == "open" and opens_for_writing(node, 0):
        yield "open"
    elif name == "replace" and len(node.args) == 1 and not node.keywords:
        yield "replace"  # of a text it has two arguments, of a dataclass keywords
    yield from {name} & METHODS


def opens_for_writing(node: ast.Call, at: int) -> bool:
    modes = [*node.args[at : at + 1], *(k.value for k in node.keywords if k.arg == "mode")]
    return any(isinstance(m, ast.Constant) and set("wax+") & set(str(m.value)) for m in modes)


def found() -> dict[str, set[str]]:
    """Of each module outside the store what it has that writes."""
    modules = {path.relative_to(PACKAGE).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}
    every = {
        name: set(writers(ast.parse(path.read_text())))
        for name, path in modules.items()
        if not name.startswith((*AT_HOME, TEMPLATES))
    }
    return {name: means for name, means in every.items() if means}


def test_only_the_store_writes_below_data() -> None:
    """No other module has a means to write but the few that write elsewhere, each with a reason."""
    assert found() == {name: means for name, (means, _) in ELSEWHERE.items()}


WRITES = {
    "import shutil": "shutil",
    "from tempfile import mkdtemp": "tempfile",
    "from nightscore.common.files import byte_size, replace_text": "replace_text",
    "from os import rename": "os.rename",
    "os.unlink(path)": "os.unlink",
    "path.write_text(text)": "write_text",
    "path.parent.mkdir(parents=True)": "mkdir",
    "temporary.replace(path)": "replace",
    "path.open('w+')": "open",
    "open(path, mode='ab')": "open",
    "pq.write_table(table, path)": "write_table",
    "with pq.ParquetWriter(path, schema) as w: pass": "ParquetWriter",
    "files.link_or_copy(a, b)": "link_or_copy",
    "from nightscore.common import replace_text": "replace_text",
    "onnx.save(proto, path)": "onnx.save",
}
READS = (
    "path.open()",
    "open(path, 'rb')",
    "text.replace('a', 'b')",
    "dataclasses.replace(plan, limit=1)",
    "found.remove(1)",
    "moment.replace(tzinfo=UTC)",
    "from nightscore.common.files import file_sha256",
    "path.read_text()",
    "os.environ.get('X')",
    "run_folder.save(run, plan)",
)


@pytest.mark.parametrize("code", WRITES)
def test_the_reader_sees_what_writes(code: str) -> None:
    """Each means, as code says it."""
    assert list(writers(ast.parse(code))) == [WRITES[code]]


@pytest.mark.parametrize("code", READS)
def test_the_reader_takes_reading_for_reading(code: str) -> None:
    """What looks like it, and only reads or makes another value."""
    assert list(writers(ast.parse(code))) == []


WATCH = """
import atexit, json, os, sys
data, package, seen = os.path.realpath(sys.argv[1]) + "/data", sys.argv[2], set()
EVENTS = {"os.mkdir": 0, "os.rename": 1, "os.remove": 0, "os.rmdir": 0, "os.link": 1, "os.symlink": 1,
          "os.truncate": 0, "os.chmod": 0, "os.utime": 0, "shutil.rmtree": 0, "shutil.copyfile": 1}

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

def path_of(event, args):
    if event == "open":
        path, mode, flags = args
        return path if flags is not None and flags & WRITING else None
    return args[EVENTS[event]] if event in EVENTS else None

def watch(event, args):
    path = path_of(event, args)
    if path is None or isinstance(path, int):
        return
    if not os.path.realpath(os.fsdecode(path)).startswith(data):
        return
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(package) and "/common/" not in name:
            break
        frame = frame.f_back
    seen.add(("?" if frame is None else os.path.relpath(frame.f_code.co_filename, package), event))

sys.addaudithook(watch)
from nightscore.cli.main import call
for expected, *command in json.loads(sys.argv[3]):
    code = call([*command, "--workspace", sys.argv[1]])
    assert code == expected, (command, code)
sys.stderr.flush()
print("\\n" + json.dumps(sorted(seen)))
"""


def watched(root: Path, *commands: list[object]) -> set[tuple[str, str]]:
    """Who wrote below data/ while commands ran, and how: the innermost module that is none of `common/`.

    Before each command stands the exit code that it has to have.
    """
    args = [sys.executable, "-c", WATCH, str(root), str(PACKAGE), json.dumps(commands)]
    env = {**os.environ, "NIGHTSCORE_WORKSPACE": str(root)}
    done = subprocess.run(args, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr
    return {(name, event) for name, event in json.loads(done.stdout.splitlines()[-1])}


@pytest.mark.slow
@pytest.mark.runs
def test_what_is_written_below_data_while_nights_run_is_written_by_the_store(tmp_path: Path) -> None:
    """A run, one that is held and discarded, a report, what-ifs and gc."""
    job = JOB.replace("keep: [a]", "keep: [a]\npolicy: {bad_row: reject, max_rejected: 100%}")
    root = make_workspace(tmp_path / "w", rows=500, job=job)
    held = JOB.replace("job: mini", "job: held").replace("mini_top", "held_top")
    held = held.replace("SELECT count(*) = least", "SELECT count(*) > least")
    (root / "jobs/held").mkdir()
    (root / "jobs/held/job.yaml").write_text(held)
    (root / "jobs/held/top.sql").write_text((root / "jobs/mini/top.sql").read_text())
    day, who = ["--day", "2020-01-02"], ["--by", "tests", "--because", "a look"]
    seen = watched(
        root,
        [0, "run", "mini", *day],
        [0, "run", "mini", *day, "--force"],
        [1, "run", "held", *day],
        [0, "discard", "held", *day, *who],
        [0, "report", "mini", *day],
        [0, "late", "mini", "--since", "2020-01-01"],
        [0, "verify", "mini"],
        [0, "gc"],
    )
    assert {name.partition("/")[0] for name, _ in seen} == {"store"}, sorted(seen)
    assert {name for name, _ in seen} >= {
        f"store/{module}.py" for module in ("tables/staging", "storage/folder", "places/reports")
    }


@pytest.mark.runs
@pytest.mark.slow
def test_what_a_bake_off_writes_below_data_is_written_by_the_store(tmp_path: Path) -> None:
    """Candidates, trials, and the table of them."""
    root = make_workspace(tmp_path / "w", rows=500)
    seen = watched(root, [0, "bakeoff", "mini", "--day", "2020-01-02", "--rounds", "1", "--apply"])
    assert {name.partition("/")[0] for name, _ in seen} == {"store"}, sorted(seen)
    assert {name for name, _ in seen} >= {"store/places/trials.py", "store/places/reports.py"}
