"""Frames of functions: values and types are kept on the way in, and what comes out is held to what is declared."""

# ruff: noqa: E501, ARG005 - a case is one line

import datetime as dt
import io
import re
import uuid
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from nightscore.scorers.contract import Options
from nightscore.scorers.errors import ChunkError, ContractError, MissingValueError, ModelError
from nightscore.scorers.files.model_file import ModelFile
from nightscore.scorers.frames import as_frame, table_as_frame
from nightscore.scorers.frames.categories import category
from nightscore.scorers.functions.function import declared_of, open_function, scorer
from nightscore.scorers.testing import check_scorer

UTC, BERLIN = dt.UTC, ZoneInfo("Europe/Berlin")
MOMENT = dt.datetime(2026, 3, 29, 1, 30, 0, 123456)
# Arrow's type, two values as Python has them, the dtype that a pandas user expects, and Polars' type.
TYPES: dict[str, tuple[pa.DataType, list[Any], str, str]] = {
    "bool": (pa.bool_(), [True, False], "bool", "Boolean"),
    "int8": (pa.int8(), [-128, 127], "int8", "Int8"),
    "int64": (pa.int64(), [2**63 - 1, -(2**53) - 1], "int64", "Int64"),
    "uint64": (pa.uint64(), [2**64 - 1, 0], "uint64", "UInt64"),
    "float32": (pa.float32(), [0.5, float("inf")], "float32", "Float32"),
    "float64": (pa.float64(), [0.1, -1e300], "float64", "Float64"),
    "decimal": (pa.decimal128(38, 10), [Decimal("1234567890123456789012345678.0123456789"), Decimal("0E-10")], "object", "Decimal(precision=38, scale=10)"),
    "string": (pa.string(), ["", "Łódź 🏦"], "str", "String"),
    "binary": (pa.binary(), [b"", b"\x00\xff"], "object", "Binary"),
    "date": (pa.date32(), [dt.date(1, 1, 1), dt.date(9999, 12, 31)], "datetime64[ms]", "Date"),
    "time": (pa.time64("us"), [dt.time(0, 0), dt.time(23, 59, 59, 999999)], "object", "Time"),
    "timestamp": (pa.timestamp("us"), [MOMENT, dt.datetime(9999, 12, 31)], "datetime64[us]", "Datetime(time_unit='us', time_zone=None)"),
    "utc": (pa.timestamp("us", "UTC"), [MOMENT.replace(tzinfo=UTC), dt.datetime(1970, 1, 1, tzinfo=UTC)], "datetime64[us, UTC]", "Datetime(time_unit='us', time_zone='UTC')"),
    "berlin": (pa.timestamp("ms", "Europe/Berlin"), [dt.datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=fold) for fold in (0, 1)], "datetime64[ms, Europe/Berlin]", "Datetime(time_unit='ms', time_zone='Europe/Berlin')"),
    "duration": (pa.duration("us"), [dt.timedelta(days=-1, microseconds=1), dt.timedelta(0)], "timedelta64[us]", "Duration(time_unit='us')"),
    "floats": (pa.list_(pa.float64()), [[0.5, 1.5], []], "object", "List(Float64)"),
    "ints": (pa.list_(pa.int64()), [[2**53 + 1, None], [7]], "object", "List(Int64)"),
    "array": (pa.list_(pa.float32(), 2), [[0.5, 1.5], [2.5, 3.5]], "object", "Array(Float32, shape=(2,))"),
    "struct": (pa.struct({"n": pa.int64(), "t": pa.string()}), [{"n": 2**53 + 1, "t": "x"}, {"n": None, "t": None}], "object", "Struct({'n': Int64, 't': String})"),
    "map": (pa.map_(pa.string(), pa.int64()), [[("a", 2**53 + 1)], []], "object", ""),
    "uuid": (pa.uuid(), [uuid.UUID(int=7), uuid.UUID(int=2**128 - 1)], "object", ""),
}  # fmt: skip
MASKED = {"bool": "boolean", "int8": "Int8", "int64": "Int64", "uint64": "UInt64"}  # with a null


def same(given: Any, expected: Any) -> bool:
    """Whether a value of a frame is the value in Python; a moment is one instant in one zone."""
    if expected is None:
        return bool(np.ndim(given) == 0 and pd.isna(given))
    if isinstance(expected, list):
        return len(given) == len(expected) and all(map(same, given, expected))
    if isinstance(expected, dt.datetime):
        return bool(
            given == pd.Timestamp(expected).as_unit("us") and given.utcoffset() == expected.utcoffset()
        )
    if isinstance(expected, dt.date):
        return bool(pd.Timestamp(given).date() == expected if expected.year > 1677 else given.year == 1)
    return bool(given == expected)


CASES = [(name, nulls) for name in TYPES for nulls in ("none", "one", "all", "no rows")]


@pytest.mark.parametrize(("name", "nulls"), CASES, ids=[f"{a} {b}" for a, b in CASES])
@pytest.mark.sample(90)
def test_pandas_has_each_value_in_a_dtype_that_does_not_follow_from_the_values(name: str, nulls: str) -> None:
    """As Python's own values say; a published table's integers never become floats."""
    kind, values, dtype, _ = TYPES[name]
    values = {"none": values, "one": [values[0], None], "all": [None, None], "no rows": []}[nulls]
    storage = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
    plain = [value.bytes if isinstance(value, uuid.UUID) else value for value in values]
    array = pa.array(plain, storage)
    table = pa.table({"x": pa.ExtensionArray.from_storage(kind, array) if storage != kind else array})
    frame = table_as_frame(table, "pandas")
    assert str(frame["x"].dtype) == (MASKED.get(name, dtype) if None in values else dtype)
    assert len(frame) == len(values) and all(map(same, frame["x"], values))
    chunk = pa.RecordBatch.from_arrays([table["x"].combine_chunks()], ["x"])
    if None in values and name in MASKED:
        with pytest.raises(MissingValueError, match=r"column 'x' .* null values, the first in row"):
            as_frame(chunk, "pandas")
    nullable = as_frame(chunk, "pandas", nullable=True)
    assert str(nullable["x"].dtype) == MASKED.get(name, dtype)  # of any values
    assert all(map(same, nullable["x"], values))


@pytest.mark.parametrize("name", [name for name, (*_, polars) in TYPES.items() if polars])
def test_polars_has_each_value_and_arrows_types(name: str) -> None:
    """With a null, all nulls and no rows; back in Python they are what they were."""
    pytest.importorskip("polars")
    kind, values, _, expected = TYPES[name]
    for some in ([*values, None], [None], []):
        frame = as_frame(pa.RecordBatch.from_arrays([pa.array(some, kind)], ["x"]), "polars")
        assert str(frame["x"].dtype) == expected
        assert frame["x"].to_list() == [v if not isinstance(v, list) else list(v) for v in some]


def test_numpy_is_a_matrix_of_the_declared_type() -> None:
    """A null is a NaN, integers beyond 2**53 stay; two types, or texts, are refused when it is opened."""
    chunk = pa.RecordBatch.from_pydict({"a": pa.array([1.5, None]), "b": pa.array([2.0, 3.0])})
    np.testing.assert_array_equal(as_frame(chunk, "numpy"), [[1.5, 2.0], [np.nan, 3.0]])
    ints = pa.RecordBatch.from_pydict({"a": pa.array([2**63 - 1, 1])})
    assert as_frame(ints, "numpy").tolist() == [[2**63 - 1], [1]]
    for inputs in ({"a": "float64", "b": "int64"}, {"a": "string"}, {"a": category(["x"])}):
        with pytest.raises(ModelError, match=r"f: frame 'numpy' is .*matrix"):
            opened(lambda x: x[:, 0], inputs, frame="numpy")


def opened(function: Any, inputs: Any = None, outputs: Any = None, model: bytes = b"", **said: Any) -> Any:
    """A scorer for a function of columns `a` and `b`, or others, that gives `y`, or others."""
    outputs = outputs or {"y": "float64"}
    decorated = scorer(inputs or {"a": "float64", "b": "float64"}, outputs, **said)(function)
    file = ModelFile("m.bin", "0" * 64, model) if model else None
    declared = declared_of(decorated)
    assert declared
    return open_function("f", decorated, declared, file, Options({name: name for name in outputs}))


N = 40
CHUNK = pa.RecordBatch.from_pydict({"a": np.arange(N) / 4, "b": np.arange(float(N))[::-1]})


def in_place(frame: pd.DataFrame) -> pd.Series:
    frame.loc[frame["a"] > 3, "a"] += 2
    frame["b"] *= 2
    return frame["a"] + frame["b"]


def in_place_numpy(matrix: Any) -> Any:
    matrix[:, 1] *= 2
    matrix[matrix[:, 0] > 3, 0] += 2
    return matrix.sum(axis=1)


def in_polars(frame: Any) -> Any:
    import polars as pl

    a = pl.when(pl.col("a") > 3).then(pl.col("a") + 2).otherwise(pl.col("a"))
    return frame.select((a + pl.col("b") * 2).alias("y"))


def in_arrow(chunk: pa.RecordBatch) -> Any:
    return pa.table({"y": in_place(chunk.to_pandas().copy())})


FUNCTIONS = {
    "pandas": in_place,
    "pandas nullable": in_place,
    "numpy": in_place_numpy,
    "polars": in_polars,
    "arrow": in_arrow,
}


@pytest.mark.parametrize("frame", FUNCTIONS)
def test_a_function_of_each_frame_keeps_the_contract_and_gives_the_same(frame: str) -> None:
    """In any chunks, threads, with a null; it may write into its frame, which is its own."""
    if frame == "polars":
        pytest.importorskip("polars")
    nullable = frame == "pandas nullable"
    f = opened(FUNCTIONS[frame], frame=frame.split(maxsplit=1)[0], nullable=nullable)
    before = CHUNK.to_pylist()
    check_scorer(f, CHUNK)
    assert CHUNK.to_pylist() == before
    a, b = (CHUNK[name].to_numpy() for name in ("a", "b"))
    assert f.score(CHUNK)["y"].to_pylist() == (np.where(a > 3, a + 2, a) + 2 * b).tolist()


RESULTS = {
    "array": lambda f: f["a"].to_numpy(),
    "matrix of one column": lambda f: f[["a"]].to_numpy(),
    "narrower": lambda f: f["a"].astype("float32"),
    "series": lambda f: f["a"],
    "series of another index class": lambda f: f["a"].set_axis(range(len(f))),
    "nullable": lambda f: f["a"].astype("Float64"),
    "frame": lambda f: f[["a"]].rename(columns={"a": "y"}),
    "dict": lambda f: {"y": f["a"]},
    "arrow array": lambda f: pa.array(f["a"]),
    "chunked": lambda f: pa.chunked_array([pa.array(f["a"])]),
    "table": lambda f: pa.table({"y": f["a"]}),
    "batch": lambda f: pa.RecordBatch.from_pydict({"y": pa.array(f["a"])}),
}


@pytest.mark.parametrize("result", RESULTS.values(), ids=RESULTS)
def test_what_a_function_may_give(result: Any) -> None:
    """Whatever its frame is; the values are those of its column a."""
    f = opened(result, frame="pandas")
    assert f.score(CHUNK)["y"].to_pylist() == CHUNK["a"].to_pylist()
    assert f.score(CHUNK[:1])["y"].to_pylist() == [0.0]
    assert f.score(CHUNK[:0]).schema == pa.schema({"y": pa.float64()})


WRONG = {
    "too short": (lambda f: f["a"].to_numpy()[1:], "output 'y' has 39 rows for 40 rows"),
    "a number": (lambda f: 0.5, "gives float; allowed: a NumPy array"),
    "nothing": (lambda f: None, "gives NoneType; allowed"),
    "a list": (lambda f: f["a"].tolist(), "gives list; allowed"),
    "sorted": (lambda f: f.sort_values("b")["a"], "output 'y' has another index than the frame: it begins with 39, 38, 37, 36, 35, and the frame's is 0 to 39"),
    "of a group": (lambda f: f.set_index("b")["a"], "output 'y' has another index than the frame: it begins with 39.0"),
    "a frame sorted": (lambda f: f.sort_values("b")[["a"]].set_axis(["y"], axis=1), "output 'y' has another index"),
    "labels": (lambda f: (f["a"] > 1).astype(int), "output 'y' is int64; declared is double"),
    "wider": (lambda f: f["a"].astype(object).map(str), "output 'y' is large_string; declared is double"),
    "mixed": (lambda f: np.array([1.5, "x"] * 20, dtype=object), "output 'y' is no column of one type"),
    "both classes": (lambda f: f.to_numpy(), "gives 2 columns, an array of shape (40, 2), for 1 outputs (y); take the ones that are meant, such as predict_proba(df)[:, 1]"),
    "other names": (lambda f: f, "gives the columns a, b; its declared outputs are y"),
    "twice": (lambda f: f[["a", "a"]].set_axis(["y", "y"], axis=1), "gives two columns of one name"),
}  # fmt: skip


@pytest.mark.parametrize(("result", "says"), WRONG.values(), ids=WRONG)
def test_what_it_may_not_give_says_what_and_what_is_allowed(result: Any, says: str) -> None:
    with pytest.raises(ContractError, match=f"^f: {re.escape(says)}"):
        opened(result, frame="pandas").score(CHUNK)


def test_a_missing_score_is_nan() -> None:
    """NaN, NA and Polars' null are one and the same to who scores."""
    for result in (lambda f: f["a"].where(f["a"] > 0), lambda f: f["a"].astype("Float64").where(f["a"] > 0)):
        column = opened(result, frame="pandas").score(CHUNK)["y"]
        assert column.null_count == 0 and np.isnan(column[0].as_py()) and column[1].as_py() == 0.25


def test_several_outputs_and_other_types_come_back() -> None:
    """Texts, moments and lists; by name, not by place."""
    outputs = {
        "p": "float32",
        "why": "string",
        "at": pa.timestamp("us", "UTC"),
        "both": pa.list_(pa.float64()),
    }

    def both(frame: pd.DataFrame) -> dict[str, Any]:
        at = pd.Series(pd.Timestamp("2026-01-07 12:00", tz="Europe/Berlin"), index=frame.index)
        why = pd.Series("a", index=frame.index).where(frame["a"] > 0).astype("category")
        return {"both": frame.to_numpy(), "at": at, "why": why, "p": frame["a"].astype("float32")}

    scored = opened(both, outputs=outputs, frame="pandas").score(CHUNK[:2])
    assert scored.to_pylist() == [
        {"p": a, "why": why, "at": dt.datetime(2026, 1, 7, 11, tzinfo=UTC), "both": [a, b]}
        for a, b, why in ((0.0, 39.0, None), (0.25, 38.0, "a"))
    ]


@pytest.mark.parametrize("frame", ["pandas", "polars", "arrow"])
def test_categories_are_those_that_are_declared_in_each_chunk(frame: str) -> None:
    """Codes of one row alone are those of all rows; a value of none is refused, or a missing one."""
    if frame == "polars":
        pytest.importorskip("polars")
    seen: set[Any] = set()

    def codes(given: Any) -> Any:
        if frame == "pandas":
            seen.add(given["plan"].dtype)
            return given["plan"].cat.codes.astype("int64")
        return (
            given["plan"].to_physical().cast(int)
            if frame == "polars"
            else given["plan"].indices.cast("int64")
        )

    texts = pa.RecordBatch.from_pydict({"plan": ["plus", "basic", "plus"]})
    known = category(["basic", "plus", "pro"], ordered=True)
    f = opened(codes, {"plan": known}, {"y": "int64"}, frame=frame)
    check_scorer(f, texts)
    assert f.score(texts[:1])["y"].to_pylist() == [1] and f.score(texts)["y"].to_pylist() == [1, 0, 1]
    if frame == "pandas":
        assert seen == {pd.CategoricalDtype(["basic", "plus", "pro"], ordered=True)}
    other = pa.RecordBatch.from_pydict({"plan": ["plus", "gold"]})
    says = (
        "column 'plan' holds 'gold' in row 1 of the chunk, which is none of its categories (basic, plus, pro)"
    )
    with pytest.raises(ChunkError, match=re.escape(says)):
        f.score(other)
    if frame == "pandas":
        lenient = opened(
            codes, {"plan": category(["basic", "plus"], unknown="null")}, {"y": "int64"}, frame=frame
        )
        assert lenient.score(other)["y"].to_pylist() == [1, -1]


def test_a_model_file_is_opened_once_by_the_functions_own_load() -> None:
    """From the bytes that were read; without `load` a path is refused, without a path `load` is."""
    times: list[bytes] = []

    def load(file: io.BytesIO) -> float:
        times.append(file.read())
        return float(times[-1])

    f = opened(lambda frame, factor: frame["a"] * factor, frame="pandas", load=load, model=b"2.5")
    check_scorer(f, CHUNK)
    assert f.score(CHUNK)["y"].to_pylist() == [2.5 * a for a in CHUNK["a"].to_pylist()]
    assert times == [b"2.5"]
    with pytest.raises(ModelError, match="f: takes no model file, and the job names one; leave path out, or"):
        opened(lambda frame: frame["a"], model=b"2.5")
    with pytest.raises(ModelError, match="f: takes a model file, which the job does not name: add path"):
        opened(lambda frame, factor: frame["a"], load=load)
    with pytest.raises(ModelError, match=r"m.bin: f can't load it: ValueError: could not convert"):
        opened(lambda frame, factor: frame["a"], load=load, model=b"no number")


BAD = {
    "frame": ({"frame": "spark"}, "scorer(frame='spark'): allowed: arrow, pandas, polars, numpy"),
    "nullable": ({"nullable": True}, "scorer(nullable=True) is of frame 'pandas'"),
    "type": ({"inputs": {"a": "flaot"}}, "scorer(inputs): 'a' is 'flaot'; allowed: a type of Arrow"),
    "category of chunks": ({"inputs": {"a": pa.dictionary(pa.int8(), pa.string())}}, "or category([…]) with all values"),
}  # fmt: skip


@pytest.mark.parametrize(("said", "says"), BAD.values(), ids=BAD)
def test_a_declaration_that_is_none_is_refused_where_it_stands(said: dict[str, Any], says: str) -> None:
    with pytest.raises(TypeError, match=re.escape(says)):
        scorer(**({"inputs": {}, "outputs": {}} | said))
    for values in ([], ["a", "a"], [1, "a"], [0.5]):
        with pytest.raises(TypeError, match="allowed are different texts, or different integers"):
            category(values)


def test_a_frame_whose_library_is_missing_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(
        ModelError, match=r"f: frame 'polars' needs the package polars: pip install \"nightscore\[polars"
    ):
        opened(lambda f: f, frame="polars")


UNTAKEN = {
    "two of one name": ("polars", pa.table([[1], [2]], names=["a", "a"]), "two columns have the name 'a'"),
    "an interval": ("polars", pa.table({"a": [1], "t": pa.array([(3, 0, 0)], pa.month_day_nano_interval())}), "column 't' is month_day_nano_interval, "),
    "a union": ("polars", pa.table({"u": pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])])}), "column 'u' is sparse_union<"),
    "a union in a list": ("polars", pa.table({"u": pa.ListArray.from_arrays([0, 1], pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])]))}), "column 'u' is list<"),
    "nanoseconds": ("pandas", pa.table({"a": [1], "t": pa.array([43_200_123_456_789], pa.time64("ns"))}), "column 't' is time64[ns], "),
}  # fmt: skip


@pytest.mark.parametrize(("frame", "table", "says"), UNTAKEN.values(), ids=UNTAKEN)
def test_a_column_that_a_frame_can_not_have_is_named(frame: str, table: pa.Table, says: str) -> None:
    """By its name, its type and what to do; never by an exception, or a panic, of the library's own."""
    with pytest.raises(ModelError, match=re.escape(says)):
        table_as_frame(table, frame)
