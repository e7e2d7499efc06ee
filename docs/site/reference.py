"""What pages of the reference are made of: the schemas, the command line, the receipt, the public names."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import api

Schema = Mapping[str, Any]


def cell(text: object) -> str:
    """A text in a cell of a table."""
    return " ".join(str(text).split()).replace("|", "\\|")


def named(schema: Schema) -> str:
    """The name of the definition that a schema refers to."""
    return str(schema.get("$ref", "")).rpartition("/")[2]


def kind_of(schema: Schema) -> str:
    """What a value may be, in a few words; what has keys of its own is a link to them."""
    if name := named(schema):
        return f"[{name}](#{name.lower()})"
    if options := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(dict.fromkeys(kind_of(option) for option in options))
    if "const" in schema or "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"list of {kind_of(schema.get('items', {}))}"
    if schema.get("type") == "object":
        values = [*schema.get("patternProperties", {}).values(), schema.get("additionalProperties")]
        inner = next((value for value in values if isinstance(value, Mapping)), None)
        return f"name: {kind_of(inner)}" if inner else "object"
    return str(schema.get("type", "any value"))


def limits_of(schema: Schema) -> str:
    """The bounds of a value, as the schema has them."""
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    said = [f"{sign} {schema[name]}" for name, sign in signs.items() if name in schema]
    return f" ({', '.join(said)})" if said else ""


def default_of(name: str, schema: Schema, owner: Schema) -> str:
    """The default of a key; in bold where there is none."""
    if name in owner.get("required", ()):
        return "**required**"
    return f"`{schema['default']}`" if schema.get("default") not in (None, [], {}, "") else ""


def rows_of(owner: Schema) -> Iterator[str]:
    """A table of an object's keys."""
    keys: Schema = owner.get("properties", {})
    said = any("description" in schema for schema in keys.values())
    yield (
        "| key | is | default | means |\n| --- | --- | --- | --- |"
        if said
        else "| key | is | default |\n| --- | --- | --- |"
    )
    for name, schema in keys.items():
        cells = [f"`{name}`", kind_of(schema) + limits_of(schema), default_of(name, schema, owner)]
        yield f"| {' | '.join(map(cell, [*cells, schema.get('description', '')] if said else cells))} |"


def sections(schema: Schema) -> Iterator[str]:
    """The keys at the top, then those of each definition."""
    yield "\n".join(rows_of(schema))
    for name, definition in schema.get("$defs", {}).items():
        yield f"## {name}"
        yield cell(definition.get("description", ""))
        if definition.get("properties"):
            yield "\n".join(rows_of(definition))
        else:
            yield f"Is {kind_of(definition)}."


def schema_page(schema: Schema) -> str:
    """All keys of a file, by its JSON Schema."""
    return "\n\n".join(part for part in sections(schema) if part)


def job_keys() -> str:
    """The keys of job.yaml."""
    from nightscore.job.json_schema import job_schema

    return schema_page(job_schema())


def case_keys() -> str:
    """The keys of a case."""
    from nightscore.job.json_schema import case_schema

    return schema_page(case_schema())


def receipt_fields() -> str:
    """The fields of receipt.json."""
    from nightscore import Receipt

    return schema_page(Receipt.model_json_schema())


def commands() -> str:
    """Each command, as its help says it."""
    from nightscore.cli.main import app

    text = app.generate_docs(heading_level=1, flatten_commands=True).partition("## Table of Contents")[2]
    body = text[text.index("\n**") :]  # the list of contents is the site's own
    body = re.sub(r"^# nightscore", "## nightscore", body, flags=re.MULTILINE)
    return re.sub(r"\[(`--[\w-]+`)\]\(#[\w-]+\)", r"\1", body)  # an option has no heading


MADE: dict[str, Callable[[], str]] = {
    "job": job_keys,
    "case": case_keys,
    "receipt": receipt_fields,
    "commands": commands,
    "api": lambda: api.rooms("nightscore", "nightscore.scorers"),
}
