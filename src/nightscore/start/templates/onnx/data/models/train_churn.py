"""Train the model of the job churn: `python data/models/train_churn.py`.

It needs `pip install "nightscore[train,export]"`.

Features are what the job itself computes, so there is no second way to compute one. The whole pipeline is the
model, codes of texts included: nothing of it is written again in SQL. The export writes it, and what
scikit-learn gives some rows, to which `check` and each night hold the job.
"""

from pathlib import Path

import pyarrow.parquet as pq
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
features = rows[[*TEXTS, *NUMBERS]].astype(dict.fromkeys(NUMBERS, "float32"))
prepare = ColumnTransformer(
    [("texts", OneHotEncoder(handle_unknown="ignore"), TEXTS), ("numbers", StandardScaler(), NUMBERS)]
)
pipeline = make_pipeline(prepare, LogisticRegression(max_iter=1_000))
pipeline.fit(features, rows["left"].astype(int))
print(nightscore.export(pipeline, features, Path(__file__).parent, name="churn"))
