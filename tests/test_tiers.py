"""The lists of long tests and of further cases name tests that there are."""

import ast
from pathlib import Path

from tests.support.tiers import read_long_tests, read_rest_cases

ROOT = Path(__file__).parents[1]


def test_each_long_test_exists() -> None:
    """One that was renamed would come back into `make test` without a word."""
    lists = read_long_tests() | {case.split("[")[0] for case in read_rest_cases()}
    named = [line.split("::") for line in sorted(lists)]
    functions = {
        (file, node.name)
        for file in {file for file, _ in named}
        for node in ast.walk(ast.parse((ROOT / file).read_text()))
        if isinstance(node, ast.FunctionDef)
    }
    assert named and {(file, name) for file, name in named} <= functions
