"""Train the model of the job churn: python data/models/train_churn.py (pip install "nightscore[train]").

Features are what the job itself computes, so there is no second way to compute one.
"""

import json
from pathlib import Path

import lightgbm
import onnx
import onnxmltools
import pyarrow.parquet as pq
from onnxmltools.convert.common.data_types import FloatTensorType

import nightscore

ROOT = Path(__file__).parents[2]
DAY = "2025-10-01"  # of which is known by now who left
COLUMNS = ["tenure_months", "visits_90d", "spend_90d", "complaints_90d", "days_since_order"]

rows = nightscore.features(nightscore.load("churn", ROOT), DAY).to_pandas()
rows = rows.merge(pq.read_table(ROOT / "data/lake/left.parquet").to_pandas(), on="customer_id")
model = lightgbm.LGBMClassifier(
    n_estimators=15, num_leaves=7, learning_rate=0.2, deterministic=True, n_jobs=1, verbose=-1
)
model.fit(rows[COLUMNS].to_numpy("float32"), rows["left"].astype(int))

shape = [("features", FloatTensorType([None, len(COLUMNS)]))]
converted = onnxmltools.convert_lightgbm(model, initial_types=shape, zipmap=False, target_opset=15)
onnx.helper.set_model_props(converted, {"columns": json.dumps(COLUMNS)})  # their order, kept with the model
onnx.save(converted, Path(__file__).with_name("churn.onnx"))
