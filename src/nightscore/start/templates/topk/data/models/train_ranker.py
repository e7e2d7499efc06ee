"""Train the model of the job recommendations: python data/models/train_ranker.py.

It needs pip install "nightscore[train]".
Features are what the job itself computes of a day; what came true is what was bought on the next one.
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
DAY, NEXT = "2026-01-04", "2026-01-05"
COLUMNS = ["times_bought", "days_since", "buyers", "times_category", "price"]

rows = nightscore.features(nightscore.load("recommendations", ROOT), DAY).to_pandas()
bought = pq.read_table(
    ROOT / f"data/lake/purchases/day={NEXT}/purchases.parquet", partitioning=None
).to_pandas()
rows = rows.merge(bought, on=["customer_id", "product_id"], how="left")
model = lightgbm.LGBMClassifier(
    n_estimators=15, num_leaves=7, learning_rate=0.2, deterministic=True, n_jobs=1, verbose=-1
)
model.fit(rows[COLUMNS].to_numpy("float32"), rows["quantity"].notna().astype(int))

shape = [("features", FloatTensorType([None, len(COLUMNS)]))]
converted = onnxmltools.convert_lightgbm(model, initial_types=shape, zipmap=False, target_opset=15)
onnx.helper.set_model_props(converted, {"columns": json.dumps(COLUMNS)})  # their order, kept with the model
onnx.save(converted, Path(__file__).with_name("ranker.onnx"))
