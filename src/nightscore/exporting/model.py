"""`nightscore.export`: a trained model as an .onnx file, held to its library before anything is written."""

import functools
import importlib
import io
import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from threadpoolctl import threadpool_limits

from nightscore.common import Broken, clipped, first_line, replace_bytes
from nightscore.exporting import graph
from nightscore.exporting.beyond import beyond
from nightscore.exporting.comparison import Case, Floats, Verdict, chances, compare, score_names, worst_row
from nightscore.exporting.conversion import MATRIX, TOLERANCE, CannotConvert, Exported, Trained
from nightscore.exporting.edges import NOTHING, Edge, Score, edges, is_nothing, jumps, limits
from nightscore.exporting.rows import Rows, as_arrow, read_rows
from nightscore.scorers import ModelError

LIBRARIES = ("lightgbm", "xgboost", "catboost", "torch", "sklearn")
EXTRA = 'pip install "nightscore[export]"'
REAL_ROWS = 200
MOST_TOLERANCE = 0.1
LONGEST = 300  # characters of what a converter says


def export(
    model: Any,
    X: Any,  # noqa: N803  as every library calls it
    folder: str | Path,
    *,
    name: str = "model",
    columns: Sequence[str] | None = None,
    tolerance: float = TOLERANCE,
    tokenizer: Any = None,
    max_length: int | None = None,
) -> Exported:
    """Write `NAME.onnx` and `NAME_expected.parquet` for a trained model, if the one is what the other says.

    The rows that the model is held to are up to 200 of X and those at its edges: nulls, texts that X does not
    have, values far out, and values at both sides of jumps of the scores, such as the thresholds of trees.

    Args:
        model: a fitted scikit-learn estimator or pipeline; a model of XGBoost or LightGBM (scikit-learn API
            or Booster) or of CatBoost; or a PyTorch module that takes a matrix [rows, columns].
        X: some hundred rows [n] as the model was trained on: a DataFrame, or a matrix as NumPy has it.
        folder: where the files are written, such as data/models of the workspace; files of the same names are
            replaced.
        name: of the files.
        columns: the names of X's columns, in their order, where it is a matrix.
        tolerance: by how much a score may differ from the library's, 0 to 0.1: relative to its size, absolute
            below 1.
        tokenizer: of a PyTorch module that takes `input_ids` and `attention_mask` [texts, tokens]: its fast
            tokenizer, of `tokenizers` or `transformers`. X is a column of texts then. A SentenceTransformer
            has its own.
        max_length: the most tokens of a text; default: what the tokenizer cuts at.

    Raises:
        Broken: there is no converter for such a model, or it writes another one: says which row shows it, and
            what to do. Nothing is written then.
    """
    if not (isinstance(tolerance, int | float) and 0 <= tolerance <= MOST_TOLERANCE):
        allowed = f"a number from 0 to {MOST_TOLERANCE}, such as 1e-5"
        raise Broken(f"export: tolerance is {clipped(tolerance)}; allowed: {allowed}")
    try:
        if tokenizer is not None or "sentence_transformers" in _roots(model):
            return _export_texts(model, X, Path(folder) / name, tolerance, (tokenizer, max_length))
        rows = read_rows(X, columns)
        trained = _trained(model, rows)
        case, (notes, domain) = _case(rows, trained)
        names = score_names(trained, case.scores.shape[1])
        case = _scored(case, names, trained)
        said = _metadata(rows, trained) | {"domain": domain}
        verdict = _first_right(case, trained, (names, said), tolerance)
    except CannotConvert as error:
        raise Broken(f"export: {first_line(error)}. Nothing was written") from error
    held = functools.partial(_far, verdict, trained, names)
    more, said_of_them = beyond(rows, _score(rows, trained), held, (trained.library, trained.known))
    domain = {name: more.get(name, {}) | domain.get(name, {}) for name in [*domain, *more]}
    domain = {name: _tidy(of) for name, of in domain.items()}
    data = graph.with_metadata(verdict.data, {"outputs": dict(verdict.outputs), "domain": domain})
    notes = [*chances(trained, verdict), *notes, *said_of_them]
    return _write(Path(folder) / name, data, (case, names, verdict), tolerance, notes)


def _far(verdict: Verdict, trained: Trained, names: Sequence[str], case: Case) -> Floats:
    """How far the file's scores of some rows are from the library's [n]."""
    return compare(verdict.data, _scored(case, names, trained), trained, names).distances


def _export_texts(model: Any, texts: Any, place: Path, tolerance: float, cut: Any) -> Exported:
    try:
        module = importlib.import_module("nightscore.exporting.texts")
    except ImportError as error:
        raise CannotConvert(f"{first_line(error)}: run  {EXTRA}, and torch and tokenizers") from error
    try:
        found: Exported = module.export_texts(model, texts, place, tolerance, cut)
    except CannotConvert:
        raise
    except Exception as error:  # torch raises what it likes
        raise CannotConvert(f"it can't be converted: {_why(error)}; {module.ADVICE}") from error
    return found


def _roots(model: Any) -> list[str]:
    """The packages that a model's class comes from, its own first."""
    return [kind.__module__.partition(".")[0] for kind in type(model).__mro__]


def _trained(model: Any, rows: Rows) -> Trained:
    """What the module of a model's library says of it."""
    roots = _roots(model)
    library = next((root for root in roots if root in LIBRARIES), None)
    if "transformers" in roots:
        raise CannotConvert(
            f"a {type(model).__name__} takes tokens: give tokenizer=…, and a module whose forward(input_ids, "
            "attention_mask) gives one row a text (docs/export.md)"
        )
    if library is None:
        allowed = "scikit-learn, XGBoost, LightGBM, CatBoost, and PyTorch modules"
        raise CannotConvert(f"a {type(model).__name__} of {roots[0]} has no converter; allowed: {allowed}")
    try:
        found: Trained = importlib.import_module(f"nightscore.exporting.{library}").read(model, rows)
    except ImportError as error:
        raise CannotConvert(f"{first_line(error)}: run  {EXTRA}") from error
    return found


def _score(rows: Rows, trained: Trained) -> Score:
    """The library's own scores [n, k] of rows."""

    def score(frame: pd.DataFrame) -> Floats:
        # Of few rows: threads that wait for each other cost more than they give.
        with threadpool_limits(1), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "X does not have valid feature names")
            scores = np.asarray(trained.predict(rows.as_trained(frame)), np.float64)
        return scores.reshape(len(frame), -1)

    return score


def _case(rows: Rows, trained: Trained) -> tuple[Case, tuple[list[str], dict[str, Any]]]:
    """The rows that the library scores; what it does not, in words and as a job's `domain`."""
    refused: dict[str, tuple[Edge, str]] = {}
    kept: list[tuple[Edge, Floats]] = []

    score = _score(rows, trained)
    for edge in edges(rows, REAL_ROWS, trained.known):
        try:
            kept.append((edge, score(edge.frame)))
        except Exception as error:
            if not edge.column:
                raise Broken(f"export: the model can't score X: {type(error).__name__}: {error}") from error
            refused.setdefault(edge.about, (edge, first_line(error)))
    beside, around = _beside(rows, score, trained)
    kept += beside
    batches = [as_arrow(edge.frame, rows.columns) for edge, _ in kept]
    table = pa.Table.from_batches(batches).combine_chunks()
    about = [edge.about for edge, _ in kept for _ in range(len(edge.frame))]
    domain: dict[str, Any] = {}
    for edge, _ in refused.values():
        domain[edge.column] = domain.get(edge.column, {}) | _domain(edge, rows, trained)
    domain = {name: _tidy(said) for name, said in domain.items()}
    notes = [
        f"where {edge.about}, {trained.library} raises: {clipped(why)}. In job.yaml: domain: "
        f"{json.dumps({edge.column: domain[edge.column]}, ensure_ascii=False)}"
        for edge, why in refused.values()
    ] + around
    return Case(table.to_batches()[0], about, np.vstack([scores for _, scores in kept])), (notes, domain)


def _beside(rows: Rows, score: Score, trained: Trained) -> tuple[list[tuple[Edge, Floats]], list[str]]:
    """Rows beside jumps, with their scores; and which are left out, in words."""
    kept, around = [], set()
    for edge in jumps(rows, score, TOLERANCE, trained.known):
        nothing = is_nothing(edge)
        around |= {edge.column} if nothing.any() else set()
        frame = edge.frame[~nothing].reset_index(drop=True)
        if len(frame):
            kept.append((Edge(edge.about, frame, edge.column), score(frame)))
    return kept, [
        f"not held: rows with {name} within {NOTHING:g} of zero, and not zero" for name in sorted(around)
    ]


def _domain(edge: Edge, rows: Rows, trained: Trained) -> dict[str, Any]:
    """What a job's `domain` says, so that it refuses what the library does not score."""
    column = next(one for one in rows.columns if one.name == edge.column)
    if "null" in edge.about:
        return {"null": False}
    if "far out" not in edge.about:
        known = column.categories or trained.known.get(column.name)
        return {"in": list(known or sorted(_texts(rows, column.name)))}
    return limits(rows.frame[column.name])


def _tidy(said: dict[str, Any]) -> dict[str, Any]:
    """A domain as a job.yaml allows it: a list of values without bounds beside it."""
    return {key: value for key, value in said.items() if "in" not in said or key in ("in", "null")}


def _scored(case: Case, names: Sequence[str], trained: Trained) -> Case:
    """The case with the scores that have a name: of two classes the second one's."""
    scores = case.scores[:, 1:] if len(trained.classes) == 2 and len(names) == 1 else case.scores
    return Case(case.rows, case.about, scores)


def _first_right(
    case: Case, trained: Trained, called: tuple[Sequence[str], Mapping[str, Any]], tolerance: float
) -> Verdict:
    """The first way of converting whose model gives what the library does.

    Raises:
        CannotConvert: none does; of the nearest one there is the row that shows it.
    """
    names, said = called
    failed: list[str] = []
    first = ""
    wrong: list[tuple[str, Verdict]] = []
    for way in trained.ways:
        try:
            data = graph.with_metadata(graph.plain("the converted model", way.make()), said)
            verdict = compare(data, case, trained, names)
        except Exception as error:  # converters raise what they like
            failed.append(f"in {way.about} it can't be converted: {_why(error)}")
            if not way.about.endswith(MATRIX):
                first = first or failed[-1]
            continue
        if verdict.furthest <= tolerance:
            return verdict
        wrong.append((way.about, verdict))
    if not wrong:
        raise CannotConvert(f"{first or failed[0]}. What to do: {trained.advice}")
    about, nearest = min(wrong, key=lambda one: (one[1].distances > tolerance).sum())
    count = int((nearest.distances > tolerance).sum())
    raise CannotConvert(
        f"the converter writes another model: {count:,} of {len(case.about):,} rows differ by more than "
        f"{tolerance:g} (in {about}), most of all {worst_row(case, nearest, names, trained.library)}. "
        f"What to do: {trained.advice}"
    )


def _why(error: Exception) -> str:
    kind = "" if isinstance(error, CannotConvert | ModelError) else f"{type(error).__name__}: "
    text = kind + first_line(error)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _metadata(rows: Rows, trained: Trained) -> dict[str, Any]:
    """What the file says of itself: columns, categories, texts that stand for null, dates, its library."""
    texts = rows.of_kind("text")
    known = {c.name: list(c.categories) for c in rows.columns if c.categories}
    codes = {c.name: graph.null_text(c.categories or _texts(rows, c.name)) for c in texts}
    return {
        "columns": rows.names,
        "categories": known,
        "missing": codes,
        "nullable": [c.name for c in rows.columns if c.nullable],
        "days": [column.name for column in rows.of_kind("date")],
        "trained_by": trained.library,
    }


def _texts(rows: Rows, name: str) -> list[Any]:
    return list(rows.frame[name].dropna().unique())


def _write(
    place: Path, data: bytes, made: tuple[Case, Sequence[str], Verdict], tolerance: float,
    notes: Sequence[str],
) -> Exported:  # fmt: skip
    case, names, verdict = made
    path, expected = place.with_name(f"{place.name}.onnx"), place.with_name(f"{place.name}_expected.parquet")
    if both := sorted(set(names) & set(case.rows.schema.names)):
        raise Broken(
            f"export: {both[0]!r} is a column of X, and what the scores are called; rename the column"
        )
    finite = np.isfinite(case.scores).all(axis=1)  # a night refuses a score that is NaN
    table = pa.Table.from_batches([case.rows])
    for number, score in enumerate(names):
        table = table.append_column(score, pa.array(case.scores[:, number]))
    kept = table.filter(pa.array(finite))
    file = io.BytesIO()
    pq.write_table(kept, file, compression="zstd")
    # The rows first: a model beside the rows of another one is refused, and neither is a wrong night.
    replace_bytes(expected, file.getvalue())
    replace_bytes(path, data)
    return Exported(path, expected, verdict.outputs, len(kept), verdict.furthest, tolerance, notes)
