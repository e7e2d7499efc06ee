"""What every command says the same way."""

import json
import sys


def print_json(document: object) -> None:
    """One JSON document on standard output."""
    print(json.dumps(document, indent=2, default=str, ensure_ascii=False))


def print_error(status: str, error: Exception) -> None:
    """Say on stderr what is wrong."""
    print(f"nightscore: {status}: {error}", file=sys.stderr)
