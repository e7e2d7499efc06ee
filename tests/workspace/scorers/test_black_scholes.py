"""The workspace's Black-Scholes scorer: held to the ONNX graph, to QuantLib, to SciPy, and to itself."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
import pyarrow as pa
import pytest
import QuantLib
from scipy.special import log_ndtr

from nightscore.scorers import MissingValueError, ModelError, ModelFile, Options, check_scorer, open_scorer
from nightscore.scorers.registry import variants_of_kind
from nightscore.scorers.variant import Variant
from nightscore.scorers.workspace import load_scorer_module, read_scorer_file
from tests.workspace.finance.world import REPOSITORY

KIND = "scorers/black_scholes.py"
FILE = read_scorer_file(REPOSITORY / KIND, KIND)
bs: Any = load_scorer_module(FILE)
GRAPH = onnxruntime.InferenceSession(REPOSITORY / "data/models/finance/black_scholes.onnx")
NAMES = list(bs.OUTPUTS)
GRAPHED = NAMES[:6]  # what the graph gives, too
GRID = list(
    itertools.product(
        (1e-6, 1.0, 50.0, 100.0, 400.0, 1e6),
        (0.0, 1e-6, 0.5, 90.0, 99.999999, 100.0, 100.000001, 1000.0, 1e9),
        (-0.05, 0.0, 0.02, 0.25),
        (0.0, 1e-9, 1 / 365, 1.0, 30.0),
        (0.0, 1e-12, 0.01, 0.2, 3.0, 10.0),
        (1.0, -1.0),
    )
)
BASE = (100.0, 90.0, 0.02, 1.0, 0.3, 1.0)
ODD = [
    (*BASE[:i], value, *BASE[i + 1 :])
    for i in range(6)
    for value in (math.nan, math.inf, -math.inf, 0.0, -1.0)
    if not (i == 3 and value == -math.inf)
]


def opened(*outputs: str) -> Any:
    return open_scorer(KIND, None, Options({name: name for name in outputs or NAMES}), FILE)


def chunk_of(rows: Any) -> pa.RecordBatch:
    columns = np.asarray(rows, np.float64).T
    return pa.RecordBatch.from_arrays([pa.array(c) for c in columns], names=list(bs.INPUTS))


def scored(rows: Any) -> dict[str, Any]:
    found = opened().score(chunk_of(rows))
    return {name: found[name].to_numpy() for name in NAMES}


def by_graph(rows: Any) -> dict[str, Any]:
    columns = np.asarray(rows, np.float64).T
    feeds = {n: np.ascontiguousarray(c) for n, c in zip(bs.INPUTS, columns, strict=True)}
    return dict(zip(GRAPHED, GRAPH.run(GRAPHED, feeds), strict=True))


@pytest.mark.parametrize("rows", [GRID, ODD], ids=["grid", "nan, infinite, negative"])
@pytest.mark.parametrize("name", GRAPHED)
def test_it_is_the_graph(rows: Any, name: str) -> None:
    """Within 1e-9 of each output, relative above 1, over 12,960 options, and the same NaN and infinities."""
    found, wanted = scored(rows)[name], by_graph(rows)[name]
    same = (found == wanted) | (np.isnan(found) & np.isnan(wanted))
    with np.errstate(invalid="ignore"):
        far = np.where(same, 0.0, np.abs(found - wanted) / np.maximum(1.0, np.abs(wanted)))
    worst = int(np.argmax(np.nan_to_num(far, nan=np.inf)))
    assert far[worst] <= 1e-9, (rows[worst], found[worst], wanted[worst])


def test_prices_are_quantlib_s() -> None:
    """Within 1e-9 of its analytic European price, in US dollars."""
    grid = [r for r in GRID if r[1] > 0 and r[3] > 0 and r[4] > 0 and r[0] < 1e6 and r[1] < 1e9]
    found = scored(grid)["price"]
    wanted = []
    for spot, strike, rate, years, volatility, right in grid:
        kind = QuantLib.Option.Call if right > 0 else QuantLib.Option.Put
        discount = math.exp(-rate * years)
        wanted.append(
            QuantLib.blackFormula(kind, strike, spot / discount, volatility * math.sqrt(years), discount)
        )
    assert len(grid) == 5600
    assert np.abs(found - np.array(wanted)).max() <= 1e-9


def test_vanna_and_volga_are_differences_of_quantlib_s_greeks() -> None:
    """Of its delta and its vega, by a small move of the volatility, central and extrapolated; 0 at expiry."""
    grid = list(
        itertools.product((80.0, 100.0), (70.0, 95.0, 100.0, 130.0), (0.02,), (1 / 365, 0.5, 2.0), (0.2, 0.6))
    )
    rows = [(*row, right) for row in grid for right in (1.0, -1.0)]
    found = scored(rows)

    def greeks(row: tuple[float, ...], move: float) -> Any:
        spot, strike, rate, years, volatility, right = row
        kind = QuantLib.Option.Call if right > 0 else QuantLib.Option.Put
        one = QuantLib.BlackCalculator(
            QuantLib.PlainVanillaPayoff(kind, strike),
            spot * math.exp(rate * years),
            (volatility + move) * math.sqrt(years),
            math.exp(-rate * years),
        )
        return np.array([one.delta(spot), one.vega(years)])

    def slope(row: tuple[float, ...], h: float) -> Any:
        return (greeks(row, h) - greeks(row, -h)) / (2 * h)

    wanted = np.array([(4 * slope(row, 1e-3) - slope(row, 2e-3)) / 3 for row in rows])
    np.testing.assert_allclose(found["vanna"], wanted[:, 0], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(found["volga"], wanted[:, 1], rtol=1e-5, atol=1e-5)
    at_expiry = scored([(100.0, 100.0, 0.02, 0.0, 0.3, right) for right in (1.0, -1.0)])
    assert not at_expiry["vanna"].any() and not at_expiry["volga"].any()


def test_the_functions_are_those_of_the_c_library() -> None:
    """Of exp to 2, of log to 1.5 units in the last place; the normal distribution to 5e-13 down to -37."""
    g = np.random.default_rng(1)
    x = np.concatenate([g.uniform(-700, 700, 20_000), g.uniform(-1, 1, 20_000), [0.0, -0.0]])
    ours = np.array([bs._exp(v) for v in x])
    ulp = np.abs(ours - np.exp(x)) / np.spacing(np.exp(x))
    assert ulp.max() <= 2 and bs._exp(0.0) == 1.0
    x = np.concatenate([np.exp(g.uniform(-700, 700, 20_000)), g.uniform(0.5, 2, 20_000)])
    ours = np.array([bs._log(v) for v in x])
    ulp = np.abs(ours - np.log(x)) / np.spacing(np.abs(np.log(x)))
    assert ulp.max() <= 1.5 and bs._log(1.0) == 0.0
    x = np.linspace(-37, 0, 20_001)
    ours = np.array([bs._normal(v, math.exp(-v * v / 2)) for v in x])
    far = np.abs(np.log(ours) - log_ndtr(x))
    assert far.max() <= 5e-13


def test_a_row_has_the_same_bits_in_any_chunk() -> None:
    """With a first row that moves from lane to lane of the vectors, and with the greeks or without."""
    whole = opened().score(chunk_of(GRID))
    for start in (0, 1, 2, 3, 5, 7, 11):
        for size in (1, 2, 3, 8, 9, 17, 1000):
            assert opened().score(chunk_of(GRID[start : start + size])).equals(whole.slice(start, size))
    assert opened("price").score(chunk_of(GRID))["price"].equals(whole["price"])


@pytest.mark.parametrize("outputs", [["price"], NAMES])
def test_it_keeps_the_contract(outputs: Sequence[str]) -> None:
    """Of scorers, to the bit; null is NaN, and of integers, which have none, an error."""
    check_scorer(opened(*outputs), chunk_of([r for r in GRID if r[3] and r[4]][::7]))
    rows = chunk_of(GRID[:2])
    with pytest.raises(MissingValueError, match="column 'right'"):
        opened().score(rows.set_column(5, "right", pa.array([1, None])))


def test_a_share_and_an_option_at_its_end() -> None:
    """A call struck at nothing is the share to the bit; at expiry an option is its intrinsic value."""
    found = scored([(123.456, 0.0, 0.02, 0.0, 0.3, 1.0), (100.0, 80.0, 0.02, 0.0, 0.3, 1.0)])
    assert list(found["price"]) == [123.456, 20.0]
    assert list(found["delta"]) == [1.0, 1.0]


MISTAKES = {
    "output": (
        Options({"p": "prices"}),
        "gives no 'prices'; its outputs: price, delta, gamma, vega, theta, rho, vanna, volga",
    ),
    "columns": (Options({"p": "price"}, columns=("spot",)), "leave model.columns out"),
    "device": (Options({"p": "price"}, device="rocm"), "has no device 'rocm' here; allowed: auto, cpu"),
}


@pytest.mark.parametrize(("options", "says"), MISTAKES.values(), ids=MISTAKES.keys())
def test_what_it_can_t_do_it_says(options: Options, says: str) -> None:
    """With its name, and what is allowed; and it reads no model file."""
    with pytest.raises(ModelError, match=f"^{KIND}: .*{says}"):
        open_scorer(KIND, None, options, FILE)
    with pytest.raises(ModelError, match=r"holds its formula and reads no x\.onnx; leave model\.path out"):
        open_scorer(KIND, ModelFile("x.onnx", "0", b"x"), Options({"p": "price"}), FILE)


@pytest.mark.skipif(not bs._has_cuda(), reason="there is no CUDA device here")
def test_a_gpu_prices_as_the_cpu_does_and_every_row_by_itself() -> None:
    """Ran on an H200; to the last digits, in chunks of any size, and a lone row."""
    random = np.random.default_rng(7)
    spot, years = random.uniform(5, 500, 20_000), random.uniform(0, 2, 20_000)
    strike = spot * random.uniform(0.5, 1.6, 20_000)
    rows = np.column_stack([
        spot, strike, random.uniform(-0.02, 0.06, 20_000), years, random.uniform(0.05, 1.2, 20_000),
        random.choice([-1.0, 1.0], 20_000),
    ])  # fmt: skip
    options = Options({name: name for name in NAMES}, device="cuda")
    gpu = open_scorer(KIND, None, options, FILE)
    whole, here = gpu.score(chunk_of(rows)), scored(rows)
    for name in NAMES:
        assert np.allclose(whole[name].to_numpy(), here[name], rtol=1e-9, atol=1e-12), name
    for size in (1, 2, 255, 257, 9_999):
        assert gpu.score(chunk_of(rows[:size])).equals(whole.slice(0, size))


def test_a_gpu_is_another_way_where_there_is_one() -> None:
    """Else the CPU is the only one."""
    cuda = [Variant(KIND, "cuda")] if bs._has_cuda() else []
    assert variants_of_kind(KIND, "auto", FILE) == [Variant(KIND), *cuda]
    assert variants_of_kind(KIND, "cpu", FILE) == [Variant(KIND)]
