"""The kernel for light networks gives what ONNX Runtime gives, and what NumPy says in float64."""

import platform
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nightscore.scorers.errors import ChunkError
from nightscore.scorers.networks import network
from nightscore.scorers.networks.kernel import ROWS, Kernel
from nightscore.scorers.testing import check_scorer
from tests.scorers.networks.drawn import (
    ACTIVATIONS,
    BETWEEN,
    EDGES,
    FORMS,
    Drawn,
    chunk,
    drawn,
    names,
    numbers,
    opened,
)

TOLERANCE = 1e-5  # a job's own, if it says nothing: of auto's variants from ONNX Runtime's scores
LAYERS = st.lists(
    st.tuples(
        st.integers(1, 70), st.sampled_from(FORMS), st.sampled_from(BETWEEN),
        st.sampled_from(["", *ACTIVATIONS]),
    ),
    min_size=1, max_size=4,
)  # fmt: skip


def _rows(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    columns=st.integers(1, 50), layers=LAYERS, chances=st.booleans(), rows=st.integers(1, 3 * ROWS),
    seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_any_network(
    columns: int, layers: list[tuple[int, str, str, str]], chances: bool, rows: int, seed: int
) -> None:
    """Drawn layers, forms and activations, in any number of rows: ONNX Runtime's scores, and the truth."""
    made = drawn(columns, layers, seed, chances)
    ours, theirs = opened(made.model(), columns)
    assert ours.signature == theirs.signature
    x = _rows(rows, columns, seed)
    found = numbers(ours.score(chunk(x)))
    np.testing.assert_allclose(found, numbers(theirs.score(chunk(x))), rtol=TOLERANCE, atol=TOLERANCE)
    truth = made.truth(x)
    np.testing.assert_allclose(found, truth, rtol=1e-4, atol=1e-5 * np.maximum(1, np.abs(truth).max()))


@pytest.mark.parametrize("name", ["", *ACTIVATIONS])
def test_numbers_at_the_edges(name: str) -> None:
    """NaN, infinities, zeros of both signs, denormals and large numbers: each where ONNX Runtime has it."""
    made = Drawn(3, 1)
    made.add("Mul", np.float32(1))  # a step before the first layer, in which a lone -0.0 is kept
    made.add("MatMul", np.eye(3, dtype=np.float32))
    made.width = 3
    if name:
        made.activate(name)
    x = np.array(
        [[edge, *others] for edge in EDGES for others in ((0, 0), (1, -1), (edge, edge))], np.float32
    )
    x = np.concatenate([x, x[:, ::-1], np.roll(x, 1, axis=1)])
    ours, theirs = (numbers(scorer.score(chunk(x))) for scorer in opened(made.model(), 3))
    np.testing.assert_array_equal(np.isnan(ours), np.isnan(theirs))
    np.testing.assert_array_equal(ours[np.isinf(theirs)], theirs[np.isinf(theirs)])
    np.testing.assert_array_equal(np.signbit(ours[ours == 0]), np.signbit(theirs[ours == 0]))
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-7)


def test_a_nan_takes_only_its_own_row() -> None:
    """What is beside a row that has a NaN, an infinity or large numbers is as it was."""
    made = drawn(5, [(9, "gemm", "norm", "Relu"), (4, "gemm", "nothing", "Softmax")], 3)
    scorer, _ = opened(made.model(), 5)
    x = _rows(2 * ROWS + 3, 5)
    before = numbers(scorer.score(chunk(x)))
    x[[0, 70, 130]] = [[np.nan] * 5, [np.inf] * 5, [3e38] * 5]
    after = numbers(scorer.score(chunk(x)))
    others = np.setdiff1d(np.arange(len(x)), [0, 70, 130])
    np.testing.assert_array_equal(after[others], before[others])
    assert np.isnan(after[0]).all()


@pytest.mark.parametrize("last", ["", *ACTIVATIONS, "chances"])
def test_the_contract_of_scorers(last: str) -> None:
    """Any chunking, any order, several threads: not a bit differs."""
    layers = [
        (33, "gemm", "norm", "Tanh"),
        (6, "matmul and add", "scale", last if last in ACTIVATIONS else ""),
    ]
    scorer, _ = opened(drawn(7, layers, 5, last == "chances").model(), 7)
    x = _rows(5 * ROWS + 11, 7)
    x[::9, 2] = np.nan
    check_scorer(scorer, chunk(x))


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32 - 1), first=st.integers(0, 200), rows=st.integers(1, 300))
def test_a_rows_score_is_its_own(seed: int, first: int, rows: int) -> None:
    """Rows cut out anywhere, in any order, have the bits that they have among all others."""
    scorer, _ = opened(
        drawn(6, [(20, "gemm", "nothing", "Sigmoid"), (2, "gemm", "nothing", "")], 2).model(), 6
    )
    whole = chunk(_rows(600, 6))
    expected = numbers(scorer.score(whole))
    np.testing.assert_array_equal(
        numbers(scorer.score(whole.slice(first, rows))), expected[first : first + rows]
    )
    order = np.random.default_rng(seed).permutation(600)[:rows]
    np.testing.assert_array_equal(numbers(scorer.score(whole.take(pa.array(order)))), expected[order])


def test_columns_of_other_types_and_nulls() -> None:
    """Doubles, integers, decimals and nulls in slices become what they become in ONNX Runtime's matrix."""
    model = drawn(4, [(8, "gemm", "nothing", "Relu"), (1, "gemm", "nothing", "")], 1).model()
    x = _rows(300, 4)
    columns = [
        pa.array(x[:, 0].astype(np.float64) / 3), pa.array((x[:, 1] * 100).astype(np.int32)),
        pa.array([Decimal(f"{value:.4f}") for value in x[:, 2]], pa.decimal128(12, 4)),
        pa.array(x[:, 3], mask=x[:, 3] > 0.7),
    ]  # fmt: skip
    rows = pa.RecordBatch.from_arrays(columns, names(4)).slice(37, 201)
    ours, theirs = (numbers(scorer.score(rows)) for scorer in opened(model, 4, "y"))
    np.testing.assert_allclose(ours, theirs, rtol=TOLERANCE, atol=TOLERANCE)
    assert np.isnan(ours).any()
    broken = rows.set_column(1, "f1", pa.array([None, 1] * 100 + [2], pa.int64()))
    for scorer in opened(model, 4, "y"):
        with pytest.raises(ChunkError, match="'f1'"):
            scorer.score(broken)


def test_an_empty_chunk() -> None:
    """An empty chunk has no rows to score, and no rows come out."""
    scorer, _ = opened(drawn(3, [(2, "gemm", "nothing", "")], 1).model(), 3)
    found = scorer.score(chunk(np.zeros((0, 3), np.float32)))
    assert (found.num_rows, found.schema) == (0, scorer.signature.outputs)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="processors of another kind are not told apart so")
@pytest.mark.parametrize("last", [network.SOFTMAX, network.SIGMOID])
def test_the_same_bits_on_every_processor(last: int) -> None:
    """Compiled for those without AVX, without fused multiply-adds, with fewer registers, and for this one."""
    rng = np.random.default_rng(0)
    floats = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
    steps = [
        network.Step(network.MULTIPLY, 9, floats(9)),
        network.Step(network.DENSE, 40, floats(40), floats(9, 40)), network.Step(network.TANH, 40),
        network.Step(network.DENSE, 30, None, floats(40, 30)), network.Step(network.RELU, 30),
        network.Step(network.DENSE, 7, floats(7), floats(30, 7)), network.Step(last, 7),
    ]  # fmt: skip
    columns = list(floats(9, 2 * ROWS + 3))
    expected = Kernel(network.packed(9, steps))(columns, 2 * ROWS + 3)
    for processor in (("x86-64", ""), ("core2", ""), ("x86-64-v3", ""), ("x86-64-v3", "-fma")):
        found = Kernel(network.packed(9, steps), processor)(columns, 2 * ROWS + 3)
        np.testing.assert_array_equal(found.view(np.int32), expected.view(np.int32), err_msg=str(processor))
