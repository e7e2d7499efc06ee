"""Train the model of the job churn: python data/models/train_churn.py (pip install "nightscore[train]").

Features are what the job itself computes, so there is no second way to compute one. The whole pipeline is the
model, codes of texts included: nothing of it is written again in SQL.
"""

from pathlib import Path

import onnx
import pyarrow.parquet as pq
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import nightscore

ROOT = Path(__file__).parents[2]
DAY = "2025-10-01"  # of which is known by now who left
TEXTS = ["region", "plan"]
NUMBERS = ["tenure_months", "visits_90d", "spend_90d", "complaints_90d"]

rows = nightscore.features(nightscore.load("churn", ROOT), DAY).to_pandas()
rows = rows.merge(pq.read_table(ROOT / "data/lake/left.parquet").to_pandas(), on="customer_id")
rows = rows.astype(dict.fromkeys(NUMBERS, "float32"))
prepare = ColumnTransformer(
    [("texts", OneHotEncoder(handle_unknown="ignore"), TEXTS), ("numbers", StandardScaler(), NUMBERS)]
)
pipeline = make_pipeline(prepare, LogisticRegression(max_iter=1_000))
pipeline.fit(rows[[*TEXTS, *NUMBERS]], rows["left"].astype(int))

shapes = [(name, StringTensorType([None, 1])) for name in TEXTS]
shapes += [(name, FloatTensorType([None, 1])) for name in NUMBERS]
no_maps = {"zipmap": False}  # probabilities as a tensor
converted = to_onnx(pipeline, initial_types=shapes, options=no_maps, target_opset=17)
onnx.save(converted, Path(__file__).with_name("churn.onnx"))
