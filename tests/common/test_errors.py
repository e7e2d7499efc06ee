"""What an error of a library says, in one line."""

import pytest

from nightscore.common import first_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("one\ntwo"), "one"),
        (ValueError("\n \n  two \n"), "two"),
        (MemoryError(), "MemoryError"),  # says nothing: its kind
        (ValueError(" \n"), "ValueError"),
    ],
)
def test_the_first_line_is_one_that_says_something(error: Exception, line: str) -> None:
    """Never an empty one, and never an error of its own."""
    assert first_line(error) == line
