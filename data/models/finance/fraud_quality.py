"""How good the model of frauds is on a day that it has not seen: the figures of its card."""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[Any]
CAPACITY, HANDLING_COST = 100, 100.0  # as the job has them, unless its parameters move
RESAMPLES, SEED = 500, 1
BY_COST = f"boosted trees, x (amount + {HANDLING_COST:.0f})"
BANDS = (0.0, 0.001, 0.01, 0.1, 0.5, 0.9, 1.01)


@dataclass(frozen=True)
class Alerts:
    """Transactions of a day that are different in something, each with how many of them are alike.

    `ids` [N] the first of each; `rows` [N, 29] float32; `hours` and `amounts` [N]; `counts` [N] how many
    are alike, and `frauds` [N] how many of these were frauds.
    """

    ids: Numbers
    rows: Numbers
    hours: Numbers
    amounts: Numbers
    counts: Numbers
    frauds: Numbers

    @property
    def is_fraud(self) -> Numbers:
        """Whether any of them was a fraud."""
        return self.frauds > 0

    @property
    def values(self) -> Numbers:
        """The amount of all that are alike."""
        return self.amounts * self.counts


def evaluate(day: Alerts, later: Alerts, found: dict[str, Numbers], held: Numbers) -> dict[str, Any]:
    """The figures: `found` are the later day's scores by model, `held` the first day's, unseen."""
    ours = found["boosted trees"]
    known = ~np.isnan(held)
    chances = {name: one for name, one in found.items() if name in ("boosted trees", "logistic regression")}
    by_cost = {f"{name}, x (amount + {HANDLING_COST:.0f})": (later.values + HANDLING_COST) * one
               for name, one in chances.items()}  # fmt: skip
    return {
        "trained_on": size(day),
        "scored": size(later),
        "forward_on_the_training_day": round(average_precision(held[known], day.is_fraud[known]), 4),
        "average_precision": {name: precision_of(one, later) for name, one in found.items()},
        "queues": {
            name: {str(number): in_queue(later, one, number) for number in (CAPACITY, 2 * CAPACITY)}
            for name, one in {**found, **by_cost}.items()
        },
        "calibration": bands(ours, later),
        "expected_frauds": round(float((ours * later.counts).sum()), 1),
        "largest_of_the_training_day": round(float(day.amounts.max()), 2),
        "missed_by_the_queue": missed(later, ours),
        "looked_at": looked_at(later, ours),
    }


def size(day: Alerts) -> dict[str, Any]:
    """How many transactions, and what they are worth."""
    share = np.divide(day.frauds, day.counts)
    return {
        "transactions": int(day.counts.sum()),
        "different": len(day.ids),
        "frauds": int(day.frauds.sum()),
        "amount": round(float(day.values.sum()), 2),
        "fraud_amount": round(float((day.values * share).sum()), 2),
    }


def precision_of(score: Numbers, day: Alerts) -> dict[str, Any]:
    """Average precision over all transactions, with its 95 % interval of resampled ones."""
    scores, truth = np.repeat(score, day.counts), _truth(day)
    order = np.argsort(-scores, kind="stable")
    scores, truth = scores[order], truth[order]
    random = np.random.default_rng(SEED)
    drawn = []
    for _ in range(RESAMPLES):
        weights = random.poisson(1, len(truth))
        drawn.append(_average_precision(scores, truth, weights))
    low, high = np.quantile(drawn, (0.025, 0.975))
    whole = _average_precision(scores, truth, np.ones(len(truth)))
    return {"value": round(whole, 4), "interval": [round(float(low), 4), round(float(high), 4)]}


def average_precision(score: Numbers, truth: Numbers) -> float:
    """The mean of the precision at each fraud, by falling score."""
    order = np.argsort(-score, kind="stable")
    return _average_precision(score[order], truth[order].astype(float), np.ones(len(order)))


def _average_precision(score: Numbers, truth: Numbers, weights: Numbers) -> float:
    """Of rows by falling score; those that tie come as one."""
    hits, all_ = np.cumsum(truth * weights), np.cumsum(weights)
    last = np.append(score[1:] != score[:-1], True)
    hits, all_ = hits[last], all_[last]
    gained = np.diff(hits, prepend=0.0)
    return float((gained * hits / np.maximum(all_, 1)).sum() / hits[-1])


def _truth(day: Alerts) -> Numbers:
    """Of each transaction, alike ones side by side, whether it was a fraud."""
    places = np.concatenate([np.arange(count) for count in day.counts]) if (day.counts > 1).any() else 0
    return (places < np.repeat(day.frauds, day.counts)).astype(float)


def queue(day: Alerts, chance: Numbers, number: int = CAPACITY) -> Numbers:
    """The alerts of highest expected loss, as the job has them but for the random tenth."""
    return first(chance * (day.values + HANDLING_COST), number)


def first(score: Numbers, number: int) -> Numbers:
    """Where the highest are, ties by place."""
    return np.argsort(-np.asarray(score, np.float64), kind="stable")[:number]


def in_queue(day: Alerts, score: Numbers, number: int) -> dict[str, float]:
    """What the highest hold: precision of the alerts, shares of the day's frauds and of their amount."""
    chosen = first(score, number)
    lost = day.values * day.frauds / day.counts
    return {
        "precision": round(float(day.is_fraud[chosen].mean()), 3),
        "recall": round(float(day.frauds[chosen].sum() / day.frauds.sum()), 3),
        "share_of_amount": round(float(lost[chosen].sum() / lost.sum()), 3),
        "amount": round(float(lost[chosen].sum()), 2),
    }


def bands(chance: Numbers, day: Alerts) -> list[dict[str, float]]:
    """By the chance that was said: transactions, frauds that it expects, and those that there were."""
    found = []
    for low, high in itertools.pairwise(BANDS):
        inside = (chance >= low) & (chance < high)
        found.append(
            {
                "from": low,
                "transactions": int(day.counts[inside].sum()),
                "expected": round(float((chance * day.counts)[inside].sum()), 1),
                "frauds": int(day.frauds[inside].sum()),
            }
        )
    return found


def missed(day: Alerts, chance: Numbers) -> dict[str, float]:
    """The frauds outside the queue: how many, of which amount, how many that the model takes for harmless."""
    rest = np.ones(len(day.ids), bool)
    rest[queue(day, chance)] = False
    frauds = rest & day.is_fraud
    return {
        "frauds": int(day.frauds[frauds].sum()),
        "median_amount": round(float(np.median(np.repeat(day.amounts[frauds], day.frauds[frauds]))), 2),
        "chance_below_1_percent": int(day.frauds[frauds & (chance < 0.01)].sum()),
        "largest": round(float(day.values[frauds].max()), 2),
        "largest_chance": float(f"{chance[frauds][day.values[frauds].argmax()]:.2g}"),
    }


def looked_at(day: Alerts, chance: Numbers) -> dict[str, Any]:
    """What a person's eye was on: the first alert, the first fraud, and large amounts of small chance."""
    chosen = queue(day, chance, CAPACITY - CAPACITY // 10)
    large = chosen[(day.amounts[chosen] > 1_000) & (chance[chosen] < 0.2)]
    fraud = int(np.argmax(day.is_fraud[chosen]))
    return {
        "first": _line(day, chance, chosen, 0),
        "first_fraud": _line(day, chance, chosen, fraud),
        "large_and_unlikely": {
            "alerts": len(large),
            "frauds": int(day.is_fraud[large].sum()),
            "expected_frauds": round(float(chance[large].sum()), 1),
            "share_of_expected_loss": round(_loss(day, chance, large) / _loss(day, chance, chosen), 3),
        },
        "burst": {"transactions": int(day.counts[chosen][day.counts[chosen] > 1].sum()),
                  "alerts": int((day.counts[chosen] > 1).sum())},
    }  # fmt: skip


def _line(day: Alerts, chance: Numbers, chosen: Numbers, place: int) -> dict[str, Any]:
    at = chosen[place]
    return {
        "place": place + 1,
        "transaction_id": int(day.ids[at]),
        "amount": round(float(day.values[at]), 2),
        "chance": round(float(chance[at]), 3),
        "share_of_expected_loss": round(
            _loss(day, chance, chosen[place : place + 1]) / _loss(day, chance, chosen), 3
        ),
        "is_fraud": bool(day.is_fraud[at]),
    }


def _loss(day: Alerts, chance: Numbers, where: Numbers) -> float:
    return float((chance * (day.values + HANDLING_COST))[where].sum())
