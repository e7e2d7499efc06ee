"""Expected margin of the next twelve months, by how long ago a customer has last ordered.

A customer is here next month with the chance r = exp(-(20 + days since the last order) / 400), and in the
month after that with r * r; so twelve months are r + r**2 + … + r**12 months of what is spent now.
"""

from typing import Any

import numpy as np

from nightscore.scorers import scorer

MARGIN = 0.3  # of what is spent


@scorer(
    inputs={"spend_month": "float64", "days_since_order": "float64"},
    outputs={
        "months": "float64",  # that are expected
        "value": "float64",  # euros that they bring
    },
    frame="numpy",  # or "pandas"; with load=joblib.load the job's model file is a second argument
)
def customer_value(rows: Any) -> dict[str, Any]:
    """One value for each row [rows, 2], in order."""
    spend, days = rows.T
    stays = np.exp(-(20 + days) / 400)
    months = np.sum([stays**month for month in range(1, 13)], axis=0)
    return {"months": months, "value": MARGIN * spend * months}
