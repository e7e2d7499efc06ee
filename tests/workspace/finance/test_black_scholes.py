"""The Black-Scholes graph in float64, held to QuantLib and to SciPy."""

import itertools
from typing import Any

import numpy as np
import pytest
import QuantLib
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import erfc

from nightscore.scorers.files.model_file import ModelFile, read_model
from nightscore.scorers.onnx import runtime
from tests.workspace.finance.world import REPOSITORY

Numbers = np.ndarray[Any, np.dtype[np.float64]]
NAMES = ("spot", "strike", "rate", "years", "volatility", "right")
GREEKS = ("delta", "gamma", "vega", "theta", "rho")
FILE = REPOSITORY / "data/models/finance/black_scholes.onnx"
MODEL: ModelFile = read_model(FILE, "black_scholes.onnx")
SESSION = runtime.open_session(MODEL, "cpu", 1)
SPOTS, STRIKES = (1.0, 50.0, 100.0, 400.0), (0.5, 50.0, 90.0, 99.0, 100.0, 101.0, 120.0, 1000.0)
RATES, YEARS = (0.0, 0.02, -0.01, 0.1), (1 / 365 / 24, 1 / 365, 0.1, 1.0, 10.0)
VOLATILITIES = (0.01, 0.2, 0.8, 3.0)


def priced(rows: Any) -> dict[str, Numbers]:
    """All outputs of rows [n, 6]."""
    columns = np.asarray(rows, np.float64).T
    feeds = {name: np.ascontiguousarray(column) for name, column in zip(NAMES, columns, strict=True)}
    names = ["price", *GREEKS]
    return dict(zip(names, runtime.run_session(SESSION, names, feeds, "cpu"), strict=True))


def calculator(row: tuple[float, ...]) -> Any:
    spot, strike, rate, years, volatility, right = row
    kind = QuantLib.Option.Call if right > 0 else QuantLib.Option.Put
    return QuantLib.BlackCalculator(
        QuantLib.PlainVanillaPayoff(kind, strike),
        spot * float(np.exp(rate * years)),
        volatility * float(np.sqrt(years)),
        float(np.exp(-rate * years)),
    )


def assert_close(found: Numbers, wanted: Numbers, least: Any, what: str) -> None:
    """To 1e-9 relative; below `least` QuantLib's own normal distribution has no more digits (1.3e-7)."""
    apart = np.abs(found - wanted)
    worst = int(np.argmax(apart - np.maximum(1e-9 * np.abs(wanted), least)))
    assert (apart <= np.maximum(1e-9 * np.abs(wanted), least)).all(), (
        f"{what}, row {worst}: {found[worst]}, not {wanted[worst]}"
    )


def test_prices_and_greeks_are_quantlib_s() -> None:
    """1,280 options: calls and puts, deep in and out, an hour to ten years, volatility from 1 % to 300 %."""
    grid = list(itertools.product(SPOTS, STRIKES, RATES, YEARS, VOLATILITIES, (1.0, -1.0)))
    found = priced(grid)
    spot, years = (np.array([row[i] for row in grid]) for i in (0, 3))
    theirs = [calculator(row) for row in grid]
    wanted = {
        "price": [one.value() for one in theirs],
        "delta": [one.delta(row[0]) for one, row in zip(theirs, grid, strict=True)],
        "gamma": [one.gamma(row[0]) for one, row in zip(theirs, grid, strict=True)],
        "vega": [one.vega(row[3]) for one, row in zip(theirs, grid, strict=True)],
        "theta": [one.theta(row[0], row[3]) for one, row in zip(theirs, grid, strict=True)],
        "rho": [one.rho(row[3]) for one, row in zip(theirs, grid, strict=True)],
    }
    # QuantLib's theta is a difference of large terms over the years that are left.
    least = (
        dict.fromkeys(wanted, 1e-13 * spot)
        | {"delta": 1e-13, "gamma": 1e-13}
        | {"theta": 1e-12 * spot / years}
    )
    for name, values in wanted.items():
        assert_close(found[name], np.array(values), least[name], name)


def test_far_out_of_the_money_the_price_keeps_its_digits() -> None:
    """To 1e-9 relative down to 1e-250 of a dollar, against SciPy's complementary error function."""
    strikes = np.array([200.0, 300.0, 500.0, 1000.0, 2000.0])
    deviation = 0.2 * np.sqrt(0.1)
    d1 = np.log(100 / strikes) / deviation + deviation / 2
    wanted = 100 * erfc(-d1 / np.sqrt(2)) / 2 - strikes * erfc((deviation - d1) / np.sqrt(2)) / 2
    found = priced([(100.0, strike, 0.0, 0.1, 0.2, 1.0) for strike in strikes])["price"]
    assert found.min() < 1e-200
    np.testing.assert_allclose(found, wanted, rtol=1e-9)


@pytest.mark.parametrize("years, volatility", [(0.0, 0.3), (0.0, 0.0), (1.0, 0.0)])
@pytest.mark.parametrize("strike", [80.0, 100.0, 120.0])
@pytest.mark.parametrize("right", [1.0, -1.0])
def test_without_time_or_volatility_an_option_is_its_intrinsic_value(
    years: float, volatility: float, strike: float, right: float
) -> None:
    """Discounted; away from the strike gamma and vega are 0, and delta is 0, 1 or -1."""
    [row] = [(100.0, strike, 0.02, years, volatility, right)]
    found = {name: float(values[0]) for name, values in priced([row]).items()}
    owed = strike * np.exp(-0.02 * years)
    assert found["price"] == pytest.approx(max(right * (100 - owed), 0), rel=1e-14, abs=0)
    if abs(100 - owed) > 1e-6:
        assert found["gamma"] == pytest.approx(0, abs=1e-100)
        assert found["vega"] == pytest.approx(0, abs=1e-100)
        assert found["delta"] == pytest.approx(right if right * (100 - owed) > 0 else 0, abs=1e-100)


@given(st.floats(1e-3, 1e6), st.floats(0, 1), st.floats(0, 3))
def test_a_call_struck_at_nothing_is_the_share(spot: float, years: float, volatility: float) -> None:
    """To the bit, with a delta of 1 and no other greek."""
    found = {n: float(v[0]) for n, v in priced([(spot, 0.0, 0.02, years, volatility, 1.0)]).items()}
    assert (found["price"], found["delta"], found["rho"]) == (spot, 1, 0)
    assert abs(found["gamma"]) + abs(found["vega"]) + abs(found["theta"]) < 1e-100


@given(st.floats(0.1, 1e4), st.floats(0.1, 1e4), st.floats(-0.05, 0.25), st.floats(0, 30), st.floats(0, 5))
def test_a_call_less_a_put_is_the_forward(
    spot: float, strike: float, rate: float, years: float, volatility: float
) -> None:
    """Put-call parity, and no price is negative, for any option."""
    row = (spot, strike, rate, years, volatility)
    call, put = priced([(*row, 1.0), (*row, -1.0)])["price"]
    forward = spot - strike * np.exp(-rate * years)
    assert call - put == pytest.approx(forward, rel=1e-9, abs=1e-12 * (spot + strike) * np.exp(2))
    assert min(call, put) >= 0


def test_the_committed_graph_is_what_its_script_makes(tmp_path: Any) -> None:
    """Byte for byte; the tests of the graph are tests of the script."""
    namespace: dict[str, Any] = {"__file__": str(FILE.with_suffix(".py")), "__name__": "black_scholes"}
    source = FILE.with_suffix(".py").read_text()
    exec(compile(source, FILE.with_suffix(".py"), "exec"), namespace)  # noqa: S102 (our own script)
    assert namespace["black_scholes"]().SerializeToString(deterministic=True) == FILE.read_bytes()
