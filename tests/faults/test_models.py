"""Rows 19, 20: a model that is missing, damaged, of another shape or type: broken before a row is read."""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from nightscore import Broken, load, run
from tests.behaviour.conftest import ROWS
from tests.behaviour.world import DAY, TABLES, Truth, ours, staged
from tests.faults.damage import SEED, TIMES, each_apart, outcome, said
from tests.support.workspace import linear_model

MODEL = "data/models/linear.onnx"


def with_type(kind: int, array: type, width: int = 2) -> Callable[[Path], None]:
    """A model X[n, width] @ W -> y in another type."""

    def write(path: Path) -> None:
        x = helper.make_tensor_value_info("X", kind, [None, width])
        y = helper.make_tensor_value_info("y", kind, [None, 1])
        w = numpy_helper.from_array(np.ones((width, 1), array), "W")
        graph = helper.make_graph([helper.make_node("MatMul", ["X", "W"], ["y"])], "g", [x], [y], [w])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        model.ir_version = 9
        path.write_bytes(model.SerializeToString())

    return write


BAD: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a text": lambda path: path.write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    ),
    "of small integers": with_type(TensorProto.INT8, np.int8),
    "one column too wide": lambda path: linear_model(path, (1.0, 2.0, 3.0), ("a", "b", "c")),
    "without the names of its columns": with_type(TensorProto.FLOAT, np.float32, 3),
    "with a column that is not there": lambda path: linear_model(path, (1.0, 2.0), ("a", "z")),
}


@pytest.mark.parametrize("spoil", [pytest.param(act, id=name) for name, act in BAD.items()])
@pytest.mark.sample(3)
def test_a_model_that_does_not_fit_is_broken_before_a_row_is_read(
    published: Path, spoil: Callable[[Path], object]
) -> None:
    """Row 19 (P6, P9): named in one message, nothing staged, the published day as it was."""
    before = staged(published)
    spoil(published / MODEL)
    with pytest.raises(Broken) as caught:
        run(load("mini", published), DAY)
    assert "linear.onnx" in str(caught.value) or "model" in str(caught.value)
    assert staged(published) == before
    assert all(ours(published, name).is_(Truth(ROWS), name) for name in TABLES)


def opened(data: bytes, root: Path) -> str:
    """A night with other bytes in place of the model: what comes of it."""
    (root / MODEL).write_bytes(data)
    return outcome(lambda: run(load("mini", root), DAY, limit=5).status)


def mutated(good: bytes, count: int) -> list[bytes]:
    """Models with some bytes flipped, cut out, doubled, or cut short; seeded."""
    print(f"FAULTS_SEED={SEED}")  # noqa: T201 - pytest shows it where the test fails
    chance, found = random.Random(SEED), []  # noqa: S311
    for _ in range(count * TIMES):
        data = bytearray(good)
        at, length = chance.randrange(len(data)), chance.randrange(1, 9)
        match chance.randrange(4):
            case 0:
                data[at] ^= 1 << chance.randrange(8)
            case 1:
                del data[at : at + length]
            case 2:
                data[at:at] = data[at : at + length]
            case _:
                del data[at:]
        found.append(bytes(data))
    return found


def test_a_damaged_model_is_a_model_or_broken(published: Path) -> None:
    """Row 19 (P9): any bytes; what crashes a native parser ends its process alone, and is seen."""
    found = list(each_apart(opened, mutated((published / MODEL).read_bytes(), 16), published))
    assert said(found, "Broken", "preview", "killed by signal") == []
    assert all(
        "linear.onnx" in answer or "mini" in answer for _, answer in found if answer.startswith("Broken")
    )
