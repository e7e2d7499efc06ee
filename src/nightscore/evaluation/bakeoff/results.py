"""Which candidate is taken: the fastest that keeps the budget, of those as fast the simplest. Pure."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from nightscore.pipeline import Deviation
from nightscore.scorers import TECHNIQUES, Technique

CLEARLY = 1.05  # times as fast, or it is a tie
Status = Literal["reference", "taken", "slower", "tie", "refused", "failed", "none"]


@dataclass(frozen=True)
class CandidateResult:
    """What became of one candidate.

    `rows_per_second` is the median of its rounds; `rounds` is each round's speed over the reference's of the
    same round. `change` is how far it is from the reference on the day, `held_out` on the
    held-out day, where it came that far.
    """

    name: str
    technique: Technique
    about: str
    status: Status = "none"
    why: str = ""
    bytes: int = 0
    rows_per_second: float = 0.0
    rounds: tuple[float, ...] = ()
    cpu_seconds_per_million_rows: float = 0.0
    peak_memory: int = 0
    change: Deviation | None = None
    held_out: Deviation | None = None

    @property
    def times(self) -> float:
        """How many times as fast as the reference: the median over the rounds."""
        return statistics.median(self.rounds) if self.rounds else 0.0


def rank_results(results: Sequence[CandidateResult]) -> list[CandidateResult]:
    """Those that keep the budget, the one to be taken first: the fastest, but of a tie the simplest."""
    places = {result.name: place for place, result in enumerate(results)}
    left = sorted(
        (result for result in results if result.status == "none" and result.rounds),
        key=lambda result: -result.times,
    )
    ordered: list[CandidateResult] = []
    while left:
        as_fast = [result for result in left if not faster(left[0], result)]
        first = min(as_fast, key=lambda result: (TECHNIQUES.index(result.technique), places[result.name]))
        ordered.append(first)
        left.remove(first)
    return ordered


def faster(result: CandidateResult, other: CandidateResult) -> bool:
    """Whether it is faster beyond the noise: clearly in the middle, and in every round but the worst."""
    pairs = sorted(a / b for a, b in zip(result.rounds, other.rounds, strict=False))
    if not pairs:
        return False
    worst = pairs[1] if len(pairs) > 2 else pairs[0]
    return statistics.median(pairs) >= CLEARLY and worst > 1.0


def explain_results(
    results: Sequence[CandidateResult], taken: str, reference: CandidateResult
) -> list[CandidateResult]:
    """The same with a sentence for each; the one called `taken` is taken, and it may be the reference."""
    winner = next(result for result in results if result.name == taken)
    return [_with_reason(result, winner, reference) for result in results]


def _with_reason(
    result: CandidateResult, winner: CandidateResult, reference: CandidateResult
) -> CandidateResult:
    if result.name == reference.name:
        nothing = ": nothing that keeps the budget is faster" if winner.name == result.name else ""
        return replace(result, status="reference", why=f"the model as it is{nothing}")
    if result.name == winner.name:
        days = "on both days" if result.held_out else "on the day; there is no held-out day"
        why = f"taken: {result.times:.2f} times the reference, inside the budget {days}"
        return replace(result, status="taken", why=why)
    if result.status != "none":
        return result
    if not faster(result, reference):
        return replace(result, status="slower", why=f"{result.times:.2f} times the reference: not faster")
    if faster(winner, result):
        return replace(
            result, status="slower", why=f"{result.times:.2f} times the reference; {winner.name} is faster"
        )
    return replace(
        result,
        status="tie",
        why=f"{result.times:.2f} times the reference: as fast as {winner.name}, which is simpler",
    )
