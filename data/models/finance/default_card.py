"""How good the boosted credit model is on loans that it has not seen, and the card that says so."""

from typing import Any

import numpy as np
import numpy.typing as npt
from credit_card import Sample, auc, ranked, slope
from credit_card import _ranking as ranking

Numbers = npt.NDArray[Any]
GRADE = "lender's sub-grade"


def evaluate(
    sample: Sample, ours: list[Numbers], card: Numbers, book: Sample, later: dict[str, Numbers]
) -> dict[str, Any]:
    """The figures of the card.

    `ours` are the probabilities of the sample's loans by trees that have not seen them, once for each way to
    fold; `card` the scorecard's, in the first of these ways; `later` those of the book, by model.
    """
    is_bad = sample.is_bad
    found = {"boosted trees": ours[0], "scorecard": card, GRADE: sample.values["sub_grade"]}
    rate = np.full(len(is_bad), is_bad.mean())
    return {
        "loans": len(is_bad),
        "bad": int(is_bad.sum()),
        "auc_of_repeats": [round(auc(one, is_bad), 4) for one in ours],
        "out_of_fold": ranked(found, is_bad),
        "brier": {
            name: round(float(np.mean((pd - is_bad) ** 2)), 5)
            for name, pd in {"boosted trees": ours[0], "scorecard": card, "the mean of all": rate}.items()
        },
        "calibration_slope": round(slope(ours[0], is_bad), 3),
        "deciles": deciles(ours[0], is_bad),
        "book": {
            "loans": len(book.is_bad),
            "bad": int(book.is_bad.sum()),
            "mean_pd": round(float(later["boosted trees"].mean()), 4),
            "out_of_time": ranked({**later, GRADE: book.values["sub_grade"]}, book.is_bad),
        },
    }


def deciles(pd: Numbers, is_bad: Numbers) -> list[dict[str, float]]:
    """Ten groups of equally many loans by PD: loans, mean PD, and the rate of the bad."""
    groups = np.array_split(np.argsort(pd, kind="stable"), 10)
    return [
        {
            "loans": len(one),
            "bad": int(is_bad[one].sum()),
            "mean_pd": round(float(pd[one].mean()), 4),
            "observed_rate": round(float(is_bad[one].mean()), 4),
        }
        for one in groups
    ]


CARD = """# Boosted credit model

How likely a consumer loan is to go bad within twelve months, by boosted trees. Written by `train_default.py`;
the figures are those of `credit_default_metrics.json`.

- **For**: the job `credit_default`, and as a second model beside the scorecard of `credit_loss`.
- **Model**: {trees} trees of LightGBM over {features} features, monotone where a lender expects it, log-odds
  calibrated out of fold. ONNX in float32, {bytes:,} bytes.
- **Trained on** the scorecard's loans: {loans:,} of Lending Club's of the first quarter of 2016, {bad} of
  them ({bad_rate:.1%}) *bad*. What bad means, and the assumption that it was seen after twelve months, is in
  `credit_card.md`; all of it holds here.
- **Not for**: deciding who gets a loan; only loans that were granted are in the data. It knows the
  application alone: a loan that is late by now is far more likely to default than the model says. Of the
  {late} loans of the book that are late {late_not_highest} would not be in the highest tier of the job, and
  {late_lowest} in the lowest: the job gives them a tier of their own, and no probability.

## How good it is

Out of fold: each loan is scored by trees (and a calibration) made without it, in five folds, the scorecard in
the same ones. In brackets the 95 % interval of resampled loans. Settings were not tuned.

| ranked by | AUC | Gini | KS | AUC less sub-grade's |
|---|---|---|---|---|
{ranking}

- The AUC is {against_card:+.4f} against the scorecard's. **Than the lender's own sub-grade the trees rank
  {word}.**
- Over {repeats} ways to fold the AUC is {auc_low:.4f} to {auc_high:.4f}.
- Brier score, smaller is better: {brier}.

Two years later, in the book: {book_bad} of the {book_loans:,} loans of 2018 are 16 or more days late or
charged off after three to five months.

| ranked by | AUC | Gini | KS | AUC less sub-grade's |
|---|---|---|---|---|
{out_of_time}

In the book the mean PD is {mean_pd:.2%}.

## Is it calibrated

Out of fold, by tenths of the loans. The calibration slope is {slope} (1 is calibrated).

| tenth | loans | bad | rate | mean PD |
|---|---|---|---|---|
{deciles}
"""


def default_card(metrics: dict[str, Any], size: int) -> str:
    """The card in Markdown."""
    figures, book, repeats = metrics["out_of_fold"], metrics["book"], metrics["auc_of_repeats"]
    low, high = figures["boosted trees"]["against_sub_grade_interval"]
    return CARD.format(
        trees=metrics["training"]["trees"],
        features=len(metrics["training"]["parameters"]["monotone_constraints"]),
        bytes=size,
        loans=metrics["loans"],
        bad=metrics["bad"],
        bad_rate=metrics["bad"] / metrics["loans"],
        ranking=ranking(figures),
        against_card=figures["boosted trees"]["auc"] - figures["scorecard"]["auc"],
        word="better" if low > 0 else "worse" if high < 0 else "no better and no worse",
        repeats=len(repeats),
        auc_low=min(repeats),
        auc_high=max(repeats),
        brier=", ".join(f"{name} {value:.5f}" for name, value in metrics["brier"].items()),
        book_bad=book["bad"],
        book_loans=book["loans"],
        out_of_time=ranking(book["out_of_time"]),
        mean_pd=book["mean_pd"],
        late=book["in_arrears"]["loans"],
        late_not_highest=book["in_arrears"]["not_in_the_highest_tier"],
        late_lowest=book["in_arrears"]["in_the_lowest"],
        slope=metrics["calibration_slope"],
        deciles="\n".join(
            f"| {i} | {one['loans']:,} | {one['bad']} | {one['observed_rate']:.2%} | {one['mean_pd']:.2%} |"
            for i, one in enumerate(metrics["deciles"], 1)
        ),
    )
