"""What `make demo` shows: two lakes, retail nights, a mail, a finance night, proofs, a report, decisions.

Every line that starts with `$` is a command that anyone can type; this script only calls them.
"""

import shlex
import sys
import time
from collections.abc import Callable

from data.lakes.__main__ import WORKSPACE
from data.lakes.__main__ import main as write_lakes
from nightscore.cli.main import call
from nightscore.common.signals import exit_on_signals

JOB = "retail_recommendations"
DAYS = ("2017-11-01", "2017-11-02")
TEN_FOR_THREE = f"""
SELECT household_id, rank, product_id, product_type, product_category, round(score, 3) AS score, rung
FROM {JOB}
WHERE day = DATE '{DAYS[-1]}' AND household_id IN (1, 101, 1609)
ORDER BY household_id, rank
""".strip().replace("\n", " ")
MAILS = ("coupon_response", "mail_suppressions", "mail_plan")  # what makes tonight's mails of them
MAIL = f"""
SELECT slot, kind, text, coupon_upc, expected_cost
FROM mail_list
WHERE day = DATE '{DAYS[-1]}'
QUALIFY household_id = min(household_id) FILTER (kind = 'coupon') OVER ()
ORDER BY slot
""".strip().replace("\n", " ")
CLOSE = "2022-12-28"  # the last trading day of the sample
VAR = f"""
SELECT desk, value, var_99, var_99_historical, es_975, component_var_99, moved_on
FROM market_risk
WHERE day = DATE '{CLOSE}'
ORDER BY desk = 'firm', desk
""".strip().replace("\n", " ")
MADE = (
    f"""
SELECT desk, opening, delta + gamma + vega + vanna + volga + theta + rho AS by_greeks, unexplained,
    new + closed + expired AS traded, closing
FROM pnl_explain
WHERE day = DATE '{CLOSE}' AND symbol = 'all'
ORDER BY desk = 'firm', desk
""".strip()
    .replace("\n    ", " ")
    .replace("\n", " ")
)
BREACHES = f"""
SELECT desk, measure, amount, red, used, status, days_amber, acknowledged_by
FROM limit_breaches
WHERE day = DATE '{CLOSE}'
ORDER BY used DESC, desk, measure
""".strip().replace("\n", " ")
CLOSED = ("volatility", "historical_simulation", "market_risk", "pnl_explain", "limit_breaches")
NEXT = (
    f'nightscore query "SELECT product_type, count(*) AS n FROM {JOB} GROUP BY 1 ORDER BY 2 DESC LIMIT 5"',
    f"nightscore run {JOB} --day 2017-11-03 --set discovery_slots=3",
    f"nightscore why {JOB} --day 2017-11-02 --key household_id=1,product_id=856942",
    f"nightscore report {JOB} --day 2017-11-02 --open",
    "nightscore report mail_plan --day 2017-11-02 --open",
    "nightscore run retail_retrieval --day 2017-11-02",
    "nightscore run credit_loss --day 2018-06-30",
    f"nightscore run stress --day {CLOSE}",
    "make airflow",
)


Step = tuple[str, Callable[[list[str]], int], list[str]]


def nightscore(arguments: list[str]) -> int:
    """One command in the workspace of this repository; returns its exit code."""
    return call(["--workspace", str(WORKSPACE), *arguments])


def main() -> int:
    """Run the demo from the root of the repository; returns the exit code."""
    exit_on_signals()
    started = time.perf_counter()
    nights = [["run", JOB, "--day", day] for day in DAYS]
    looks = [["verify", JOB], ["report", JOB, "--day", DAYS[-1]], ["query", TEN_FOR_THREE]]
    mails = [*(["run", job, "--day", DAYS[-1]] for job in MAILS), ["query", MAIL]]
    asked = [["query", sql] for sql in (VAR, MADE, BREACHES)]
    closed = [["run", job, "--day", CLOSE] for job in CLOSED]
    steps: list[Step] = [
        ("python -m data.lakes", write_lakes, ["retail"]),
        *[("nightscore", nightscore, arguments) for arguments in (*nights, *looks, *mails)],
        ("python -m data.lakes", write_lakes, ["finance"]),
        *[("nightscore", nightscore, arguments) for arguments in (*closed, *asked)],
    ]
    for name, command, arguments in steps:
        print(f"\n$ {name} {shlex.join(arguments)}", flush=True)
        code = command(arguments)
        if code:
            return code
    seconds = time.perf_counter() - started
    print(f"\nTwo days of retail and one of finance in {seconds:.0f} s. What to try next:\n")
    print("  . .venv/bin/activate")
    for line in NEXT:
        print(f"  {line}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
