"""Sizes in bytes as people write them: `4GB`, `512 MiB`."""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, StringConstraints

UNITS = {"kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
PATTERN = rf"^[0-9]{{1,12}}(\.[0-9]{{1,6}})? ?({'|'.join(UNITS)})$"


def bytes_of(text: str) -> int:
    """The bytes that a size means, rounded down.

    Raises:
        ValueError: it is none; says what is allowed.
    """
    found = re.fullmatch(r"([0-9.]+) ?([A-Za-z]+)", text) if re.fullmatch(PATTERN, text) else None
    if found is None:
        raise ValueError(
            f"{text!r} is no size; allowed: a number and one of {', '.join(UNITS)}, such as 4GB; or auto"
        )
    whole, _, fraction = found[1].partition(".")
    scaled = int(whole + fraction) * UNITS[found[2]]  # in integers: a float would lose the last bytes
    return scaled // int(10 ** len(fraction))


def _size(value: Any) -> Any:
    if value != "auto":
        bytes_of(value if isinstance(value, str) else str(value))
    return value


Size = Annotated[str, StringConstraints(pattern=rf"^auto$|{PATTERN}"), BeforeValidator(_size)]
