"""The two files of a first job, and how names and values stand in them."""

import json
import re
from collections.abc import Sequence

from nightscore.scorers import DescribedModel
from nightscore.start.draft_columns import Line
from nightscore.start.lake import SeenInput
from nightscore.start.sql_names import PLAIN, sql_name

OF_COLUMNS = {
    "text": "the column of texts",
    "image": "bytes of a PNG or a JPEG; image: says what goes before the model (docs/scorers.md)",
}
MOST_LETTERS = 63  # of a column that job.yaml names


def features_sql(view: str, seen: SeenInput, key: Sequence[str], lines: Sequence[Line]) -> str:
    """One SELECT: the key, and a line for each column of the model; what is missing is a comment."""
    wanted = [(sql_name(name), "") for name in key] + [(line.sql, line.problem) for line in lines]
    parts = [part for part in wanted if any(part)]
    last = max(i for i, (sql, _) in enumerate(parts) if sql)
    text = [
        f"    {sql}{',' if i < last else ''}" if sql else f"    -- {_remark(problem)}"
        for i, (sql, problem) in enumerate(parts)
    ]
    where = f"\nWHERE {sql_name(seen.day)} = getvariable('day')" if seen.day else ""
    if seen.said.get("day_column"):
        where = f"\nWHERE CAST({sql_name(seen.day)} AS DATE) = getvariable('day')"
    return "\n".join(
        ["-- One row of this SELECT is one row to score.", "SELECT", *text, f"FROM {view}{where}", ""]
    )


def job_yaml(
    name: str, view: str, seen: SeenInput, model: DescribedModel, *, shown: str, columns: list[str],
    expected: str, outputs: dict[str, str], key: Sequence[str], how: str,
) -> str:  # fmt: skip
    """The job.yaml of a first job; what it leaves open is a comment."""
    of = OF_COLUMNS.get(model.kind, "in the order of the training")
    kind = f"  kind: {model.kind}\n" if model.kind else ""
    named = f"  columns: {flow(columns)}   # {of}\n" if columns else ""
    settings = f"  {model.kind}: {flow(dict(model.settings))}\n" if model.settings else ""
    asks = "".join(f"  # open: {_remark(ask)}\n" for ask in model.asks)
    said = {column: what for column, what in model.domain.items() if has_domain(column)}
    allowed = "".join(f"  {flow(column)}: {flow(what)}\n" for column, what in said.items())
    domain = f"\ndomain:   # other values have no score in training\n{allowed}" if said else ""
    held = (
        f"  expected: {{features: {flow(expected)}}}   # what training expects: held to it\n"
        if expected
        else ""
    )
    return (
        f"# yaml-language-server: $schema=../job.schema.json\njob: {name}\n\n"
        f"inputs:\n  {view}: {flow(seen.said)}\n\n"
        f"features: features.sql\nkey: {flow(list(key))}   # {_remark(how)}\n\n"
        f"model:\n{kind}  path: {flow(shown)}\n{named}{settings}{asks}"
        f"  outputs: {flow(outputs)}   "
        f"# the model has {_remark('; '.join(model.outputs))}\n{held}{domain}"
    )


def _remark(text: str) -> str:
    """A text as the end of a comment: what would end it, or can't be seen, is written as its escape."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def has_domain(column: str) -> bool:
    """Whether job.yaml's `domain` can speak of a column."""
    return bool(PLAIN.fullmatch(column)) and len(column) <= MOST_LETTERS


def flow(value: object) -> str:
    """A value as YAML on one line; texts are quoted where they are no plain words."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{flow(key)}: {flow(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    text = str(value)
    words = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}
    plain = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_./-]*", text) and text.lower() not in words
    return text if plain else json.dumps(text, ensure_ascii=False)
