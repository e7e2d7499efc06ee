"""YAML read strictly: no duplicate keys, no aliases, no tags, and every value knows its line."""

import re
from collections.abc import Hashable
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from nightscore.common.errors import Broken, clipped
from nightscore.common.terminal import has_half_a_character

MAX_YAML_BYTES = 1_000_000  # bytes; a job.yaml is a page or two, so anything larger is a mistake or an attack

TEMPLATE = "a template of days stands in quotes: partition: 'dt={day:%Y%m%d}'"
DEEPEST = 20  # levels; a job.yaml has five

Path_ = tuple[str | int, ...]  # the way to a value: ("inputs", "products", "path")
LineNumbers = dict[Path_, int]


class _Loader(yaml.SafeLoader):
    """YAML 1.1, as PyYAML has it, but 1e-4 is the number that it is in YAML 1.2 and in JSON."""


class _Quick(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The same by libyaml, where PyYAML was built with it: a workspace's jobs are read by each command."""


for _one in (_Loader, _Quick):
    _one.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"),
        list("-+0123456789"),
    )


def read_yaml(path: Path, shown: str) -> tuple[Any, LineNumbers]:
    """The document of a file, and the line (from 1) of each of its values.

    `shown` is the file's name in error messages.

    Raises:
        Broken: the file can't be read, is no YAML, or uses what is not allowed.
    """
    try:
        raw = path.read_bytes()
        if len(raw) > MAX_YAML_BYTES:
            raise Broken(f"{shown}: {len(raw)} bytes; a job.yaml has at most {MAX_YAML_BYTES}")
        text = raw.decode("utf-8")
    except OSError as error:
        raise Broken(f"{shown}: can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Broken(f"{shown}: not UTF-8 text (byte {error.start})") from error
    return parse_yaml(text, shown)


def parse_yaml(text: str, shown: str) -> tuple[Any, LineNumbers]:
    """The document of a text, as `read_yaml`'s of a file, with the same errors."""
    try:
        _refuse_control_characters(text, shown)
        node = _compose(text, shown)
    except yaml.YAMLError as error:
        raise Broken(_syntax(error, text, shown)) from error
    lines: LineNumbers = {}
    return _value(node, (), lines, shown), lines


def _refuse_control_characters(text: str, shown: str) -> None:
    match = yaml.reader.Reader.NON_PRINTABLE.search(text)
    if match:
        line = text.count("\n", 0, match.start()) + 1
        raise Broken(f"{shown}:{line}: the character {match[0]!r} is not allowed; write it as an escape")


def _refuse_half_a_character(text: str, line: int, shown: str) -> None:
    """An escape of a lone surrogate (D800 to DFFF) is read as a text that no file and no terminal takes."""
    if has_half_a_character(text):
        raise Broken(f"{shown}:{line}: {clipped(text)!a} has an escape that is half a character")


@lru_cache(maxsize=128)  # a night reads the jobs of its workspace some ten times over; nobody changes a node
def _compose(text: str, shown: str) -> yaml.Node:
    try:
        return _compose_by(_Quick, text, shown)
    except yaml.YAMLError:  # whose messages are PyYAML's own
        return _compose_by(_Loader, text, shown)


def _compose_by(loader: type[yaml.SafeLoader], text: str, shown: str) -> yaml.Node:
    depth = 0
    for event in yaml.parse(text, Loader=loader):
        line = event.start_mark.line + 1 if event.start_mark else 1
        opened, closed = (
            isinstance(event, yaml.CollectionStartEvent),
            isinstance(event, yaml.CollectionEndEvent),
        )
        depth += opened - closed
        if depth > DEEPEST:
            raise Broken(f"{shown}:{line}: nested deeper than {DEEPEST} levels")
        if isinstance(event, yaml.AliasEvent):
            raise Broken(f"{shown}:{line}: alias *{event.anchor}; aliases are not allowed, write it out")
        tag = getattr(event, "tag", None)
        if tag is not None:
            raise Broken(f"{shown}:{line}: tag {tag}; tags are not allowed, put a text in quotes")
    node = yaml.compose(text, Loader=loader)
    if node is None:
        raise Broken(f"{shown}: the file is empty")
    return node


def _syntax(error: yaml.YAMLError, text: str, shown: str) -> str:
    mark = getattr(error, "problem_mark", None)
    where = f"{shown}:{mark.line + 1}" if mark else shown
    hint = f"; {TEMPLATE}" if mark and "{day" in "".join(text.splitlines()[mark.line : mark.line + 1]) else ""
    return f"{where}: not valid YAML: {getattr(error, 'problem', None) or error}{hint}"


def _value(node: yaml.Node, at: Path_, lines: LineNumbers, shown: str) -> Any:
    lines[at] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, at, lines, shown)
    if isinstance(node, yaml.SequenceNode):
        return [_value(child, (*at, i), lines, shown) for i, child in enumerate(node.value)]
    return _scalar(node, shown)


def _mapping(node: yaml.MappingNode, at: Path_, lines: LineNumbers, shown: str) -> dict[Hashable, Any]:
    mapping: dict[Hashable, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise Broken(f"{shown}:{line}: a key must be a plain word")
        key = key_node.value
        _refuse_half_a_character(key, line, shown)
        if key in mapping:
            raise Broken(f"{shown}:{line}: the key {key!r} stands twice (first in line {lines[*at, key]})")
        mapping[key] = _value(value_node, (*at, key), lines, shown)
        lines[*at, key] = line
    return mapping


def _scalar(node: yaml.Node, shown: str) -> Any:
    _refuse_half_a_character(node.value, node.start_mark.line + 1, shown)
    # A loader for one node: PyYAML keeps its constructors on loader instances.
    loader = _Loader("")
    try:
        return loader.construct_object(node, deep=True)
    except (yaml.YAMLError, ValueError) as error:
        raise Broken(
            f"{shown}:{node.start_mark.line + 1}: {clipped(node.value)} is no value that YAML allows here "
            f"(tag {node.tag})"
        ) from error
    finally:
        loader.dispose()
