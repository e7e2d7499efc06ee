"""Code of a function as LLVM has it: vectors of rows, loops around them, and the few functions of a number.

Nothing that could change bits is left to a compiler: each sum, product and order stands as it is written.
"""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from nightscore.scorers.machine_code import WHOLE, Body, Value, load, repeated, store, write_loop

LANES = 16  # rows of a vector, which is one register of AVX-512 and several of others
FLOAT, VECTOR = ir.FloatType(), ir.VectorType(ir.FloatType(), LANES)
WHOLES = ir.VectorType(ir.IntType(32), LANES)
MAGIC = 12582912.0  # 1.5 * 2**23: added to a small float, what is left of it is its nearest integer
ONE = 0x3F800000  # the bits of 1.0

# Values are addresses and sizes, integers of 64 bits, or numbers, vectors of float32.


class Code:
    """What is written into a function, one instruction after the other."""

    def __init__(self, function: Any) -> None:
        self._at = ir.IRBuilder(function.append_basic_block())
        kinds = [VECTOR] * 3
        self._fma = ir.Function(function.module, ir.FunctionType(VECTOR, kinds), f"llvm.fma.v{LANES}f32")

    def end(self) -> None:
        """The function returns."""
        self._at.ret_void()

    def loop(self, count: Value, body: Body, carried: Sequence[Value] = ()) -> Sequence[Value]:
        """`body` for 0 up to `count`, which is 1 or more; what it gives goes into the next round."""
        return write_loop(self._at, count, body, carried)

    def offset(self, address: Value, *steps: tuple[Value, int]) -> Value:
        """An address so many times so many bytes further."""
        for count, size in steps:
            address = self._at.add(address, self._at.mul(count, WHOLE(size)))
        return address

    def times(self, count: Value, size: Value, address: Value) -> Value:
        """An address so many times so many bytes further, which are known when it runs."""
        return self._at.add(address, self._at.mul(count, size))

    def further(self, address: Value, size: int) -> Value:
        """An address so many bytes further."""
        return self._at.add(address, WHOLE(size))

    def address(self, place: Value) -> Value:
        """The address that lies at an address."""
        return load(self._at, WHOLE, place, 8)

    def load(self, address: Value) -> Value:
        """The vector at an address."""
        return load(self._at, VECTOR, address, 4)

    def store(self, value: Value, address: Value) -> None:
        """A vector, to an address."""
        store(self._at, value, address, 4)

    def repeated(self, address: Value) -> Value:
        """The one number at an address, in all lanes."""
        return repeated(self._at, VECTOR, load(self._at, FLOAT, address, 4))

    def fused(self, a: Value, b: Value, c: Value) -> Value:
        """A * b + c, rounded once."""
        return self._at.call(self._fma, [a, b, c])

    def add(self, a: Value, b: Value) -> Value:
        """A + b."""
        return self._at.fadd(a, b)

    def subtract(self, a: Value, b: Value) -> Value:
        """A - b."""
        return self._at.fsub(a, b)

    def multiply(self, a: Value, b: Value) -> Value:
        """A * b."""
        return self._at.fmul(a, b)

    def divide(self, a: Value, b: Value) -> Value:
        """A / b."""
        return self._at.fdiv(a, b)

    def at_least(self, x: Value, low: Value) -> Value:
        """The larger one; `x` where it is NaN, and where both are zeros."""
        return self._at.select(self._at.fcmp_ordered("<", x, low), low, x)

    def at_most(self, x: Value, high: Value) -> Value:
        """The smaller one; `x` where it is NaN."""
        return self._at.select(self._at.fcmp_ordered(">", x, high), high, x)

    def polynomial(self, x: Value, *coefficients: float) -> Value:
        """Of a variable, by Horner's rule; the coefficient of the highest power first."""
        sum_ = constant(coefficients[0])
        for coefficient in coefficients[1:]:
            sum_ = self.fused(sum_, x, constant(coefficient))
        return sum_

    def sigmoid(self, x: Value) -> Value:
        """1 / (1 + exp(-x)), at most 1.6e-7 off; exactly 0 and 1 far out."""
        x = self.at_most(self.at_least(x, constant(-18)), constant(18))
        s = self.multiply(x, x)
        p = self.polynomial(
            s, 4.37031012579801e-11, 1.15627324459942e-07, 6.08574864600143e-05, 8.51377133304701e-03,
            2.48287947061529e-01,
        )  # fmt: skip
        q = self.polynomial(
            s, 6.10247389755681e-13, 5.76102136993427e-09, 6.29106785017040e-06, 1.70198817374094e-03,
            1.16817656904453e-01, 9.93151921023180e-01,
        )  # fmt: skip
        y = self.add(self.divide(self.multiply(p, x), q), constant(0.5))
        return self.at_most(self.at_least(y, constant(0)), constant(1))

    def tanh(self, x: Value) -> Value:
        """The hyperbolic tangent, at most 2.7e-7 off."""
        x = self.at_most(self.at_least(x, constant(-9)), constant(9))
        s = self.multiply(x, x)
        p = self.polynomial(
            s, -2.76076847742355e-16, 2.00018790482477e-13, -8.60467152213735e-11, 5.12229709037114e-08,
            1.48572235717979e-05, 6.37261928875436e-04, 4.89352455891786e-03,
        )  # fmt: skip
        q = self.polynomial(
            s, 1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03
        )
        return self.divide(self.multiply(p, x), q)

    def exp(self, x: Value) -> Value:
        """The exponential of 0 or less; 0 where it would be no normal number."""
        low = constant(-87.33654)
        is_far = self._at.fcmp_ordered("<", x, low)
        x = self.at_least(x, low)
        whole = self.fused(x, constant(1.44269504088896341), constant(MAGIC))  # in its last bits x / log(2)
        m = self.subtract(whole, constant(MAGIC))
        r = self.fused(m, constant(-1.42860677e-6), self.fused(m, constant(-6.93145752e-1), x))
        p = self.polynomial(
            r, 0.0013780593872070312, 0.008373124524950981, 0.041669536381959915, 0.166664719581604,
            0.49999985098838806, 1, 1,
        )  # fmt: skip
        bits = self._at.shl(self._at.bitcast(whole, WHOLES), ir.Constant(WHOLES, [23] * LANES))
        power = self._at.bitcast(self._at.add(bits, ir.Constant(WHOLES, [ONE] * LANES)), VECTOR)
        return self._at.select(is_far, constant(0), self.multiply(p, power))


def constant(value: float) -> Value:
    """A number, in all lanes."""
    return ir.Constant(VECTOR, [value] * LANES)
