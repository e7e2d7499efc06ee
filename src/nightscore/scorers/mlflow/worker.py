"""What scores a model of MLflow in a process of its own: run as a file, by the Python that has its libraries.

It imports nothing of ours, so that it runs wherever mlflow, pandas and pyarrow are. What the parent says
comes through stdin, in frames of a length (8 bytes) and as many bytes: a greeting (JSON), the model's files,
then a chunk after the other, each an Arrow stream. It ends with its parent, however that ends, and takes its
copy of the model and the processes that the model has started with it. The model itself sees neither pipe.
"""

import atexit
import contextlib
import json
import os
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Any, BinaryIO

LOOK = 0.5  # seconds between looks at whether the parent is there
PREDICTION = "prediction"


class Unlike(Exception):
    """The model gives what is no column of as many rows."""


def main() -> None:
    """Load the model that the parent sends, and score chunks until it ends."""
    parent = os.getppid()
    asked, answers = _pipes()
    with contextlib.suppress(BrokenPipeError, EOFError):  # the parent has ended, or wants no more
        _serve(asked, answers, parent)


def _pipes() -> "tuple[BinaryIO, BinaryIO]":
    """The pipes of the parent, taken out of the model's reach.

    What it prints is no answer, what it reads is nothing. A process that it forks has neither: two that
    answer would give a chunk the scores of the one before.
    """
    asked, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.register_at_fork(after_in_child=asked.close)
    os.register_at_fork(after_in_child=answers.close)
    return asked, answers


def _serve(asked: BinaryIO, answers: BinaryIO, parent: int) -> None:
    greeting = json.loads(_read(asked))
    folder = greeting["folder"]
    atexit.register(_leave, os.getpid(), parent, folder)  # the last one, after those of the model
    threading.Thread(target=_end_with, args=(parent, folder), daemon=True).start()
    for path in greeting["files"]:
        _write(Path(folder, path), _read(asked))
    try:
        predict = _load(folder, greeting["matrix"])
        said: dict[str, Any] = {"versions": _versions(greeting["packages"])}
    except (Exception, SystemExit) as error:
        said = {"error": _shown(error)}
    _send(answers, json.dumps(said).encode())
    while "error" not in said:
        _answer(predict, _read(asked), answers)


def _answer(predict: Any, chunk: bytes, answers: BinaryIO) -> None:
    """Score one chunk, and say what came of it."""
    try:
        given = predict(chunk)
    except (Exception, SystemExit) as error:
        _send(answers, json.dumps({"error": _shown(error)}).encode())
        return
    _send(answers, b"{}")
    _send(answers, given)


def _load(folder: str, matrix: str) -> Any:
    """What makes of a chunk, an Arrow stream, the stream of what the model gives for it."""
    import mlflow.pyfunc
    import pyarrow as pa

    model = mlflow.pyfunc.load_model(folder)

    def predict(chunk: bytes) -> bytes:
        table = pa.ipc.open_stream(chunk).read_all()
        frame = table.to_pandas()
        given = model.predict(frame.to_numpy(matrix) if matrix else frame)
        batch = pa.RecordBatch.from_pydict(_columns(given, table.num_rows))
        out = pa.BufferOutputStream()
        with pa.ipc.new_stream(out, batch.schema) as stream:
            stream.write_batch(batch)
        return bytes(out.getvalue())

    return predict


def _columns(given: Any, rows: int) -> "dict[str, Any]":
    """What a model gives, as columns of Arrow by name; what has no name is `prediction`."""
    if isinstance(given, dict):
        return {str(name): _array(values, rows) for name, values in given.items()}
    if type(given).__name__ == "DataFrame":
        _refuse_index(given, rows)
        names = [str(name) for name in given.columns]
        if len(set(names)) < len(names):
            raise Unlike(f"gives two columns of one name: {', '.join(names)}")
        return {name: _array(given.iloc[:, i], rows) for i, name in enumerate(names)}
    return {PREDICTION: _array(given, rows)}


def _array(values: Any, rows: int) -> Any:
    import pyarrow as pa

    kind = type(values).__name__
    if kind == "Series":
        _refuse_index(values, rows)
    elif kind not in ("ndarray", "list"):
        raise Unlike(f"gives {kind}; allowed: a NumPy array, a Series, a DataFrame, a list, a dict of them")
    if len(values) != rows:
        raise Unlike(f"gives {len(values)} rows for {rows} rows")
    if kind == "ndarray" and values.ndim > 1:
        wide = values.reshape(rows, -1)
        return pa.FixedSizeListArray.from_arrays(pa.array(wide.reshape(-1)), wide.shape[1])
    array = pa.array(values, from_pandas=True)
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _refuse_index(given: Any, rows: int) -> None:
    """Rows under other labels than those of the frame may be in another order."""
    if list(given.index) != list(range(rows)):
        shown = ", ".join(repr(label) for label in list(given.index)[:5])
        raise Unlike(f"gives rows with another index than they came with, 0 to {rows - 1}: {shown}")


def _versions(packages: "list[str]") -> "dict[str, str]":
    """Package -> the version of it here; empty if it is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = ""
    return found


def _shown(error: BaseException) -> "dict[str, Any]":
    """An error as the parent raises it again."""
    kinds = {"unlike": Unlike, "memory": MemoryError, "import": ImportError, "os": OSError}
    kind = next((kind for kind, of in kinds.items() if isinstance(error, of)), "rows")
    name = "" if kind == "unlike" else f"{type(error).__name__}: "
    try:
        text = str(error)
    except Exception:  # the model's own classes may fail at that
        text = "it has no text"
    return {"kind": kind, "text": f"{name}{text:.2000}", "errno": getattr(error, "errno", None)}


def _end_with(parent: int, folder: str) -> None:
    """End when the parent has, whatever is computed meanwhile."""
    while os.getppid() == parent:
        time.sleep(LOOK)
    _leave(os.getpid(), parent, folder)
    os._exit(1)


def _leave(own: int, parent: int, folder: str) -> None:
    """Take the copy away and, where no parent is left to do so, end what the model has started, too."""
    if os.getpid() != own:  # a forked process ends
        return
    shutil.rmtree(folder, ignore_errors=True)
    if os.getppid() != parent and os.getpgrp() == own:
        os.killpg(own, signal.SIGKILL)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _read(stream: BinaryIO) -> bytes:
    size = int.from_bytes(_exactly(stream, 8), "big")
    return _exactly(stream, size)


def _exactly(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return data


def _send(stream: BinaryIO, data: bytes) -> None:
    stream.write(len(data).to_bytes(8, "big"))
    stream.write(data)
    stream.flush()


if __name__ == "__main__":
    main()
