"""Dates in scikit-learn pipelines: what a FunctionTransformer makes of a date is written down, day by day.

No converter reads Python code. But a function of one date is a table: a row for each day of some years around
those in X, one for a missing date, and one of NaN for any other day, which a job refuses loudly.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from onnx import TensorProto
from skl2onnx.common._registration import get_converter, get_shape_calculator
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import FunctionTransformer

from nightscore.exporting.conversion import CannotConvert
from nightscore.exporting.rows import DAY, EPOCH, Rows

YEARS = 20  # before the first date of X, and after the last one, that are written down

# Functions of numbers that are one operator, or two.
OPERATORS: Mapping[Any, tuple[str, ...]] = {
    None: ("Identity",), np.log: ("Log",), np.log1p: ("Add 1", "Log"), np.exp: ("Exp",), np.sqrt: ("Sqrt",),
    np.abs: ("Abs",), np.expm1: ("Exp", "Add -1"),
}  # fmt: skip


@dataclass(frozen=True)
class Tables:
    """What skl2onnx is told of steps: the converter, and the shape of what comes out, by their type."""

    converters: Mapping[type, Callable[..., None]]
    shapes: Mapping[type, Callable[..., None]]


def written_days(rows: Rows, name: str) -> "pd.DatetimeIndex":
    """The days of a column that an export writes down."""
    known = rows.frame[name].dropna()
    first, last = (known.min(), known.max()) if len(known) else (EPOCH, EPOCH)
    around = pd.DateOffset(years=YEARS)
    return pd.date_range(first - around, last + around, freq="D")


@contextlib.contextmanager
def tables(rows: Rows, number: type) -> Iterator[Tables]:
    """Converters of functions for rows, whose numbers are of a type of skl2onnx."""
    made: dict[int, npt.NDArray[Any]] = {}
    dates = {column.name for column in rows.of_kind("date")}

    def shape(operator: Any) -> None:
        names = [variable.raw_name for variable in operator.inputs]
        step = operator.raw_operator
        if dates & set(names):
            if len(names) > 1:
                raise CannotConvert(f"a FunctionTransformer of {names}: give each date a step of its own")
            made[id(step)] = _table(step, names[0], written_days(rows, names[0]))
            operator.outputs[0].type = number([None, made[id(step)].shape[1]])
        elif step.func in OPERATORS:
            operator.outputs[0].type = type(operator.inputs[0].type)([None, _width(operator)])
        else:
            raise CannotConvert(
                f"a FunctionTransformer of {getattr(step.func, '__name__', step.func)} on "
                f"{', '.join(names)}: "
                "a model file holds no Python; allowed: functions of one date, and numpy.log, log1p, exp, "
                "expm1, sqrt, abs; compute other features in SQL"
            )

    def convert(scope: Any, operator: Any, container: Any) -> None:
        if id(operator.raw_operator) in made:
            start = written_days(rows, operator.inputs[0].raw_name)[0]
            _look_up(scope, operator, container, made[id(operator.raw_operator)], (start - EPOCH) // DAY)
        else:
            _compute(scope, operator, container)

    yield Tables(
        {FunctionTransformer: convert, SimpleImputer: _convert_imputer},
        {FunctionTransformer: shape, SimpleImputer: get_shape_calculator("SklearnImputer")},
    )


def _convert_imputer(scope: Any, operator: Any, container: Any) -> None:
    """An imputer of numbers as operators that ONNX Runtime has in float64, too; one of texts by skl2onnx."""
    step = operator.raw_operator
    numbers = isinstance(operator.outputs[0].type, (DoubleTensorType, FloatTensorType))
    kinds = {type(variable.type) for variable in operator.inputs}
    if not numbers or len(kinds) > 1 or not pd.isna(step.missing_values) or step.add_indicator:
        get_converter("SklearnImputer")(scope, operator, container)
        return
    names = [variable.full_name for variable in operator.inputs]
    given, missing, values = (scope.get_unique_variable_name(name) for name in ("given", "missing", "values"))
    kind = TensorProto.DOUBLE if DoubleTensorType in kinds else TensorProto.FLOAT
    container.add_initializer(values, kind, [1, len(step.statistics_)], step.statistics_.tolist())
    container.add_node(
        "Concat", names, [given], axis=1, op_version=13, name=scope.get_unique_operator_name("Concat")
    )
    container.add_node(
        "IsNaN", [given], [missing], op_version=13, name=scope.get_unique_operator_name("IsNaN")
    )
    container.add_node("Where", [missing, values, given], [operator.outputs[0].full_name], op_version=16,
                       name=scope.get_unique_operator_name("Where"))  # fmt: skip


def _width(operator: Any) -> int:
    return sum(variable.type.shape[1] for variable in operator.inputs)


def _table(step: Any, name: str, days: "pd.DatetimeIndex") -> npt.NDArray[np.float64]:
    """What a step makes of each day, of no date, and of any other day [days + 2, k]."""
    asked = pd.Series(days.append(pd.DatetimeIndex([pd.NaT])), name=name)
    for given in (asked.to_frame(), asked):
        with contextlib.suppress(Exception):  # some take a column, some a table of one
            found, backwards = _values(step, given), _values(step, given.iloc[::-1])
            if not np.array_equal(found, backwards[::-1], equal_nan=True):
                raise CannotConvert(f"what a FunctionTransformer makes of {name} depends on the other rows")
            return np.vstack([found, np.full((1, found.shape[1]), np.nan)])
    raise CannotConvert(f"the FunctionTransformer of {name} fails, or gives no numbers, for a list of days")


def _values(step: Any, given: Any) -> npt.NDArray[np.float64]:
    found = np.asarray(step.transform(given), np.float64)
    return found.reshape(len(given), -1)


def _look_up(scope: Any, operator: Any, container: Any, table: npt.NDArray[Any], first: int) -> None:
    """Nodes that take a day's row of a table."""
    double = isinstance(operator.outputs[0].type, DoubleTensorType)
    kind, numpy_kind = (TensorProto.DOUBLE, np.float64) if double else (TensorProto.FLOAT, np.float32)
    days = len(table) - 2

    def constant(of: int, values: Any, shape: list[int]) -> str:
        name: str = scope.get_unique_variable_name("date_constant")
        container.add_initializer(name, of, shape, values)
        return name

    def node(op: str, *inputs: str, **attributes: Any) -> str:
        name: str = scope.get_unique_variable_name(f"date_{op.lower()}")
        container.add_node(op, list(inputs), [name], name=scope.get_unique_operator_name(op), **attributes)
        return name

    day = node("Cast", operator.inputs[0].full_name, to=TensorProto.DOUBLE, op_version=13)
    place = node("Sub", day, constant(TensorProto.DOUBLE, [float(first)], [1]), op_version=14)
    known = node("Equal", place, node("Floor", place, op_version=13), op_version=13)
    for op, end in (("GreaterOrEqual", 0.0), ("Less", float(days))):
        inside = node(op, place, constant(TensorProto.DOUBLE, [end], [1]), op_version=13)
        known = node("And", known, inside, op_version=7)
    other = node(
        "Where", node("IsNaN", day, op_version=13), constant(TensorProto.DOUBLE, [float(days)], [1]),
        constant(TensorProto.DOUBLE, [float(days + 1)], [1]), op_version=16,
    )  # fmt: skip
    row = node("Cast", node("Where", known, place, other, op_version=16), to=TensorProto.INT64, op_version=13)
    values = table.astype(numpy_kind).ravel().tolist()
    found = node("Gather", constant(kind, values, list(table.shape)), row, axis=0, op_version=13)
    shape = constant(TensorProto.INT64, [-1, table.shape[1]], [2])
    container.add_node("Reshape", [found, shape], [operator.outputs[0].full_name], op_version=14,
                       name=scope.get_unique_operator_name("Reshape"))  # fmt: skip


def _compute(scope: Any, operator: Any, container: Any) -> None:
    """Nodes of a function of numbers that are operators."""
    given = [variable.full_name for variable in operator.inputs]
    steps = ["Concat"] * (len(given) > 1) + list(OPERATORS[operator.raw_operator.func])
    double = isinstance(operator.outputs[0].type, DoubleTensorType)
    for place, step in enumerate(steps):
        last = place == len(steps) - 1
        made = operator.outputs[0].full_name if last else scope.get_unique_variable_name("function")
        op, _, number = step.partition(" ")
        if number:
            given.append(scope.get_unique_variable_name("number"))
            kind = TensorProto.DOUBLE if double else TensorProto.FLOAT
            container.add_initializer(given[-1], kind, [1], [float(number)])
        more = {"axis": 1} if op == "Concat" else {}
        container.add_node(op, given, [made], name=scope.get_unique_operator_name(op), op_version=13, **more)
        given = [made]
