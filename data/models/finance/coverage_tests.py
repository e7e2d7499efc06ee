"""Tests of VaR exceptions as an ONNX graph in float64: proportion of failures, independence, both together.

    python data/models/finance/coverage_tests.py     # writes coverage_tests.onnx beside this script

Inputs, each float64 [rows]: `days`, `exceptions` among them, and of the pairs of days that follow each other
`quiet_quiet`, `quiet_exception`, `exception_quiet`, `exception_exception`. The share that exceptions are held
to is 1 %. Outputs, float64 [rows], are likelihood ratios and their p-values:

    kupiec         Kupiec (1995), "Techniques for verifying the accuracy of risk measurement models": days
                   with and without exception against 1 %; chi-square with 1 degree of freedom
    independence   Christoffersen (1998), "Evaluating interval forecasts", section 3.2: is an exception as
                   likely after one as after none; 1 degree of freedom
    coverage       the sum of both; 2 degrees of freedom

A p-value of 1 degree of freedom is 2 N(-sqrt(ratio)), of 2 it is exp(-ratio / 2). Without an exception, or
without a pair of days, the likelihoods are the same and the ratio of independence is 0.
"""

import sys

import onnx
from black_scholes import HERE, LARGEST, Graph

LEVEL = 0.01
PAIRS = ("quiet_quiet", "quiet_exception", "exception_quiet", "exception_exception")
INPUTS = ("days", "exceptions", *PAIRS)
OUTPUTS = ("kupiec", "kupiec_p", "independence", "independence_p", "coverage", "coverage_p")


def log_likelihood(g: Graph, quiet: str, exceptions: str, share: str | float) -> str:
    """Of quiet log(1 - share) + exceptions log(share), where 0 log(0) is 0."""
    logs = [g.op("Log", g.op("Max", part, 1e-300)) for part in (g.op("Sub", 1.0, share), share)]
    terms = [g.op("Mul", count, log) for count, log in zip((quiet, exceptions), logs, strict=True)]
    return g.op("Add", *terms)


def share(g: Graph, exceptions: str, quiet: str) -> str:
    """The share exceptions / (exceptions + quiet), and 0 of nothing."""
    return g.op("Div", exceptions, g.op("Max", g.op("Add", exceptions, quiet), 1.0))


def ratio(g: Graph, held: str, free: str, name: str) -> str:
    """2 (free - held), which rounding may not make less than 0."""
    return g.op("Max", g.op("Mul", g.op("Sub", free, held), 2.0), 0.0, name=name)


def p_of_one(g: Graph, statistic: str, name: str) -> str:
    """The upper tail of a chi-square with 1 degree of freedom."""
    root = g.op("Clip", g.op("Neg", g.op("Sqrt", statistic)), -LARGEST, 0.0)
    return g.op("Mul", g.distribution(root, g.density(root)), 2.0, name=name)


def coverage_tests() -> onnx.ModelProto:
    """The graph."""
    g = Graph()
    quiet = g.op("Sub", "days", "exceptions")
    found = share(g, "exceptions", quiet)
    kupiec = ratio(
        g,
        log_likelihood(g, quiet, "exceptions", LEVEL),
        log_likelihood(g, quiet, "exceptions", found),
        "kupiec",
    )
    to_quiet = g.op("Add", "quiet_quiet", "exception_quiet")
    to_exception = g.op("Add", "quiet_exception", "exception_exception")
    together = log_likelihood(g, to_quiet, to_exception, share(g, to_exception, to_quiet))
    after = [
        log_likelihood(g, no, yes, share(g, yes, no))
        for no, yes in (("quiet_quiet", "quiet_exception"), ("exception_quiet", "exception_exception"))
    ]
    independence = ratio(g, together, g.op("Add", *after), "independence")
    coverage = g.op("Add", kupiec, independence, name="coverage")
    p_of_one(g, kupiec, "kupiec_p")
    p_of_one(g, independence, "independence_p")
    g.op("Exp", g.op("Mul", coverage, -0.5), name="coverage_p")
    return g.model(INPUTS, OUTPUTS, "coverage_tests")


def main() -> int:
    """Write the graph beside this script; returns the exit code."""
    (HERE / "coverage_tests.onnx").write_bytes(coverage_tests().SerializeToString(deterministic=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
