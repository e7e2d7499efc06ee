"""The DuckDB types of the columns of Parquet files, looked up once for all files that are alike."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from nightscore.common import Broken, Workspace
from nightscore.pipeline.read.parquet.widening import DIGITS
from nightscore.store import Engine, InputFile, SqlMistakes, View, catalog, quote_identifier

ParquetColumns = Mapping[str, tuple[str, str]]  # path of a leaf -> its physical and its logical type
Inspected = Sequence[tuple[InputFile, ParquetColumns]]
Types = Mapping[str, str]


def column_types(workspace: Workspace, path: Path, columns: ParquetColumns) -> Types:
    """The DuckDB type of each column of a file; a decimal of more digits than DuckDB's keeps its own name."""
    return _of_file(workspace, _Once(path, tuple(sorted(columns.items()))))


def contract_types(workspace: Workspace, contract: Mapping[str, str]) -> Types:
    """A contract's types as DuckDB names them: `INT` is INTEGER. duckdb.Error where one is no type."""
    return _named(workspace, tuple(contract.items()))


def known_types(workspace: Workspace, contract: Mapping[str, str]) -> Types:
    """The same; as they are where one is no type, which is said of the contract as a whole."""
    try:
        with SqlMistakes("columns"):
            return contract_types(workspace, contract) if contract else {}
    except Broken:
        return contract


@lru_cache(maxsize=256)
def _named(workspace: Workspace, contract: tuple[tuple[str, str], ...]) -> Types:
    casts = ", ".join(f"CAST(NULL AS {kind}) AS {quote_identifier(c)}" for c, kind in contract)
    with Engine([], catalog.query_resources(workspace)) as engine:
        return engine.types(f"SELECT {casts}")


class _Once:
    """A file, and its columns in order, by which alone it is told from others."""

    def __init__(self, path: Path, columns: tuple[tuple[str, tuple[str, str]], ...]) -> None:
        self.path, self.columns = path, columns

    def __hash__(self) -> int:
        return hash(self.columns)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Once) and self.columns == other.columns


def twins(path: str, columns: ParquetColumns) -> dict[str, str]:
    """Columns of a file that are one name to SQL, in small letters -> what is wrong with them."""
    first: dict[str, str] = {}
    found = {}
    for name in columns:
        if (other := first.setdefault(name.lower(), name)) != name:
            found[name.lower()] = f"{path} has columns {other!r} and {name!r}, one name to SQL; rename one"
    return found


def types_in(workspace: Workspace, path: Path) -> dict[str, str]:
    """The DuckDB type of each column of a file, by its footer."""
    with Engine([View("rows", (path,))], catalog.query_resources(workspace)) as engine:
        return engine.types("SELECT * FROM rows")


@lru_cache(maxsize=256)
def _of_file(workspace: Workspace, file: _Once) -> Types:
    types = types_in(workspace, file.path)
    return types | {name: kind for name, (_, logical) in file.columns if (kind := _wide_decimal(logical))}


def _wide_decimal(logical: str) -> str:
    """The type of a decimal beyond 38 digits, which DuckDB reads as a DOUBLE; else nothing."""
    if not logical.startswith("Decimal("):
        return ""
    digits = dict(part.split("=") for part in logical[len("Decimal(") : -1].split(", "))
    return f"DECIMAL({digits['precision']},{digits['scale']})" if int(digits["precision"]) > DIGITS else ""
