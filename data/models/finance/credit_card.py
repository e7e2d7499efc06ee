"""How good the scorecard is on loans that it has not seen, and the card that says so."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from credit_graph import Scorecard, bins
from scipy.stats import binomtest, ks_2samp, rankdata
from sklearn.linear_model import LogisticRegression

Numbers = npt.NDArray[Any]
RESAMPLES, SEED = 1000, 7
GRADES = "ABCDEFG"


@dataclass(frozen=True)
class Sample:
    """Loans: their features by name, float64 [loans], and whether each went bad, [loans]."""

    values: dict[str, Numbers]
    is_bad: Numbers


def evaluate(
    card: Scorecard, sample: Sample, out_of_fold: list[Numbers], without: list[Numbers], book: Sample
) -> dict[str, Any]:
    """The figures of the card.

    `out_of_fold` are the probabilities of the sample's loans by scorecards that have not seen them, once for
    each way to fold; `without` the same of scorecards that lack the lender's sub-grade.
    """
    in_book = 1 / (1 + np.exp(-card.log_odds(book.values)))
    found = {
        "scorecard": out_of_fold[0],
        "lender's sub-grade": sample.values["sub_grade"],
        "scorecard without sub-grade": without[0],
    }
    later = {"scorecard": in_book, "lender's sub-grade": book.values["sub_grade"]}
    return {
        "loans": len(sample.is_bad),
        "bad": int(sample.is_bad.sum()),
        "folds_repeated": len(out_of_fold),
        "auc_of_repeats": [round(auc(one, sample.is_bad), 4) for one in out_of_fold],
        "out_of_fold": ranked(found, sample.is_bad),
        "calibration": calibration(out_of_fold[0], sample),
        "calibration_slope": round(slope(out_of_fold[0], sample.is_bad), 3),
        "book": {
            "loans": len(book.is_bad),
            "bad": int(book.is_bad.sum()),
            "mean_pd": round(float(in_book.mean()), 4),
            "out_of_time": ranked(later, book.is_bad),
            "psi": stability(card, sample, book),
        },
    }


def auc(score: Numbers, is_bad: Numbers) -> float:
    """The chance that a bad loan scores above a good one, ties counting half (Mann and Whitney, 1947)."""
    bad = int(is_bad.sum())
    above = rankdata(score)[is_bad].sum() - bad * (bad + 1) / 2
    return float(above / (bad * (len(is_bad) - bad)))


def ranked(scores: dict[str, Numbers], is_bad: Numbers) -> dict[str, Any]:
    """AUC with a 95 % interval, Gini, KS, and how far the AUC is from that of the lender's sub-grade.

    Intervals are percentiles over resampled loans, the same ones for each score.
    """
    random = np.random.default_rng(SEED)
    samples = [random.integers(0, len(is_bad), len(is_bad)) for _ in range(RESAMPLES)]
    each = {name: np.array([auc(s[i], is_bad[i]) for i in samples]) for name, s in scores.items()}
    usual = each["lender's sub-grade"]
    baseline = auc(scores["lender's sub-grade"], is_bad)
    return {
        name: {
            "auc": round(auc(score, is_bad), 4),
            "interval": _interval(each[name]),
            "gini": round(2 * auc(score, is_bad) - 1, 4),
            "ks": round(float(ks_2samp(score[is_bad], score[~is_bad]).statistic), 4),
            "against_sub_grade": round(auc(score, is_bad) - baseline, 4),
            "against_sub_grade_interval": _interval(each[name] - usual),
        }
        for name, score in scores.items()
    }


def _interval(values: Numbers) -> list[float]:
    return [round(float(v), 4) for v in np.quantile(values, [0.025, 0.975])]


def calibration(pd: Numbers, sample: Sample) -> dict[str, Any]:
    """By grade: loans, the bad, the expected, and the exact two-sided binomial test of the two."""
    grade = (sample.values["sub_grade"].astype(int) - 1) // 5
    found = {}
    for i, name in enumerate(GRADES):
        ours = grade == i
        bad, expected = int(sample.is_bad[ours].sum()), float(pd[ours].mean())
        found[name] = {
            "loans": int(ours.sum()),
            "bad": bad,
            "expected": round(expected * int(ours.sum()), 1),
            "observed_rate": round(bad / int(ours.sum()), 4),
            "mean_pd": round(expected, 4),
            "p": round(float(binomtest(bad, int(ours.sum()), expected).pvalue), 4),
        }
    return found


def slope(pd: Numbers, is_bad: Numbers) -> float:
    """What the log-odds would have to be multiplied by (Cox, 1958): 1 is calibrated, less is too sure."""
    given = np.log(pd / (1 - pd))[:, None]
    return float(LogisticRegression(C=np.inf).fit(given, is_bad).coef_[0, 0])


def stability(card: Scorecard, sample: Sample, book: Sample) -> dict[str, float]:
    """The Population Stability Index from training loans to book: of the score in ten bins, of features."""
    edges = np.quantile(card.log_odds(sample.values), np.arange(0.1, 1, 0.1))
    found = {"score": psi(*(np.searchsorted(edges, card.log_odds(s.values)) for s in (sample, book)))}
    for name, cuts in zip(card.features, card.edges, strict=True):
        found[name] = psi(*(bins(s.values[name], cuts) for s in (sample, book)))
    return {name: round(value, 4) for name, value in found.items()}


def psi(before: Numbers, now: Numbers) -> float:
    """The index of two lists of bins; one that either lacks counts as half a loan."""
    count = int(max(before.max(), now.max())) + 1
    b, n = (np.bincount(one, minlength=count).astype(float) for one in (before, now))
    known = (b + n) > 0
    b, n = (np.maximum(one[known], 0.5) for one in (b, n))
    b, n = b / b.sum(), n / n.sum()
    return float(np.sum((n - b) * np.log(n / b)))


CARD = """# Credit scorecard

How likely a consumer loan is to go bad within twelve months, in points, with the points that each feature
costs; and, in the same graph, the expected credit loss that follows (`credit_graph.py` has its formulas).
Written by `train_credit.py`; the figures are those of `credit_metrics.json`.

- **For**: the job `credit_loss`.
- **Model**: {features} features in monotone bins, weights of evidence, logistic regression, log-odds
  calibrated out of fold. ONNX in float64, {bytes:,} bytes. 600 points are 30 good loans to a bad one, 20 more
  double that.
- **Trained on** {loans:,} Lending Club loans of the first quarter of 2016, {bad} of them ({bad_rate:.1%})
  *bad*: charged off, in default, or 21 to 120 days late (modeldata's `lending_club`; see `data/README.md`).
  The source does not say on which day that was seen. It is taken for twelve months after issue, **an
  assumption** on which the level of every probability rests. A late loan is not in default yet, which makes
  the probabilities too high: by how much is under *The loss*. Good is what is "fully paid back or currently
  on-time": loans that were repaid early are among the good, so the probabilities are net of early repayment.
- **Not for**: deciding who gets a loan. Only loans that were granted are in the data. Sub-grade, the
  strongest feature by far, is the lender's own opinion; whether incomes were checked is a choice of the
  lender, too: that a checked income costs points says whom it checks, not that checking harms.

## How good it is

Out of fold: each loan is scored by a card (bins, weights, calibration) that was made without it, in five
folds. In brackets the 95 % interval of resampled loans. The sub-grade is what the lender itself thought, and
was not fitted.

| ranked by | AUC | Gini | KS | AUC less sub-grade's |
|---|---|---|---|---|
{ranking}

- **The scorecard ranks {word} the lender's own sub-grade**; its bins are coarser than the lender's 35 steps.
  Over {folds_repeated} ways to fold the AUC is {auc_low:.4f} to {auc_high:.4f}. What it adds is a calibrated
  probability, and points that say why.
- Without the sub-grade little is left: the two sources share few columns, and none of a credit bureau's
  score.

Two years later, in the book: {book_bad} of the {book_loans:,} loans of 2018 are 16 or more days late or
charged off after three to five months.

| ranked by | AUC | Gini | KS | AUC less sub-grade's |
|---|---|---|---|---|
{out_of_time}

## Is it calibrated

Out of fold, by the lender's grade; p is that of the exact two-sided binomial test, which takes loans for
independent. Seven tests: one below 0.007 would be remarkable. The calibration slope is {calibration_slope} (1
is calibrated).

| grade | loans | bad | expected | rate | mean PD | p |
|---|---|---|---|---|---|---|
{calibration}

In the book the mean is {mean_pd:.2%}; whether that came true can't be known from a snapshot.

## Has the population moved

PSI from the training loans to the book; above 0.1 it is said to have moved a little, above 0.25 a lot.

| | PSI |
|---|---|
{psi}

## The loss

What the job makes of the probabilities, `credit_graph.py` says; its assumptions are parameters, and its
table `credit_loss_sensitivity` says what each is worth. Two of them can be looked up in the book:

- **Early repayment** (`prepayment`): {repaid} of {book_loans:,} loans were repaid within three to five
  months of their issue, {prepayment:.2%} a month. Whether that stays so can't be known from a snapshot.
- **What bad means** (`bad_in_default`): the scorecard's bad begins at 21 days late, stage 3's default
  beyond 90. {all_bad} loans of the book are bad by the first and {in_default} by the second; with what
  the lender expects to write off of the others, {bad_in_default:.1%} of the bad default. The loans are
  three to five months old; after twelve months more of the bad ones have been written off, so the share
  is higher then. The job takes 1.

What it can't tell: PD now is that of the application, and of the days that a loan is late. The book has
nothing else that was learned since, no bureau's score and no later income, so that a risk that rises
before an instalment is missed is not seen. Nor does it know of forbearance. Probabilities have no
economy in them but the scenarios', which are assumptions.

## The card

Points that a loan has less than one in the best bin. Bins are closed on the right; the last is for a missing
value; where hardly a training loan lacks one, it counts as the average.

| feature | above | points lost |
|---|---|---|
{scorecard}
"""


def credit_card(metrics: dict[str, Any], size: int) -> str:
    """The card in Markdown."""
    book, repeats = metrics["book"], metrics["auc_of_repeats"]
    gain = metrics["out_of_fold"]["scorecard"]["against_sub_grade_interval"]
    return CARD.format(
        word="better than" if gain[0] > 0 else "no better than",
        features=len(metrics["scorecard"]),
        bytes=size,
        loans=metrics["loans"],
        bad=metrics["bad"],
        bad_rate=metrics["bad"] / metrics["loans"],
        ranking=_ranking(metrics["out_of_fold"]),
        folds_repeated=metrics["folds_repeated"],
        auc_low=min(repeats),
        auc_high=max(repeats),
        book_bad=book["bad"],
        book_loans=book["loans"],
        out_of_time=_ranking(book["out_of_time"]),
        calibration_slope=metrics["calibration_slope"],
        calibration="\n".join(_calibrated(name, one) for name, one in metrics["calibration"].items()),
        mean_pd=book["mean_pd"],
        psi="\n".join(f"| {name} | {value:.3f} |" for name, value in book["psi"].items()),
        repaid=book["repaid_early"]["repaid"],
        prepayment=book["repaid_early"]["a_month"],
        all_bad=book["bad_in_default"]["bad"],
        in_default=book["bad_in_default"]["in_default"],
        bad_in_default=book["bad_in_default"]["share"],
        scorecard="\n".join(_binned(name, one) for name, one in metrics["scorecard"].items()),
    )


def _ranking(figures: dict[str, Any]) -> str:
    return "\n".join(
        f"| {name} | {f['auc']:.4f} ({_span(f['interval'])}) | {f['gini']:.4f} | {f['ks']:.4f} | "
        f"{f['against_sub_grade']:+.4f} ({_span(f['against_sub_grade_interval'], '+')}) |"
        for name, f in figures.items()
    )


def _span(values: list[float], sign: str = "") -> str:
    return " to ".join(f"{value:{sign}.4f}" for value in values)


def _calibrated(grade: str, f: dict[str, Any]) -> str:
    return (
        f"| {grade} | {f['loans']:,} | {f['bad']} | {f['expected']:.1f} | {f['observed_rate']:.2%} | "
        f"{f['mean_pd']:.2%} | {f['p']:.3f} |"
    )


def _binned(name: str, one: dict[str, Any]) -> str:
    above = ", ".join(f"{edge:g}" for edge in one["edges"])
    return f"| {name} | {above}, missing | {', '.join(f'{lost:.1f}' for lost in one['points_lost'])} |"
