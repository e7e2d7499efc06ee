"""Train the model of the job churn: `python data/models/train_churn.py`.

It needs `pip install "nightscore[train,export]"`.

Features are what the job itself computes, so there is no second way to compute one. The export writes the
model and what LightGBM gives some rows, to which `check` and each night hold the job.
"""

from pathlib import Path

import lightgbm
import pyarrow.parquet as pq

import nightscore

ROOT = Path(__file__).parents[2]
DAY = "2025-10-01"  # of which is known by now who left
COLUMNS = ["tenure_months", "visits_90d", "spend_90d", "complaints_90d", "days_since_order"]

rows = nightscore.features(nightscore.load("churn", ROOT), DAY).to_pandas()
rows = rows.merge(pq.read_table(ROOT / "data/lake/left.parquet").to_pandas(), on="customer_id")
features = rows[COLUMNS].astype("float32")
model = lightgbm.LGBMClassifier(
    n_estimators=15, num_leaves=7, learning_rate=0.2, deterministic=True, n_jobs=1, verbose=-1
)
model.fit(features, rows["left"].astype(int))
print(nightscore.export(model, features, Path(__file__).parent, name="churn"))
