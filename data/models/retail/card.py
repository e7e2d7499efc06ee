"""The model card's text, from the figures of metrics.json."""

from collections.abc import Mapping, Sequence
from typing import Any

BASELINES = ("own most-bought", "most popular, 28 days")
HARDER = ("own most-bought, ties to the latest", "own most-bought, last 84 days first")
FEATURES = {
    "own_times": "baskets of the household with the product",
    "own_times_28": "... in the last 28 days",
    "own_times_84": "... in the last 84 days",
    "own_days_since": "days since the last of them",
    "own_days_since_first": "days since the first",
    "own_trips_since": "shopping trips since the last (1 = it was in the latest basket)",
    "own_recent": "purchases, each counted half after every 28 days",
    "own_lasting": "purchases, each counted half after every 84 days",
    "own_recent_per_trip": "own_recent / trips in the last 28 days",
    "own_lasting_per_trip": "own_lasting / the household's trips, counted the same way",
    "own_rank": "rank of the product in the household by own_lasting; never bought comes last",
    "own_gap": "mean days between two purchases",
    "own_days_overdue": "days since the last purchase less own_gap",
    "own_gaps_overdue": "days since the last purchase / own_gap",
    "own_quantity": "mean quantity of a purchase (units as on the receipt)",
    "own_last_quantity": "quantity of the last purchase / own_quantity",
    "own_discount": "share of the full price that its discounts took off, 0..1",
    "household_trips": "baskets of the household",
    "household_trips_28": "... in the last 28 days",
    "household_days_since": "days since its last trip",
    "household_days_since_first": "days since its first trip",
    "household_items": "mean products in a basket",
    "household_returning": "share of the products known for 28 days that it bought again in the last 28 days",
    "product_buyers": "households that bought the product",
    "product_buyers_28": "... in the last 28 days",
    "product_times_7": "baskets with the product in the last 7 days",
    "product_times_28": "... in the last 28 days",
    "product_week_trend": "sales of the last 7 days against the last 28; 1 = even",
    "product_trend": "sales of the last 28 days against the last 84; 1 = even",
    "product_discount_7": "share of the full price that discounts took off in the last 7 days, 0..1",
    "product_price": "US dollars per unit sold",
    "product_repeaters": "share of its buyers who bought it more than once",
    "product_gap": "mean days between two purchases by the same household",
    "product_returning": "share of earlier buyers who bought in the last 14 days, drawn towards 3 %",
    "type_times": "baskets of the household with a product of the same product_type",
    "type_times_28": "... in the last 28 days",
    "type_products": "different products of the type that the household bought",
    "type_days_since": "days since it last bought the type",
    "type_gaps_overdue": "days since it last bought the type / mean days between two such purchases",
    "own_share_of_type": "share of the product in what the household buys of the type, 0..1",
    "product_share_of_type": "share of the product in all sales of the type, last 28 days",
    "type_trend": "the type's sales of the last 28 days against the last 84; 1 = even",
    "category_times": "baskets of the household with the product_category",
    "category_days_since": "days since it last bought the category",
    "store_times": "baskets with the product at the household's usual store, last 56 days",
}

CARD = """# Basket ranker

The chance that a household buys a product within the next 14 days: one row per household and product in, one
number from 0 to 1 out. Written by `train.py`; the figures are those of `metrics.json`.

- **For**: the job `retail_recommendations`, which publishes ten products a household each night.
- **Model**: LightGBM, {trees} trees of {leaves} leaves, binary log loss; ONNX with one input `features`
  (float32 [N, {columns}], missing = NaN) and the output `probabilities` (float32 [N, 2], the second column).
- **Data**: The Complete Journey (84.51°), 2,469 households of one grocer, 2017. See `data/README.md`.
- **Trained on**: {days} scored days from {first_day} to {last_day}, every eighth day; the label is a
  purchase in the {label_days} days after. Nothing after 2017-09-30 was seen, as a feature or as a label.
- **Not for**: other shops, other years, or households that differ from loyalty-card members; a score is no
  statement about a person. One year of data holds each season once, so the model knows no Christmas.

## How good it is

Means over {held_out} scored days from {first_held_out} to {last_held_out}, each against everything bought
in the 14 days after it: full catalogue, no sampled negatives, {households} households a day (those that
shopped before the day and bought something after it). The model's lists come from real runs of the job.

| ten products by | recall@10 | NDCG@10 | hit rate | different products |
|---|---|---|---|---|
{table}

- recall@10 is hits / min(10, products bought); NDCG@10 has one grade, and 1 / log2(rank + 1) as its gain.
- *model, free* is the ten best scores; *published* keeps the job's rules: at most three of a category, and
  {slots} never bought before.
- *own most-bought* counts baskets since January; a tie goes to the smaller product id, as everywhere in
  the job. The two lists below it are the same idea with recency built in: harder opponents, shown so that
  nobody takes the promise for more than it is.
- Against the better of *own most-bought* and *most popular*, the model's free ten is
  **{recall_gain:+.1%}** in recall@10 and **{ndcg_gain:+.1%}** in NDCG@10; the published ten is
  {published_recall_gain:+.1%} and {published_ndcg_gain:+.1%}. Against the list with ties to the latest,
  the free ten is {harder_recall_gain:+.1%} and {harder_ndcg_gain:+.1%}; against that of the last 84 days,
  {hardest_recall_gain:+.1%} and {hardest_ndcg_gain:+.1%}.
- Features and settings were chosen on 2017-09-16 first, but later comparisons looked at these days too,
  so the figures may flatter the model a little. More trees, more days, ranking objectives and promotions
  changed nothing.
- The lists hold {coverage:.1%} of the {sold:,} products sold so far ({products:,.0f} different ones a day).
- {candidates_hold:.0%} of all purchases are among the candidates. The rest are mostly first purchases of
  products that few households buy; no list of ten reaches them.
- Scores as probabilities: mean score {mean_score:.4f}, share of candidates bought {share_bought:.4f}.

### What a discovery slot costs

Published lists of {slots_day}, by `discovery_slots`:

| slots | recall@10 | NDCG@10 | hit rate |
|---|---|---|---|
{slots_table}

Each slot gives a place to a product that the household has never bought, which is bought less often than the
one it replaces. The job's default is one: something new on every list, and still better than both baselines.

## Features

Made by `jobs/retail/recommendations/candidates.sql`, for training and scoring alike; cut at the scored day.
`own_` is the household and this product. The last column is the share of the model's total gain.

| column | meaning | gain |
|---|---|---|
{features}
"""


def model_card(metrics: Mapping[str, Any], columns: Sequence[str]) -> str:
    """The card in Markdown. KeyError where a column of the model has no description above."""
    mean, training, days = metrics["mean"], metrics["training"], metrics["days"]
    one_day = list(days.values())
    gains = {}
    for kind in ("recall", "ndcg"):
        gains[f"{kind}_gain"] = _gain(mean, "model, free", kind, BASELINES)
        gains[f"published_{kind}_gain"] = _gain(mean, "published", kind, BASELINES)
        for word, harder in zip(("harder", "hardest"), HARDER, strict=True):
            gains[f"{word}_{kind}_gain"] = _gain(mean, "model, free", kind, [harder])
    slots = metrics["discovery_slots"]
    return CARD.format(
        **gains,
        trees=training["trees"],
        leaves=training["parameters"]["num_leaves"],
        columns=len(columns),
        days=len(training["days"]),
        first_day=training["days"][0],
        last_day=training["days"][-1],
        label_days=training["label_days"],
        held_out=len(days),
        first_held_out=min(days),
        last_held_out=max(days),
        households=_span([day["households"] for day in one_day]),
        table="\n".join(_row(name, figures) for name, figures in mean.items()),
        slots=metrics["default_discovery_slots"],
        coverage=mean["published"]["products"] / one_day[-1]["products_sold_so_far"],
        sold=one_day[-1]["products_sold_so_far"],
        products=mean["published"]["products"],
        candidates_hold=_average(one_day, "share_of_purchases_among_candidates"),
        mean_score=_average(one_day, "mean_score"),
        share_bought=_average(one_day, "share_of_candidates_bought"),
        slots_day=slots["day"],
        slots_table="\n".join(_row(name, figures, 3) for name, figures in slots["published"].items()),
        features="\n".join(
            f"| {name} | {FEATURES[name]} | {training['share_of_gain'][name]:.1%} |" for name in columns
        ),
    )


def _gain(mean: Mapping[str, Mapping[str, float]], name: str, kind: str, baselines: Sequence[str]) -> float:
    """How much better a list is than the best of the baselines, relative."""
    return mean[name][kind] / max(mean[baseline][kind] for baseline in baselines) - 1


def _row(name: str, figures: Mapping[str, float], columns: int = 4) -> str:
    shown = [f"{figures[k]:.4f}" for k in ("recall", "ndcg", "hit_rate")] + [f"{figures['products']:,.0f}"]
    return f"| {name} | {' | '.join(shown[:columns])} |"


def _average(days: Sequence[Mapping[str, Any]], key: str) -> float:
    return float(sum(day[key] for day in days) / len(days))


def _span(values: Sequence[int]) -> str:
    return f"{min(values):,} to {max(values):,}"
