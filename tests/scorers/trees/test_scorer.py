"""The tree kernel comes to the leaves, and to the scores, that ONNX Runtime comes to."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import nightscore
from nightscore.scorers.contract import Options
from nightscore.scorers.errors import ChunkError
from nightscore.scorers.testing import check_scorer
from nightscore.scorers.trees import TOLERANCE, open_trees
from nightscore.scorers.trees.tables.part import BLOCK
from tests.scorers.forests import (
    COLUMNS,
    DOUBLE,
    EXPORTS,
    FLOAT,
    MODES,
    WIDTH,
    WITH_EXP,
    around,
    assert_same,
    both,
    chunk,
    classifier,
    exported,
    grown,
    newer,
    oblivious,
    outputs_of,
    regressor,
)
from tests.scorers.models import file

TRANSFORMS = ("NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO", "PROBIT")
AGGREGATES = ("SUM", "AVERAGE", "MIN", "MAX")
TINY = float(np.nextafter(np.float32(0), np.float32(1)))
EDGES = [0.0, -0.0, TINY, -TINY, np.inf, -np.inf, np.nan, 1.0, float(np.finfo(np.float32).max),
         -float(np.finfo(np.float32).max)]  # fmt: skip


@pytest.mark.parametrize("name", EXPORTS)
def test_what_three_libraries_export(name: str) -> None:
    """LightGBM's, XGBoost's and scikit-learn's trees: the same scores and labels to the last bit."""
    model = exported(name)
    assert_same(model, around(model))


@pytest.mark.parametrize("name", WITH_EXP)
def test_an_exp_after_the_trees_is_within_the_tolerance(name: str) -> None:
    """ONNX Runtime's Exp is not the C library's: scores differ, by the rounding that is declared."""
    model = exported(name)
    ours, theirs = (found.column(0).flatten().to_numpy() for found in both(model, chunk(around(model))))
    np.testing.assert_allclose(ours, theirs, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("kind", [FLOAT, DOUBLE], ids=["float", "double"])
@pytest.mark.parametrize("modes", [*([mode] for mode in MODES), MODES], ids=[*MODES, "mixed"])
@pytest.mark.sample(4)
def test_every_branch_mode(modes: list[str], kind: int) -> None:
    """Each comparison, alone and mixed, with NaN going either way at each node."""
    for seed in range(3):
        model = regressor(grown(np.random.default_rng(seed), 30, modes), kind=kind)
        assert_same(model, around(model, seed))


def test_thresholds_at_the_edges() -> None:
    """Zeros, denormals, infinities, the largest numbers and NaN as thresholds, in every mode."""
    for seed in range(6):
        model = regressor(grown(np.random.default_rng(seed), 40, thresholds=EDGES))
        assert_same(model, around(model, seed))


def test_equal_values_in_chains() -> None:
    """Categories as chains of equalities, neighbours and large ones among them, and what lies between."""
    values = [0, 1, 2, 3, 33, 64, 1000, -1, 2**24, 1.5, float(np.nextafter(np.float32(1), np.float32(2)))]
    for seed in range(4):
        at = grown(np.random.default_rng(seed), 60, ["BRANCH_EQ"], trees=3, thresholds=values)
        at["nodes_featureids"] = [0] * len(at["nodes_featureids"])
        model = regressor(at)
        x = around(model, seed)
        x[::3] = np.round(x[::3])
        assert_same(model, x)


@pytest.mark.parametrize("leaves", [1, 2, 256, 257, 900])
def test_small_and_large_trees(leaves: int) -> None:
    """A lone leaf; as many leaves as a byte can number, and one more; and trees in which rows walk."""
    model = regressor(grown(np.random.default_rng(leaves), leaves, trees=3))
    assert_same(model, around(model))


def test_more_thresholds_than_a_byte_can_count() -> None:
    """Thousands of thresholds of one feature, where several columns of bins stand for it."""
    for modes in (["BRANCH_LEQ"], MODES):
        at = grown(np.random.default_rng(1), 250, modes, trees=15)
        at["nodes_featureids"] = [0] * len(at["nodes_featureids"])
        model = regressor(at)
        assert_same(model, around(model, rows=4000))


def test_a_tree_that_is_one_long_path() -> None:
    """A depth of hundreds is no recursion, whichever way rows go through it."""
    for length in (100, 400, 3000):
        nodes = 2 * length + 1
        inner = [node % 2 == 0 and node < nodes - 1 for node in range(nodes)]
        at = {
            "nodes_treeids": [0] * nodes, "nodes_nodeids": list(range(nodes)),
            "nodes_featureids": [0] * nodes,
            "nodes_values": [float(node) for node in range(nodes)],
            "nodes_modes": ["BRANCH_EQ" if i else "LEAF" for i in inner],
            "nodes_truenodeids": [n + 1 if i else 0 for n, i in enumerate(inner)],
            "nodes_falsenodeids": [n + 2 if i else 0 for n, i in enumerate(inner)],
            "nodes_missing_value_tracks_true": [0] * nodes,
            "treeids": [0] * (length + 1), "nodeids": [n for n, i in enumerate(inner) if not i],
            "ids": [0] * (length + 1), "weights": [float(n) for n in range(length + 1)],
        }  # fmt: skip
        x = np.random.default_rng(1).integers(0, 2 * length, (600, WIDTH)).astype(np.float32)
        assert_same(regressor(at), x)


@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("targets", [1, 3])
def test_aggregates_and_transforms_of_regressors(aggregate: str, transform: str, targets: int) -> None:
    """Sums, averages, extremes; base values or none; every post-transform; both precisions."""
    for kind in (FLOAT, DOUBLE):
        for base in ({}, {"base_values": [0.5, -0.25, 1.0][:targets]}):
            model = regressor(
                grown(np.random.default_rng(targets), 8, targets=targets), targets, kind,
                aggregate_function=aggregate, post_transform=transform, **base,
            )  # fmt: skip
            assert_same(model, around(model, rows=600))


def _votes(rng: np.random.Generator, classes: int, votes: str) -> dict[str, list[Any]]:
    """Trees whose leaves vote for all classes, for one each in turn, or all for one and the same."""
    at = grown(
        rng, 8, targets=1 if votes in ("first", "second", "positive") else classes, every=votes != "turn"
    )
    if votes == "second":
        at["ids"] = [1] * len(at["ids"])
    if votes == "positive":
        at["weights"] = [abs(weight) / 5 for weight in at["weights"]]
    return at


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("votes", ["all", "turn", "first", "second", "positive"])
@pytest.mark.parametrize("classes", [2, 3])
def test_classifiers(transform: str, votes: str, classes: int) -> None:
    """Labels and scores in all the cases that ONNX Runtime tells apart, base values or none."""
    if transform == "PROBIT" and classes == 2 and votes in ("first", "positive"):
        pytest.skip("refused: ONNX Runtime leaves the second score unwritten")
    bases = [{}, {"base_values": [0.1, 0.2, -0.3][:classes]}]
    for base in [*bases, *([{"base_values": [0.5]}] if classes == 2 else [])]:
        for kind, labels in ((FLOAT, ["low", "mid", "high"]), (DOUBLE, [0, 1, 7])):
            at = _votes(np.random.default_rng(3), classes, votes)
            model = classifier(at, labels[:classes], kind, post_transform=transform, **base)
            assert_same(model, around(model, rows=600))


@pytest.mark.parametrize("kind", [FLOAT, DOUBLE], ids=["float", "double"])
@pytest.mark.parametrize("aggregate", range(4))
def test_the_newer_operator(kind: int, aggregate: int) -> None:
    """TreeEnsemble of ai.onnx.ml 5: sets of values, shared leaves, numbers for names."""
    for seed in range(3):
        for transform in range(5):
            model = newer(
                np.random.default_rng(seed), kind, n_targets=1 if aggregate > 1 else 3,
                aggregate_function=aggregate, post_transform=transform,
            )  # fmt: skip
            assert_same(model, around(model, seed, rows=600))


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 2**32 - 1), leaves=st.integers(1, 90), rows=st.integers(1, 2 * BLOCK + 3),
    thresholds=st.none() | st.lists(st.floats(width=32) | st.sampled_from(EDGES), min_size=1, max_size=9),
    modes=st.lists(st.sampled_from(MODES), min_size=1, max_size=6), kind=st.sampled_from([FLOAT, DOUBLE]),
    missing=st.booleans(),
)  # fmt: skip
def test_any_trees_on_any_values(  # noqa: PLR0917
    seed: int,
    leaves: int,
    rows: int,
    thresholds: list[float] | None,
    modes: list[str],
    kind: int,
    missing: bool,
) -> None:
    """Random trees, thresholds and values around them, in any number of rows."""
    rng = np.random.default_rng(seed)
    model = regressor(grown(rng, leaves, modes, missing=missing, thresholds=thresholds), kind=kind)
    assert_same(model, around(model, seed, rows))


@pytest.mark.parametrize("name", ["lightgbm classes", "scikit forest of texts", "xgboost regression"])
@pytest.mark.sample(1)
def test_the_contract_of_scorers(name: str) -> None:
    """Any chunking, any order, several threads: not a bit differs."""
    model = exported(name)
    scorer = open_trees(file(model, COLUMNS), Options(_single(outputs_of(model))))
    x = np.random.default_rng(2).normal(size=(3 * BLOCK + 7, WIDTH)).astype(np.float32)
    x[::9, 2] = np.nan
    check_scorer(scorer, chunk(x))


def _single(outputs: dict[str, str]) -> dict[str, str]:
    return {name: source.replace("[*]", "[0]") for name, source in outputs.items()}


def test_nulls_and_slices() -> None:
    """A null of a float column is a missing value, wherever the chunk was cut; an integer's is an error."""
    model = regressor(grown(np.random.default_rng(0), 30))
    values = np.random.default_rng(1).normal(size=(2000, WIDTH)).astype(np.float32)
    columns = [pa.array(column, mask=column > 0.7) for column in values.T]
    rows = pa.RecordBatch.from_arrays(columns, COLUMNS).slice(37, 1500)
    ours, theirs = both(model, rows)
    assert ours.equals(theirs)
    broken = rows.set_column(0, "a", pa.array([None, 1] * 750, pa.int64()))
    with pytest.raises(ChunkError, match="'a'"):
        both(model, broken)


def nowhere(folder: Path) -> dict[str, str]:
    """An environment in which compiled code has no folder: not the user's, not one of $NUMBA_CACHE_DIR."""
    (folder / "a file").touch()
    homes = dict.fromkeys(("HOME", "XDG_CACHE_HOME"), str(folder / "a file" / "cache"))
    return {name: value for name, value in (os.environ | homes).items() if name != "NUMBA_CACHE_DIR"}


def test_a_function_that_can_not_be_kept_is_compiled_all_the_same(tmp_path: Path) -> None:
    """Where there is no folder for compiled code: a small one, as the kernel takes seconds."""
    (tmp_path / "__pycache__").write_text("a file where the folder would be")
    code = (
        "from nightscore.scorers.compiled import numba_compiled\n"
        "@numba_compiled\ndef twice(x):\n    return x + x\n"
    )
    (tmp_path / "small.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "-c", "from small import twice; print(twice(21), type(twice._cache).__name__)"],
        cwd=tmp_path,
        env=nowhere(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["42", "NullCache"], done.stderr


@pytest.mark.slow
def test_where_nothing_can_be_kept_it_compiles_all_the_same(tmp_path: Path) -> None:
    """Without a folder for compiled code the kernel runs, and only takes longer to open."""
    model = regressor(grown(np.random.default_rng(0), 6))
    (tmp_path / "m.onnx").write_bytes(file(model, COLUMNS).data)
    package = tmp_path / "packages" / "nightscore"
    sources = Path(nightscore.__file__).parent
    shutil.copytree(sources, package, ignore=shutil.ignore_patterns("__pycache__"))
    for folder in (package / "scorers", package / "scorers" / "trees"):
        (folder / "__pycache__").write_text("a file where the folder would be")
    code = (
        "import pyarrow as pa; from pathlib import Path; from nightscore.scorers.contract import Options;"
        "from nightscore.scorers.trees import open_trees;"
        "from nightscore.scorers.files.model_file import read_model;"
        "scorer = open_trees(read_model(Path('m.onnx'), 'm'), Options({'score': 'y'}));"
        "print(scorer.score(pa.record_batch({n: [0.5] for n in 'abcde'})).num_rows)"
    )
    environment = {**nowhere(tmp_path), "PYTHONPATH": str(package.parent)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "1", done.stderr


def test_a_processor_without_avx512_gives_the_same_bits(tmp_path: Path) -> None:
    """For the plainest x86-64, and for this processor: leaves of each size of table, levels, gaps."""
    for leaves in (6, 60, 120, 250):
        model = regressor(grown(np.random.default_rng(leaves), leaves, trees=3))
        (tmp_path / f"{leaves}.onnx").write_bytes(file(model, COLUMNS).data)
    levels = regressor(oblivious(np.random.default_rng(1), [6, 3, 9, 8, 0]))
    (tmp_path / "oblivious.onnx").write_bytes(file(levels, COLUMNS).data)
    code = (
        "import sys; import numpy as np, pyarrow as pa; from pathlib import Path;"
        "from nightscore.scorers.contract import Options; from nightscore.scorers.trees import open_trees;"
        "from nightscore.scorers.files.model_file import read_model;"
        "x = np.random.default_rng(0).normal(size=(5, 1003)).astype(np.float32); x[2, ::5] = np.nan;"
        "rows = pa.record_batch(dict(zip('abcde', x)));"
        "opened = [open_trees(read_model(Path(m), m), Options({'score': 'y'})) for m in sys.argv[1:]];"
        "print([one.score(rows)['score'].to_numpy().tobytes().hex() for one in opened])"
    )
    command = [sys.executable, "-c", code, *map(str, sorted(tmp_path.glob("*.onnx")))]
    plain = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": str(tmp_path)}
    given = [
        subprocess.run(command, env=os.environ | more, capture_output=True, text=True, check=True).stdout
        for more in (plain, {})
    ]
    assert given[0] == given[1]
    assert len(given[0]) > 5 * 1003 * 8


def test_an_empty_chunk() -> None:
    """An empty chunk has no rows to score, and no rows come out."""
    model = exported("lightgbm binary")
    scorer = open_trees(file(model, COLUMNS), Options(outputs_of(model)))
    found = scorer.score(chunk(np.zeros((0, WIDTH), np.float32)))
    assert (found.num_rows, found.schema) == (0, scorer.signature.outputs)
