"""The committed model: ONNX and LightGBM agree everywhere, and its figures are those it was accepted for."""

import datetime as dt
import json
import shutil
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightscore import features, load
from nightscore.scorers.arrays import matrix
from tests.workspace.retail.world import DAY, JOB, MODEL, SPEC

TOLERANCE = 2e-6  # ONNX Runtime adds the trees' values in float32, LightGBM in float64
ONNX = MODEL / "basket_ranker.onnx"
METRICS: dict[str, Any] = json.loads((MODEL / "metrics.json").read_text())
BASELINES = ("own most-bought", "most popular, 28 days")
HARDEST = ("decayed counts with neighbours", "TIFU-KNN", "decayed counts")
Matrix = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def session() -> ort.InferenceSession:
    return ort.InferenceSession(ONNX.read_bytes(), providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def booster() -> lgb.Booster:
    return lgb.Booster(model_file=str(MODEL / "basket_ranker.txt"))


@pytest.fixture(scope="module")
def rows(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    """What the job scores on 2017-11-01 of every twentieth household: about 25,000 rows."""
    root = tmp_path_factory.mktemp("some") / "w"
    shutil.copytree(workspace, root, ignore=shutil.ignore_patterns("promotions"))
    for path in root.glob("data/lake/retail/transactions/*/*.parquet"):
        table = pq.read_table(path, partitioning=None)
        pq.write_table(table.filter(pa.array(table["household_id"].to_numpy() % 20 == 0)), path)
    return features(load(JOB, workspace=root), DAY)


@pytest.fixture(scope="module")
def real(rows: pa.Table, booster: lgb.Booster) -> Matrix:
    """20,000 rows [20000, columns] of them, spread over all of these households."""
    some = rows.take(np.linspace(0, rows.num_rows - 1, 20_000).astype(int)).combine_chunks()
    found: Matrix = matrix(some.to_batches()[0], booster.feature_name(), np.float32)
    return found


def assert_equal(session: ort.InferenceSession, booster: lgb.Booster, rows: Matrix) -> None:
    probabilities = session.run(["probabilities"], {"features": rows})[0]
    expected = np.asarray(booster.predict(rows, num_threads=1))
    assert probabilities.shape == (len(rows), 2)
    assert np.abs(probabilities[:, 1] - expected).max() < TOLERANCE


def splits(booster: lgb.Booster) -> list[tuple[int, float]]:
    """Every (column, threshold) of every tree, once; without those that only part missing from present."""
    found: set[tuple[int, float]] = set()

    def walk(node: dict[str, Any]) -> None:
        if "threshold" in node:
            if node["threshold"] < 1e300:
                found.add((node["split_feature"], node["threshold"]))
            walk(node["left_child"])
            walk(node["right_child"])

    for tree in booster.dump_model()["tree_info"]:
        walk(tree["tree_structure"])
    return sorted(found)


@pytest.mark.slow
def test_onnx_equals_lightgbm_on_real_rows(
    session: ort.InferenceSession, booster: lgb.Booster, real: Matrix
) -> None:
    """20,000 candidates of one night."""
    assert_equal(session, booster, real)


@pytest.mark.slow
def test_onnx_equals_lightgbm_at_every_threshold_and_one_ulp_beside_it(
    session: ort.InferenceSession, booster: lgb.Booster, real: Matrix
) -> None:
    """No row takes another branch, whichever side of whichever threshold it is on."""
    thresholds = splits(booster)
    columns = np.array([column for column, _ in thresholds])
    values = np.array([value for _, value in thresholds], np.float32)
    assert (values == [value for _, value in thresholds]).all(), "thresholds are float32 values"
    for beside in (
        values,
        np.nextafter(values, np.float32(np.inf)),
        np.nextafter(values, np.float32(-np.inf)),
    ):
        rows = real[np.arange(len(values)) % len(real)].copy()
        rows[np.arange(len(values)), columns] = beside
        assert_equal(session, booster, rows)


@pytest.mark.slow
def test_a_step_over_a_threshold_is_larger_than_the_tolerance(booster: lgb.Booster, real: Matrix) -> None:
    """So the test above would see wrong branches: many single steps move the score by more than it allows."""
    thresholds = splits(booster)
    columns = np.array([column for column, _ in thresholds])
    rows = real[np.arange(len(columns)) % len(real)].copy()
    rows[np.arange(len(columns)), columns] = values = np.array([value for _, value in thresholds], np.float32)
    at = np.asarray(booster.predict(rows, num_threads=1))
    rows[np.arange(len(columns)), columns] = np.nextafter(values, np.float32(np.inf))
    steps = np.abs(np.asarray(booster.predict(rows, num_threads=1)) - at)
    assert (steps > TOLERANCE).mean() > 0.1


@pytest.mark.slow
def test_onnx_equals_lightgbm_on_missing_values(
    session: ort.InferenceSession, booster: lgb.Booster, real: Matrix
) -> None:
    """NaN in each column alone, in half of all values, and everywhere."""
    width = real.shape[1]
    alone = real[: width * 20].copy()
    alone[np.arange(width * 20), np.arange(width * 20) % width] = np.nan
    assert_equal(session, booster, alone)
    half = real[:5_000].copy()
    half[np.random.default_rng(7).random(half.shape) < 0.5] = np.nan
    assert_equal(session, booster, half)
    assert_equal(session, booster, np.full((1, width), np.nan, np.float32))


def test_the_model_names_the_columns_that_the_features_have(
    session: ort.InferenceSession, rows: pa.Table
) -> None:
    """Same names, same order as in candidates.sql, less key and kept columns."""
    columns = json.loads(session.get_modelmeta().custom_metadata_map["columns"])
    assert columns == [n for n in rows.column_names if n not in (*SPEC["key"], *SPEC["keep"])]
    (features,) = session.get_inputs()
    assert (features.type, features.shape[1]) == ("tensor(float)", len(columns))


def test_the_model_is_small_enough_for_a_repository() -> None:
    """The committed ONNX file stays under 4 MB, the LightGBM text under 3."""
    assert ONNX.stat().st_size < 4_000_000
    assert (MODEL / "basket_ranker.txt").stat().st_size < 3_000_000


def test_nothing_of_the_held_out_months_was_seen_in_training() -> None:
    """Every label window ends before 1 October; every evaluated day is after it."""
    training = METRICS["training"]
    last = max(dt.date.fromisoformat(day) for day in training["days"])
    assert last + dt.timedelta(days=training["label_days"]) < dt.date(2017, 10, 1)
    held_out = [dt.date.fromisoformat(day) for day in METRICS["days"]]
    assert min(held_out) >= dt.date(2017, 10, 1)
    assert {dt.date(2017, 11, 1), dt.date(2017, 12, 1)} <= set(held_out)


@pytest.mark.parametrize("kind", ["recall", "ndcg"])
def test_the_model_s_own_ten_beat_the_better_baseline_by_ten_percent(kind: str) -> None:
    """Means over the held-out days, full catalogue."""
    mean = METRICS["mean"]
    assert mean["model, free"][kind] >= 1.10 * max(mean[name][kind] for name in BASELINES)


@pytest.mark.parametrize("kind", ["recall", "ndcg"])
def test_the_published_ten_beat_every_list_without_a_model(kind: str) -> None:
    """Masked alike, with the rules and their defaults: on average, and on each day, one more included."""
    later = METRICS["later"]["lists"]
    for lists in [METRICS["mean"], later, *(day["lists"] for day in METRICS["days"].values())]:
        assert lists["published"][kind] > max(lists[name][kind] for name in (*BASELINES, *HARDEST))
    lead = METRICS["lead"]["published"]
    assert lead[kind] > 5 * lead[f"{kind}_error"]


def test_the_default_rules_cost_less_than_the_model_wins() -> None:
    """The grid holds the defaults; a slot for everybody would cost more than the lead."""
    mean, rules, defaults = METRICS["mean"], METRICS["rules"], METRICS["defaults"]
    assert defaults == {name: param["default"] for name, param in SPEC["params"].items()}
    ours = rules["3 a category, 1 slot, floor 0.25"]
    assert {kind: ours[kind] for kind in ("recall", "ndcg")} == {
        kind: mean["published"][kind] for kind in ("recall", "ndcg")
    }
    hardest = mean[HARDEST[0]]["recall"]
    assert (
        rules["3 a category, 1 slot, floor 0"]["recall"]
        < hardest
        < ours["recall"]
        < rules["no rule"]["recall"]
    )


def test_scores_are_probabilities_of_what_happened() -> None:
    """On average, the score of a candidate is the share of candidates that were bought, within 15 %."""
    for day in METRICS["days"].values():
        assert day["mean_score"] == pytest.approx(day["share_of_candidates_bought"], rel=0.15)
