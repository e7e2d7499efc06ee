"""The scorer of a book under moves: held to QuantLib, to the contract of scorers, and in what it refuses."""

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import QuantLib

from nightscore.scorers import (
    ChunkError,
    MissingValueError,
    ModelError,
    ModelFile,
    Options,
    check_scorer,
    open_scorer,
    read_model,
)
from nightscore.scorers.workspace import read_scorer_file
from tests.workspace.finance.world import REPOSITORY

KIND, PRICER = "scorers/revalue.py", "scorers/black_scholes.py"
FILE = read_scorer_file(REPOSITORY / KIND, KIND)
MODEL = read_model(REPOSITORY / PRICER, PRICER)
LISTS = pa.list_(pa.float64())
ROWS = [
    {
        "spot": 100.0,
        "volatility": 0.3,
        "rate": 0.02,
        "quantities": [200.0, -1300.0, 700.0],
        "strikes": [0.0, 95.0, 110.0],
        "years": [0.0, 0.25, 1 / 365],
        "rights": [1.0, 1.0, -1.0],
        "price_ratios": [1.0, 0.9, 1.05],
        "volatility_ratios": [1.0, 1.4, 0.95],
    },
    {
        "spot": 31.25,
        "volatility": 0.5,
        "rate": -0.01,
        "quantities": [100.0],
        "strikes": [30.0],
        "years": [0.5],
        "rights": [-1.0],
        "price_ratios": [0.5, 2.0],
        "volatility_ratios": [1.0, 1.0],
    },
    {
        "spot": 10.0,
        "volatility": 0.5,
        "rate": 0.04,
        "quantities": [],
        "strikes": [],
        "years": [],
        "rights": [],
        "price_ratios": [1.1],
        "volatility_ratios": [0.9],
    },
]


def opened(**options: Any) -> Any:
    return open_scorer(KIND, MODEL, Options({"value": "value", "pnl": "pnl[*]"}, **options), FILE)


def chunk_of(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    schema = [(name, pa.float64() if isinstance(value, float) else LISTS) for name, value in ROWS[0].items()]
    return pa.RecordBatch.from_pylist(rows, pa.schema(schema))


def quantlib(  # noqa: PLR0917
    spot: float, strike: float, rate: float, years: float, volatility: float, right: float
) -> float:
    """An option's price; a share's is its own."""
    if strike == 0:
        return spot
    kind, discount = (QuantLib.Option.Call if right > 0 else QuantLib.Option.Put), math.exp(-rate * years)
    deviation = volatility * math.sqrt(years)
    return float(QuantLib.blackFormula(kind, strike, spot / discount, deviation, discount))


def test_values_and_pnl_are_quantlib_s_to_the_cent() -> None:
    """Each position's value and P&L rounded, then summed; none for a row without positions."""
    found = opened().score(chunk_of(ROWS)).to_pylist()
    for row, given in zip(found, ROWS, strict=True):
        held = list(zip(given["quantities"], given["strikes"], given["years"], given["rights"], strict=True))
        moves = [(1.0, 1.0), *zip(given["price_ratios"], given["volatility_ratios"], strict=True)]
        prices = np.array(
            [
                [
                    quantlib(given["spot"] * p, strike, given["rate"], years, given["volatility"] * v, right)
                    for p, v in moves
                ]
                for _, strike, years, right in held
            ]
        ).reshape(len(held), len(moves))
        quantity = np.array(given["quantities"])
        assert row["value"] == pytest.approx(np.round(quantity * prices[:, 0], 2).sum(), abs=1e-9)
        wanted = np.round(quantity[:, None] * (prices[:, 1:] - prices[:, :1]), 2).sum(axis=0)
        np.testing.assert_allclose(row["pnl"], wanted, rtol=0, atol=1e-9)


def test_it_keeps_the_contract() -> None:
    """Of scorers, to the bit: any chunk, from several threads, nothing kept."""
    check_scorer(opened(), chunk_of(ROWS))


def test_sums_are_exact_in_any_order_of_positions() -> None:
    """A thousand positions, forwards and backwards: the same bits, and whole cents."""
    random = np.random.default_rng(7)
    n = 1000
    row = ROWS[0] | {
        "quantities": (random.integers(-50, 50, n) * 100.0).tolist(),
        "strikes": random.integers(50, 150, n).astype(float).tolist(),
        "years": (random.integers(1, 250, n) / 365).tolist(),
        "rights": random.choice([-1.0, 1.0], n).tolist(),
    }
    names = ("quantities", "strikes", "years", "rights")
    there, back = (opened().score(chunk_of([one])) for one in (row, row | {x: row[x][::-1] for x in names}))
    assert there.equals(back)
    cents = np.array(there["pnl"][0].as_py()) * 100
    np.testing.assert_allclose(cents, np.round(cents), rtol=0, atol=1e-6)


def test_lists_that_do_not_belong_together_are_refused() -> None:
    """By the row, with their lengths; so is a null in one."""
    with pytest.raises(ChunkError, match=r"row 1 .*quantities 1, strikes 2, years 1, rights 1"):
        opened().score(chunk_of([ROWS[0], ROWS[1] | {"strikes": [30.0, 31.0]}]))
    with pytest.raises(MissingValueError, match="'price_ratios' has null values"):
        opened().score(chunk_of([ROWS[1] | {"price_ratios": [None, 1.0]}]))


MISTAKES = {
    "no model": (None, Options({"v": "value"}), "name its file in model.path"),
    "a graph": (ModelFile("x.onnx", "0", b"x"), Options({"v": "value"}), "name its file in model.path"),
    "output": (MODEL, Options({"v": "pnl"}), r"gives no 'pnl'; its outputs: value, pnl\[\*\]"),
    "columns": (MODEL, Options({"v": "value"}, columns=("spot",)), "leave model.columns out"),
    "device": (MODEL, Options({"v": "value"}, device="rocm"), "has no device 'rocm'"),
}


@pytest.mark.parametrize(("model", "options", "says"), MISTAKES.values(), ids=MISTAKES.keys())
def test_what_it_can_t_do_it_says(model: ModelFile | None, options: Options, says: str) -> None:
    """With its name, and what is allowed."""
    with pytest.raises(ModelError, match=f"^{KIND}: .*{says}"):
        open_scorer(KIND, model, options, FILE)
