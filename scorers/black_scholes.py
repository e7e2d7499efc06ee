"""The Black-Scholes-Merton price of European options and its greeks, in float64, compiled by Numba.

One row in, one row out; it reads no model file. Inputs and the first six outputs are those of the graph
data/models/finance/black_scholes.onnx, each float64 [rows]:

    spot        price of the stock, > 0, US dollars
    strike      >= 0; of a share itself 0, with right 1: a share is the call that is struck at nothing
    rate        continuously compounded, a year
    years       until expiry, >= 0
    volatility  of the stock's log return, a year, >= 0
    right       1 for a call, -1 for a put

    price (US dollars), delta, gamma, vega, theta (a year of calendar time), rho,
    vanna (of delta by volatility) and volga (of vega by volatility)

With no time or no volatility left the price is the discounted intrinsic value. A null or a NaN makes its
row NaN.

Formulas: Black and Scholes (1973), Merton (1973). The normal distribution function is exp(-x²/2) times one
polynomial for the whole half line, as Shepherd and Laframboise have it, "Chebyshev approximation of
(1 + 2x) exp(x²) erfc x in 0 <= x < inf", Mathematics of Computation 36 (1981): no branch, and digits far
into the tail. exp is reduced as in Cody and Waite, Software Manual for the Elementary Functions (1980), and
log is that of Sun's fdlibm (1993).

Numba would call the C library for exp, log and erfc, a row at a time. These here are additions,
multiplications, divisions and shifts, so that LLVM computes two, four or eight rows at once. IEEE 754 says
how each of them rounds, and none is fused or reordered (no fast-math): a row has the same bits in any chunk
and on any processor. A chunk has one thread: a night scores as many chunks at once as there are cores.

On CUDA the same functions are compiled for the device, where products and sums are fused, so that the last
bits differ: on an H200 prices were within 7e-13 of the CPU's, and a row had the same bits in any chunk. The
copies take the time there: at a million rows a chunk it priced 166 million a second, where one core of that
machine priced 49 million and its sixteen 579 million; at 16,384 rows 14 million. With `device: auto` it is
measured, and held to the CPU's prices, before it is taken.
"""

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit
from numba.core.errors import NumbaPerformanceWarning

from nightscore.scorers import ModelError, ModelFile, Options, Scorer, Signature, Variant, as_numpy
from nightscore.scorers.compiled import numba_compiled

cuda: Any
try:
    from numba import cuda  # here and not where it is used: Numba's simulator looks for it among globals
except ImportError:  # it is about to leave Numba for a package of its own
    cuda = None

KIND = "scorers/black_scholes.py"
INPUTS = ("spot", "strike", "rate", "years", "volatility", "right")
OUTPUTS = ("price", "delta", "gamma", "vega", "theta", "rho", "vanna", "volga")
BLOCK = 256  # CUDA threads in a block
LARGEST = 37.0  # |d1| and |d2| are cut off here, where N is 6e-300: beyond, numbers get denormal and slow
SMALLEST = 1e-150  # instead of a standard deviation of 0
ROOT = (2 * math.pi) ** -0.5

# Polynomials: the terms of even powers and of odd ones, highest first. The first two interpolate at
# Chebyshev's points, in 60 digits.
CENTRE = 5.0  # (1 + x) exp(x²/2) N(-x) over x >= 0, in (x - 5) / (x + 5); relative to 5e-16
TAIL_EVEN = (
    -2.884794724105449e-10, 3.661836535863277e-09, -2.636797167357404e-08, 1.2798783282871204e-07,
    -7.04376663890156e-08, -9.896049006398792e-06, 0.0001823341283884788, -0.0016760723409777719,
    -0.015170415402960762, -0.02640104296627982, 0.031030368425963, 0.46151582985003775,
)  # fmt: skip
TAIL_ODD = (
    2.2027448318350712e-09, -2.5444050458032668e-08, 1.8841037002080884e-07, -1.3003901927413688e-06,
    9.055694907386791e-06, -5.360599672837992e-05, 7.791206884373869e-06, 0.006522000726622294,
    0.02453696323875023, 0.010002352385420084, -0.09155228183401122,
)  # fmt: skip
EXP_EVEN = (  # exp(x) for |x| <= log(2) / 2; to 3e-18
    2.763263963904103e-07, 2.4801485482328494e-05, 0.0013888888952314775, 0.0416666666664881,
    0.5000000000000019, 1.0,
)  # fmt: skip
EXP_ODD = (
    2.5110037605963777e-08, 2.755724091857897e-06, 0.00019841269890047113, 0.008333333333319601,
    0.1666666666666668, 1.0,
)  # fmt: skip
LOG_EVEN = (1.531383769920937332e-01, 2.222219843214978396e-01, 3.999999999940941908e-01, 0.0)
LOG_ODD = (
    1.479819860511658591e-01, 1.818357216161805012e-01, 2.857142874366239149e-01, 6.666666666666735130e-01,
)  # fmt: skip
LOG2_E = 1.4426950408889634
LN2_HIGH, LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10  # the high one ends in 21 zeros
ROUNDS, ROUNDS_BITS = 1.5 * 2.0**52, 0x4338000000000000  # added, it leaves an integer in the low bits
ROOT_HALF_BITS = 0x3FE6A09E667F3BCD  # of sqrt(1/2): mantissas are taken from here to sqrt(2)

Numbers = npt.NDArray[np.float64]
Columns = tuple[Numbers, ...]
Compute = Callable[[Columns, Numbers], object]

# LLVM makes no vectors of a loop with a call in it, or with a division that may raise.
formula = njit(nogil=True, forceinline=True, error_model="numpy")


@formula
def _horner(x, terms):  # type: ignore[no-untyped-def]
    total = terms[0]
    for i in range(1, len(terms)):
        total = total * x + terms[i]
    return total


@formula
def _polynomial(x, even, odd):  # type: ignore[no-untyped-def]
    """In two chains of half the length, which run side by side."""
    square = x * x
    return _horner(square, even) + x * _horner(square, odd)


@formula
def _exp(x):  # type: ignore[no-untyped-def]
    """e^x to 2 units in the last place; 0 below -708 and infinite above 709."""
    rounded = x * LOG2_E + ROUNDS
    power = rounded - ROUNDS
    rest = (x - power * LN2_HIGH) - power * LN2_LOW
    scale = np.int64((np.float64(rounded).view(np.int64) + 1023) << 52).view(np.float64)
    power_of_e = _polynomial(rest, EXP_EVEN, EXP_ODD) * scale
    return 0.0 if x < -708.0 else (math.inf if x > 709.0 else power_of_e)


@formula
def _log(x):  # type: ignore[no-untyped-def]
    """log(x) to 1 unit in the last place, unless x is denormal."""
    bits = np.float64(x).view(np.int64)
    exponent = (bits - ROOT_HALF_BITS) >> 52
    above = np.int64(bits - (exponent << 52)).view(np.float64) - 1.0
    power = np.int64(exponent + ROUNDS_BITS).view(np.float64) - ROUNDS
    share = above / (2.0 + above)
    square = share * share
    series = _polynomial(square, LOG_EVEN, LOG_ODD)
    half = 0.5 * above * above
    logarithm = power * LN2_HIGH - ((half - (share * (half + series) + power * LN2_LOW)) - above)
    logarithm = logarithm if x < math.inf else x
    return logarithm if x > 0.0 else (-math.inf if x == 0.0 else math.nan)


@formula
def _normal(x, density):  # type: ignore[no-untyped-def]
    """N(x), the normal distribution function; `density` is exp(-x²/2)."""
    size = abs(x)
    ratio = _polynomial((size - CENTRE) / (size + CENTRE), TAIL_EVEN, TAIL_ODD)
    tail = density * ratio / (1.0 + size)
    return tail if x < 0.0 else 1.0 - tail


@formula
def _within(x, least, most):  # type: ignore[no-untyped-def]
    """The nearest number between two; NaN stays NaN, which min and max do not promise."""
    x = least if x < least else x  # noqa: FURB136
    return most if x > most else x  # noqa: FURB136


@formula
def _option(spot, strike, rate, years, volatility, right):  # type: ignore[no-untyped-def] # noqa: PLR0917
    """The outputs of a row, in their order. LLVM drops what the caller does not use."""
    root_years = math.sqrt(years)
    deviation = _within(volatility * root_years, SMALLEST, math.inf)
    moneyness = (_log(spot / strike) + rate * years) / deviation
    first = _within(right * (moneyness + deviation * 0.5), -LARGEST, LARGEST)
    second = _within(right * (moneyness - deviation * 0.5), -LARGEST, LARGEST)
    density = _exp(first * first * -0.5)
    delta = right * _normal(first, density)
    owed = strike * _exp(-(rate * years)) * (right * _normal(second, _exp(second * second * -0.5)))
    value = _within(spot * delta - owed, 0.0, math.inf)
    bell = density * ROOT
    # sigma² / deviation, where the textbook has sigma / sqrt(years): it is 0 / 0 at expiry.
    decay = spot * bell * (volatility * volatility * 0.5) / deviation
    theta = -(decay + rate * owed)
    vega = spot * bell * root_years
    by_volatility = second * root_years / deviation  # d2 / sigma, signed by right; 0 at expiry
    vanna, volga = -right * bell * by_volatility, vega * first * by_volatility
    return value, delta, bell / spot / deviation, vega, theta, years * owed, vanna, volga


@numba_compiled
def price(columns, results):  # type: ignore[no-untyped-def]
    """The prices of rows into `results` [1, rows]; `columns` are the six inputs, each [rows]."""
    spot, strike, rate, years, volatility, right = columns
    for i in range(results.shape[1]):
        results[0, i] = _option(spot[i], strike[i], rate[i], years[i], volatility[i], right[i])[0]


@numba_compiled
def price_and_greeks(columns, results):  # type: ignore[no-untyped-def]
    """All outputs of rows into `results` [8, rows]. A loop over the eight would cost the vectors."""
    spot, strike, rate, years, volatility, right = columns
    for i in range(results.shape[1]):
        row = _option(spot[i], strike[i], rate[i], years[i], volatility[i], right[i])
        results[0, i], results[1, i], results[2, i], results[3, i] = row[0], row[1], row[2], row[3]
        results[4, i], results[5, i], results[6, i], results[7, i] = row[4], row[5], row[6], row[7]


class BlackScholes:
    """Prices and greeks. Keeps nothing of a chunk; several threads may call."""

    def __init__(self, options: Options) -> None:
        """Numba compiles at the first chunk, not here; errors are those of `open_scorer`."""
        self._rows = [OUTPUTS.index(source) for source in options.outputs.values()]
        kernel, self._height = (price_and_greeks, len(OUTPUTS)) if any(self._rows) else (price, 1)
        self._compute = _computer(options.device, kernel)
        self._signature = Signature(
            pa.schema([(name, pa.float64()) for name in INPUTS]),
            pa.schema([(name, pa.float64()) for name in options.outputs]),
        )

    @property
    def signature(self) -> Signature:
        """The columns needed and given."""
        return self._signature

    def score(self, chunk: pa.RecordBatch) -> pa.RecordBatch:
        """The outputs of a chunk's rows.

        Raises:
            MissingValueError: a null in a column of integers, where no NaN stands for it.
        """
        results = np.empty((self._height, chunk.num_rows))
        self._compute(tuple(_numbers(chunk, name) for name in INPUTS), results)
        arrays = [pa.array(results[row]) for row in self._rows]
        return pa.RecordBatch.from_arrays(arrays, schema=self._signature.outputs)


def open_scorer(model: ModelFile | None, options: Options) -> Scorer:
    """A scorer of options.

    Raises:
        ModelError: the job names a file, columns, an output that there is not, or a device that is not here.
    """
    if model is not None:
        raise ModelError(f"holds its formula and reads no {model.name}; leave model.path out")
    if options.columns is not None:
        raise ModelError(f"takes the columns {', '.join(INPUTS)}; leave model.columns out")
    wrong = [source for source in options.outputs.values() if source not in OUTPUTS]
    if wrong:
        raise ModelError(f"gives no {wrong[0]!r}; its outputs: {', '.join(OUTPUTS)}")
    return BlackScholes(options)


def variants(device: str) -> list[Variant]:
    """The ways to compute besides the plain one, where the job leaves the device open (`auto`)."""
    return [Variant(KIND, "cuda")] if device == "auto" and _has_cuda() else []


def _numbers(chunk: pa.RecordBatch, name: str) -> Numbers:
    """A column as float64 [rows]; read-only always, which is a part of a type to Numba."""
    values = np.ascontiguousarray(as_numpy(chunk.column(name), name), np.float64).view()
    values.flags.writeable = False
    return values


def _computer(device: str, kernel: Any) -> Compute:
    """What fills `results` from the columns, on that device."""
    if device == "cuda" and _has_cuda():
        return _on_cuda()
    if device not in ("auto", "cpu"):
        allowed = "cpu, cuda" if _has_cuda() else "cpu (there is no CUDA device here)"
        raise ModelError(f"has no device {device!r}; allowed: {allowed}")
    compute: Compute = kernel
    return compute


def _has_cuda() -> bool:
    try:
        return cuda is not None and bool(cuda.is_available())
    except Exception:  # a driver that is half there raises what it likes
        return False


def _on_cuda() -> Compute:
    """A row a CUDA thread; columns go to the device, and results come back, on a stream of their own."""
    option = _option
    # A chunk is what the night gives; that a card could take more at once is nothing for its log.
    warnings.filterwarnings("ignore", message="Grid size", category=NumbaPerformanceWarning)

    @cuda.jit
    def rows(columns, results):  # type: ignore[no-untyped-def]
        spot, strike, rate, years, volatility, right = columns
        i = cuda.grid(1)
        if i < results.shape[1]:
            row = option(spot[i], strike[i], rate[i], years[i], volatility[i], right[i])
            for k in range(results.shape[0]):
                results[k, i] = row[k]

    def compute(columns: Columns, results: Numbers) -> None:
        if not results.size:
            return  # a grid of no blocks is an error
        stream = cuda.stream()
        columns_there = tuple(cuda.to_device(column, stream) for column in columns)
        results_there = cuda.device_array(results.shape, np.float64, stream=stream)
        rows[-(-results.shape[1] // BLOCK), BLOCK, stream](columns_there, results_there)
        results_there.copy_to_host(results, stream)
        stream.synchronize()

    return compute
