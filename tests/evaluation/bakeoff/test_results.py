"""Which candidate is taken, and what is said of the others."""

from hypothesis import given
from hypothesis import strategies as st

from nightscore.evaluation.bakeoff.results import CandidateResult, explain_results, faster, rank_results
from nightscore.scorers.variant import TECHNIQUES

REFERENCE = CandidateResult("reference", "engine", "", rounds=(1.0, 1.0, 1.0))


def line(name: str, rounds: tuple[float, ...], technique: str = "engine") -> CandidateResult:
    return CandidateResult(name, technique, "", rounds=rounds)  # type: ignore[arg-type]


def test_the_fastest_is_taken_where_it_is_clearly_faster() -> None:
    """And the sentence of each other candidate says by how much it lost."""
    lines = [REFERENCE, line("trees", (3.0, 3.1, 2.9)), line("threads", (1.5, 1.6, 1.4))]
    assert [one.name for one in rank_results(lines)] == ["trees", "threads", "reference"]
    after = {one.name: one for one in explain_results(lines, "trees", REFERENCE)}
    assert after["trees"].status == "taken"
    assert after["threads"].why == "1.50 times the reference; trees is faster"


def test_of_a_tie_the_simpler_one_is_taken() -> None:
    """A student that is faster within the noise does not beat the model itself."""
    lines = [REFERENCE, line("student", (1.06, 0.99, 0.98), "distillation")]
    assert rank_results(lines)[0].name == "reference"
    student = explain_results(lines, "reference", REFERENCE)[1]
    assert (student.status, student.why) == ("slower", "0.99 times the reference: not faster")
    close = [REFERENCE, line("engine", (2.0, 2.1, 2.0)), line("int8", (2.05, 2.1, 2.05), "quantization")]
    assert rank_results(close)[0].name == "engine"
    assert explain_results(close, "engine", REFERENCE)[2].status == "tie"


def test_what_is_refused_or_has_failed_is_never_taken() -> None:
    """However fast it is."""
    fast = CandidateResult(
        "int8", "quantization", "", status="refused", why="refused: too far", rounds=(9.0,)
    )
    assert [one.name for one in rank_results([REFERENCE, fast])] == ["reference"]
    assert explain_results([REFERENCE, fast], "reference", REFERENCE)[1] == fast


ROUNDS = st.lists(st.floats(0.1, 10), min_size=3, max_size=5).map(tuple)


@given(st.lists(st.tuples(ROUNDS, st.sampled_from(TECHNIQUES)), max_size=6))
def test_no_one_that_is_left_is_clearly_faster_than_the_one_taken(
    some: list[tuple[tuple[float, ...], str]],
) -> None:
    """Of those with the best median; and each stands in the order once."""
    lines = [REFERENCE, *(line(f"c{i}", rounds, how) for i, (rounds, how) in enumerate(some))]
    ordered = rank_results(lines)
    assert sorted(one.name for one in ordered) == sorted(one.name for one in lines)
    best = max(lines, key=lambda one: one.times)
    assert not faster(best, ordered[0])
