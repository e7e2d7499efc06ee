"""The text of demand_card.md, from the figures of demand_metrics.json."""

from typing import Any

GOAL, LEAST, MOST = 0.110, 0.78, 0.82

CARD = """# Demand

What each product category sells in the next 14 days, in lines of receipts, with an interval that is to hold
four times in five. Written by `train_demand.py`; the figures are those of `demand_metrics.json`.

- **For**: the job `demand`.
- **Model**: LightGBM, three times {trees} trees of {leaves} leaves (median and two quantiles), in one ONNX
  graph of {bytes:,} bytes; each bound is moved outward by {widening:.1%} of the width.
- **Trained on** {rows:,} rows, categories on every fourth day from {first_day} to {last_day}; no label is
  after 2017-09-30. Settings were chosen on June to September, nothing on the days below.
- **Data**: The Complete Journey, the receipts of 2,469 households: the panel's demand, not a shop's.
- **Not for**: ordering for a shop, single products, or other years. One year holds each season once: the
  model knows no Thanksgiving and no Christmas, and neither does what it is compared with.

## How good it is

{days} days from {first} to {last}, a week apart, so that two weeks that follow share seven days. WAPE is
the sum of absolute errors over the sum of what was sold. *As before* is the mean of the last 28 days; with
or without shares of weekdays, as 14 days have each of them twice.

| | category days | WAPE | as before | interval holds | by size | score | by size |
|---|---|---|---|---|---|---|---|
{table}

- Goals: WAPE at most {goal} ({wape_verdict}), the interval holds in 78 to 82 % of cases
  ({coverage_verdict}).
- Against *as before* the WAPE is {gain:+.1%}: the middle is hardly worth a model. In June to September, by
  which settings were chosen, it was 0 to -8 %, the less the later; October to December have holidays, which
  one year can't teach.
- *by size* needs no model: the 10 % and 90 % quantiles, in training, of categories of the same size.
  *score* is the interval score (width, and 10 times what was sold beyond a bound) over what was sold: less
  is better. The model's is {score_gain:+.1%} against it.
- An interval is of one category: a day that moves all of them together, such as a holiday, moves many
  beyond theirs at once, as the days with the least coverage show.
"""


def demand_card(metrics: dict[str, Any], size: int) -> str:
    """The card as Markdown; `size` is that of the model, in bytes."""
    training, whole, days = metrics["training"], metrics["all"], metrics["days"]
    rows = {
        "**all**": whole,
        **{f"{name} lines in 14 days": one for name, one in metrics["sizes"].items()},
        **days,
    }
    return CARD.format(
        trees=training["trees"],
        leaves=training["parameters"]["num_leaves"],
        bytes=size,
        widening=training["widening"],
        rows=training["rows"],
        first_day=training["first_day"],
        last_day=training["last_day"],
        days=len(days),
        first=min(days),
        last=max(days),
        table="\n".join(_line(name, one) for name, one in rows.items()),
        goal=GOAL,
        wape_verdict=_verdict(whole["wape"] <= GOAL),
        coverage_verdict=_verdict(LEAST <= whole["coverage"] <= MOST),
        score_gain=whole["score"] / whole["score_by_size"] - 1,
        gain=whole["wape"] / whole["wape_as_before"] - 1,
    )


def _line(name: str, one: dict[str, Any]) -> str:
    return (
        f"| {name} | {one['categories']:,} | {one['wape']:.4f} | {one['wape_as_before']:.4f} "
        f"| {one['coverage']:.1%} | {one['coverage_by_size']:.1%} | {one['score']:.3f} "
        f"| {one['score_by_size']:.3f} |"
    )


def _verdict(met: bool) -> str:
    return "met" if met else "**not met**"
