"""The Black-Scholes-Merton price of European options, and its greeks, as an ONNX graph in float64.

    python data/models/finance/black_scholes.py     # writes black_scholes.onnx beside this script

One row in, one row out; an input a column, each float64 [rows]:

    spot        price of the stock, > 0
    strike      >= 0; of a share itself 0, with right 1: a share is the call that is struck at nothing
    rate        continuously compounded, a year
    years       until expiry, >= 0
    volatility  of the stock's log return, a year, >= 0
    right       1 for a call, -1 for a put

The stock pays no dividend (or its price is one with dividends reinvested). Outputs, float64 [rows]: `price`,
`delta` (of price by spot), `gamma` (of delta by spot), `vega` (of price by volatility), `theta` (of price by
calendar time, a year) and `rho` (of price by rate). With no time or no volatility left the price is the
discounted intrinsic value; gamma and vega are 0 away from the strike.

Formulas: Black and Scholes (1973), Merton (1973). ONNX Runtime 1.31 has no float64 Erf on the CPU, so the
normal distribution function is composed of what it has: the rational approximations of Cody, "Rational
Chebyshev approximations for the error function", Mathematics of Computation 23 (1969), with the coefficients
of his ANORM (algorithm 715, ACM TOMS 19, 1993). They are relative to 3e-13 in the lower tail too, where
Hart's algorithm 5666, which is often used, is to 9e-9 and QuantLib 1.44's own function to 1.3e-7.
"""

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = Path(__file__).resolve().parent
INPUTS = ("spot", "strike", "rate", "years", "volatility", "right")
OUTPUTS = ("price", "delta", "gamma", "vega", "theta", "rho")
OPSET, IR = 20, 10
# Cody's coefficients, in the order of his ANORM: for |x| < 0.674…, up to 4 sqrt(2), and beyond.
A = (2.2352520354606839287, 161.02823106855587881, 1067.6894854603709582, 18154.981253343561249)
A_FIRST = 0.065682337918207449113
B = (47.20258190468824187, 976.09855173777669322, 10260.932208618978205, 45507.789335026729956)
C = (
    0.39894151208813466764, 8.8831497943883759412, 93.506656132177855979, 597.27027639480026226,
    2494.5375852903726711, 6848.1904505362823326, 11602.651437647350124, 9842.7148383839780218,
)  # fmt: skip
C_FIRST = 1.0765576773720192317e-8
D = (
    22.266688044328115691, 235.38790178262499861, 1519.377599407554805, 6485.558298266760755,
    18615.571640885098091, 34900.952721145977266, 38912.003286093271411, 19685.429676859990727,
)  # fmt: skip
P = (
    0.21589853405795699, 0.1274011611602473639, 0.022235277870649807, 0.001421619193227893466,
    2.9112874951168792e-5,
)  # fmt: skip
P_FIRST = 0.02307344176494017303
Q = (
    1.28426009614491121, 0.468238212480865118, 0.0659881378689285515, 0.00378239633202758244,
    7.29751555083966205e-5,
)  # fmt: skip
NEAR, FAR = 0.67448975, 32**0.5
ROOT = (2 * np.pi) ** -0.5  # 1 / sqrt(2 pi)
LARGEST = 37.0  # |d1| and |d2| are cut off here, where N is 6e-300: beyond, numbers get denormal and slow
SMALLEST = 1e-150  # instead of a standard deviation of 0


Numbers = tuple[float, ...]
Names = tuple[str, ...]


class Graph:
    """Nodes in the making; every method takes names of values and gives the name of a new one."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def op(self, kind: str, *operands: str | float, name: str = "") -> str:
        """One operator of the standard set; numbers become float64 constants."""
        given = [one if isinstance(one, str) else self.constant(one) for one in operands]
        result = name or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, given, [result]))
        return result

    def constant(self, value: float) -> str:
        """A float64 scalar."""
        name = f"{value!r}"
        self.constants[name] = numpy_helper.from_array(np.array(value, np.float64), name)
        return name

    def ratio(self, x: str, first: float, above: Numbers, below: Numbers) -> str:
        """(first xⁿ + above[0] xⁿ⁻¹ + …) / (xⁿ + below[0] xⁿ⁻¹ + …), by Horner's rule."""
        numerator = self.op("Add", self.op("Mul", x, first), above[0])
        denominator = self.op("Add", x, below[0])
        for over, under in zip(above[1:], below[1:], strict=True):
            numerator = self.op("Add", self.op("Mul", numerator, x), over)
            denominator = self.op("Add", self.op("Mul", denominator, x), under)
        return self.op("Div", numerator, denominator)

    def density(self, x: str) -> str:
        """exp(-x²/2): the normal density without its factor."""
        return self.op("Exp", self.op("Mul", self.op("Mul", x, x), -0.5))

    def distribution(self, x: str, density: str) -> str:
        """N(x), the normal distribution function, for |x| <= 37; `density` is exp(-x²/2)."""
        size = self.op("Abs", x)
        square = self.op("Mul", size, size)
        middle = self.op("Add", self.op("Mul", x, self.ratio(square, A_FIRST, A, B)), 0.5)
        near = self.ratio(size, C_FIRST, C, D)
        inverse = self.op("Reciprocal", self.op("Max", square, 1.0))
        share = self.op("Mul", inverse, self.ratio(inverse, P_FIRST, P, Q))
        far = self.op("Div", self.op("Sub", ROOT, share), self.op("Max", size, 1.0))
        tail = self.op("Mul", density, self.op("Where", self.op("Less", size, FAR), near, far))
        side = self.op("Where", self.op("Less", x, 0.0), tail, self.op("Sub", 1.0, tail))
        return self.op("Where", self.op("Less", size, NEAR), middle, side)

    def model(self, inputs: Names, outputs: Names, name: str) -> onnx.ModelProto:
        """The whole of it, checked; all inputs and outputs are float64 [rows]."""
        given, found = (
            [helper.make_tensor_value_info(one, TensorProto.DOUBLE, ["rows"]) for one in names]
            for names in (inputs, outputs)
        )
        graph = helper.make_graph(self.nodes, name, given, found, list(self.constants.values()))
        opset = helper.make_opsetid("", OPSET)
        made = helper.make_model(graph, opset_imports=[opset], ir_version=IR, producer_name="nightscore")
        onnx.checker.check_model(made, full_check=True)
        return made


def black_scholes() -> onnx.ModelProto:
    """The graph: price and greeks."""
    g = Graph()
    discount = g.op("Exp", g.op("Neg", g.op("Mul", "rate", "years")))
    present = g.op("Mul", "strike", discount)
    root_years = g.op("Sqrt", "years")
    deviation = g.op("Max", g.op("Mul", "volatility", root_years), SMALLEST)
    moneyness = g.op("Add", g.op("Log", g.op("Div", "spot", "strike")), g.op("Mul", "rate", "years"))
    d1 = g.op("Add", g.op("Div", moneyness, deviation), g.op("Mul", deviation, 0.5))
    d2 = g.op("Sub", g.op("Div", moneyness, deviation), g.op("Mul", deviation, 0.5))
    first, second = (g.op("Clip", g.op("Mul", "right", d), -LARGEST, LARGEST) for d in (d1, d2))
    density = g.density(first)
    in_stock = g.op("Mul", "right", g.distribution(first, density))
    in_cash = g.op("Mul", "right", g.distribution(second, g.density(second)))
    owed = g.op("Mul", present, in_cash)
    g.op("Max", g.op("Sub", g.op("Mul", "spot", in_stock), owed), 0.0, name="price")
    bell = g.op("Mul", density, ROOT)
    g.op("Identity", in_stock, name="delta")
    g.op("Div", g.op("Div", bell, "spot"), deviation, name="gamma")
    g.op("Mul", g.op("Mul", "spot", bell), root_years, name="vega")
    # sigma² / deviation, where the textbook has sigma / sqrt(years): it is 0 / 0 at expiry.
    variance = g.op("Mul", "volatility", "volatility")
    decay = g.op("Div", g.op("Mul", g.op("Mul", "spot", bell), g.op("Mul", variance, 0.5)), deviation)
    g.op("Neg", g.op("Add", decay, g.op("Mul", "rate", owed)), name="theta")
    g.op("Mul", "years", owed, name="rho")
    return g.model(INPUTS, OUTPUTS, "black_scholes")


def main() -> int:
    """Write the graph beside this script; returns the exit code."""
    (HERE / "black_scholes.onnx").write_bytes(black_scholes().SerializeToString(deterministic=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
