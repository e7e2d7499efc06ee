"""The signature of MLmodel as columns of Arrow: what a model takes, and what it gives.

A signature lists columns (a name and a type each), or tensors (a dtype and a shape each). Of tensors one of
[-1, n] is a matrix, of columns that the job names.
"""

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from nightscore.scorers.errors import ModelError

PREDICTION = "prediction"  # what is called so that has no name of its own
TYPES = {
    "boolean": pa.bool_(), "integer": pa.int32(), "long": pa.int64(), "float": pa.float32(),
    "double": pa.float64(), "string": pa.string(), "binary": pa.binary(), "datetime": pa.timestamp("ns"),
}  # fmt: skip


@dataclass(frozen=True)
class Columns:
    """Columns by name and type; of a matrix without names its type and width (0: any), and no column."""

    schema: pa.Schema
    matrix: pa.DataType | None = None
    width: int = 0


def input_columns(name: str, signature: Mapping[str, Any]) -> Columns | None:
    """The columns that a model takes; None where the signature says nothing of them.

    Raises:
        ModelError: they are no columns and no matrix of [-1, n].
    """
    specs = _specs(name, signature, "inputs")
    if specs is None:
        return None
    if len(specs) == 1 and "name" not in specs[0]:
        kind, shape = _type(name, "input", specs[0]), _shape(specs[0])
        if len(shape) != 2:
            raise ModelError(
                f"{name}: its one input is a tensor of shape {shape}; allowed: [-1, n], or columns by names"
            )
        return Columns(pa.schema([]), kind, max(shape[1], 0))
    return Columns(pa.schema([(_name(name, spec), _type(name, "input", spec)) for spec in specs]))


def output_columns(name: str, signature: Mapping[str, Any]) -> pa.Schema | None:
    """The outputs that a model gives, `prediction` where it has no name; a list of what is [-1, n].

    Raises:
        ModelError: the type of one is no column's.
    """
    specs = _specs(name, signature, "outputs")
    if specs is None:
        return None
    if len(specs) == 1:
        return pa.schema([(str(specs[0].get("name", PREDICTION)), _output(name, specs[0]))])
    return pa.schema([(_name(name, spec), _output(name, spec)) for spec in specs])


def _specs(name: str, signature: Mapping[str, Any], which: str) -> Sequence[Mapping[str, Any]] | None:
    text = signature.get(which)
    if not text:
        return None
    try:
        specs = json.loads(text) if isinstance(text, str) else text
        return [dict(spec) for spec in specs]
    except (ValueError, TypeError) as error:
        raise ModelError(
            f"{name}: the signature in its MLmodel has {which} that are no JSON: {error}"
        ) from error


def _output(name: str, spec: Mapping[str, Any]) -> pa.DataType:
    kind, shape = _type(name, "output", spec), _shape(spec)
    if len(shape) > 2:
        raise ModelError(f"{name}: an output is a tensor of shape {shape}; allowed: [-1] and [-1, n]")
    return pa.list_(kind) if len(shape) == 2 else kind


def _shape(spec: Mapping[str, Any]) -> list[int]:
    """Of a tensor its own, of a column [-1]."""
    tensor = spec.get("tensor-spec")
    return [int(size) for size in tensor["shape"]] if tensor else [-1]


def _name(model: str, spec: Mapping[str, Any]) -> str:
    if "name" not in spec:
        raise ModelError(f"{model}: the signature in its MLmodel has several columns, and one of no name")
    return str(spec["name"])


def _type(model: str, what: str, spec: Mapping[str, Any]) -> pa.DataType:
    shown = f"{model}: {what} {spec.get('name', '')!r} of the signature in its MLmodel"
    said = spec.get("type")
    with contextlib.suppress(KeyError, TypeError, AttributeError):  # what is not as MLflow writes it
        if said == "tensor":
            return _of_numpy(shown, str(spec["tensor-spec"]["dtype"]))
        if said == "array" and spec.get("items", {}).get("type") in TYPES:
            return pa.list_(TYPES[spec["items"]["type"]])
    if said not in TYPES:
        raise ModelError(f"{shown} is {said}; allowed: {', '.join(TYPES)}, an array of one, a tensor")
    return TYPES[said]


def _of_numpy(shown: str, dtype: str) -> pa.DataType:
    kind = np.dtype("O" if dtype == "object" else dtype)
    if kind.kind in "OUT":
        return pa.string()
    if kind.kind in "biuf":
        return pa.from_numpy_dtype(kind)
    raise ModelError(f"{shown} is a tensor of {dtype}; allowed: numbers, booleans, texts")
