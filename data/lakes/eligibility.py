"""What may not be recommended, and since when: a small dated file that a person edits, as a table.

The rules of the sample are made up, and stand in ``data/sources/eligibility.csv``: gasoline has no shelf,
four keys of the till are no products, tobacco may not be promoted, and a house rule leaves out alcohol.
"""

import csv
import hashlib
from datetime import date
from pathlib import Path

import pyarrow as pa

from data.lakes import lake
from nightscore.common.errors import Broken

RULES = Path(__file__).resolve().parents[1] / "sources/eligibility.csv"
SCHEMA = pa.schema(
    [("product_type", pa.string()), ("from", pa.date32()), ("until", pa.date32()), ("reason", pa.string())]
)


def write_eligibility(path: Path, stamp: bytes, rules: Path = RULES) -> None:
    """Write the rules of a CSV file as Parquet, or do nothing where they lie there already.

    Columns: ``product_type`` text; ``from`` and ``until`` date, the first and the last day of the rule (null:
    it has no end); ``reason`` text. Rows are in the file's order. ``stamp`` says what writes the lake.

    Raises ``Broken``, with the line, for a row that is no rule.
    """
    content = rules.read_bytes()
    try:
        text = content.decode("utf-8-sig")  # a spreadsheet puts a mark of its own in front
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise Broken(f"{rules.name}:{line}: is not UTF-8 text; save it as CSV in UTF-8") from None
    read = csv.DictReader(text.splitlines())
    if read.fieldnames != SCHEMA.names:
        raise Broken(f"{rules.name}:1: the columns are {read.fieldnames}; expected: {SCHEMA.names}")
    rows = [_rule(row, f"{rules.name}:{number}") for number, row in enumerate(read, 2)]
    written_from = hashlib.sha256(content).hexdigest()
    lake.write(path, pa.Table.from_pylist(rows, SCHEMA), stamp + f" rules {written_from}".encode())


def _rule(row: dict[str, str], where: str) -> dict[str, object]:
    if list(row) != SCHEMA.names or not all(row[name] for name in ("product_type", "from", "reason")):
        said = ",".join(str(value) for value in row.values())
        raise Broken(
            f"{where}: {said!r} is no rule; expected: a product_type, the first day, the last day or "
            "nothing, a reason"
        )
    first, until = _day(row["from"], where), _day(row["until"], where) if row["until"] else None
    if until is not None and until < first:
        raise Broken(f"{where}: the rule ends on {until}, before its first day, {first}")
    return {**row, "from": first, "until": until}


def _day(text: str, where: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise Broken(f"{where}: {text!r} is no day; expected: YYYY-MM-DD") from None
