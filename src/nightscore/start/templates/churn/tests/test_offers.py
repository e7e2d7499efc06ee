"""The offers of the job churn on the sample rows."""

from pathlib import Path

import nightscore

DAY = "2026-01-07"


def test_offers(workspace: Path) -> None:
    """They go to those with the most to lose."""
    nightscore.run(nightscore.load("churn", workspace), DAY, params={"offers": 10})
    scores = nightscore.query("SELECT customer_id, score * spend_90d AS at_risk FROM churn_scores", workspace)
    offers = nightscore.query("SELECT customer_id FROM churn_offers ORDER BY rank", workspace)
    most = sorted(scores.to_pylist(), key=lambda row: (-row["at_risk"], row["customer_id"]))[:10]
    assert offers["customer_id"].to_pylist() == [row["customer_id"] for row in most]
