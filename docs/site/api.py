"""The public names of a room as Markdown: signatures as the source has them, and docstrings."""

import ast
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import Any

SECTION = re.compile(r"^(Args|Returns|Raises|Yields|Attributes):\n((?:(?: {4}.*)?\n?)+)", re.MULTILINE)
WIDTH = 100
ITEM = re.compile(r"^([\w*., ]+?)(?: \([^)]*\))?: ", re.MULTILINE)


def prose(text: str) -> str:
    """A docstring as Markdown: its sections become lists, its indented code stays code."""

    def section(match: re.Match[str]) -> str:
        lines = inspect.cleandoc(match[2])
        items = ITEM.sub(lambda item: f"- `{item[1]}`: ", re.sub(r"\n {4,}", " ", lines))
        return f"\n**{match[1]}**\n\n{items}\n"

    return SECTION.sub(section, text.rstrip() + "\n").strip()


def arguments(given: ast.arguments) -> Iterator[str]:
    """Each argument as it is written, with `*` where names begin."""
    places = [*given.posonlyargs, *given.args]
    defaults = [None] * (len(places) - len(given.defaults)) + list(given.defaults)
    pairs = [*zip(places, defaults, strict=True)]
    for number, (one, default) in enumerate(pairs, 1):
        if one.arg not in ("self", "cls"):
            yield written(one, default)
        if number == len(given.posonlyargs):
            yield "/"
    if given.vararg or given.kwonlyargs:
        yield f"*{ast.unparse(given.vararg)}" if given.vararg else "*"
    yield from (written(one, value) for one, value in zip(given.kwonlyargs, given.kw_defaults, strict=True))
    if given.kwarg:
        yield f"**{ast.unparse(given.kwarg)}"


def written(one: ast.arg, default: ast.expr | None) -> str:
    """An argument with its default."""
    if default is None:
        return ast.unparse(one)
    return f"{ast.unparse(one)}{' = ' if one.annotation else '='}{ast.unparse(default)}"


def signature(thing: Any) -> str:
    """How it is called, or what it is made of: a class with its fields."""
    [node] = ast.parse(textwrap.dedent(inspect.getsource(thing))).body
    if isinstance(node, ast.ClassDef):
        bases = ", ".join(ast.unparse(base) for base in node.bases)
        fields = [f"    {ast.unparse(part)}" for part in node.body if isinstance(part, ast.AnnAssign)]
        head = f"class {node.name}({bases}):" if bases else f"class {node.name}:"
        return "\n".join([head, *(fields or ["    ..."])])
    if not isinstance(node, ast.FunctionDef):
        return ast.unparse(node)
    result = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    given = list(arguments(node.args))
    line = f"{node.name}({', '.join(given)}){result}"
    return line if len(line) <= WIDTH else f"{node.name}(\n    " + ",\n    ".join(given) + f",\n){result}"


def own_doc(thing: Any) -> str:
    """Its own docstring; one that Python or a library made of the fields says nothing."""
    text = inspect.getdoc(thing) or ""
    return "" if text.startswith(("Usage docs:", f"{getattr(thing, '__name__', '')}(")) else text


def members(owner: type) -> Iterator[tuple[str, Any]]:
    """Public methods and properties that a class has itself."""
    for name, thing in vars(owner).items():
        plain = thing.__func__ if isinstance(thing, classmethod | staticmethod) else thing
        if not name.startswith("_") and (inspect.isfunction(plain) or isinstance(plain, property)):
            yield name, plain


def entry(name: str, thing: Any) -> Iterator[str]:
    """One public name; of a class its methods, too."""
    yield f"### `{name}`"
    if not (inspect.isclass(thing) or inspect.isfunction(thing)):
        yield (
            f"`{name}`: {type(thing).__name__}"
            if isinstance(thing, dict | set | frozenset)
            else f"`{thing!r}`"
        )
        return
    yield f"```python\n{signature(thing)}\n```"
    yield prose(own_doc(thing))
    if inspect.isclass(thing):
        for method, function in members(thing):
            if text := prose(own_doc(function)):
                shape = method if isinstance(function, property) else signature(function)
                yield f"**`{' '.join(shape.split())}`**"
                yield text


def room(path: str) -> Iterator[str]:
    """All public names of a module, in alphabetical order."""
    module = importlib.import_module(path)
    yield f"## {path}"
    yield prose(inspect.getdoc(module) or "").partition("\n")[0]
    for name in sorted(module.__all__, key=str.lower):
        if name != "__version__":
            yield from entry(name, inspect.unwrap(getattr(module, name)))


def rooms(*paths: str) -> str:
    """The public names of some modules."""
    return "\n\n".join(part for path in paths for part in room(path) if part)
