"""Pages of HTML that two ways have made, for tests that hold one to the other."""

import re


def timeless(page: str) -> str:
    """A page without the second at which it was made."""
    return re.sub(r"\d\d:\d\d:\d\d UTC", "", page)
