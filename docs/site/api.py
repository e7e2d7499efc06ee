"""The public names of a room as Markdown: signatures and docstrings, as Python itself gives them."""

import importlib
import inspect
import re
from collections.abc import Iterator
from typing import Any

SECTION = re.compile(r"^(Args|Returns|Raises|Yields|Attributes):\n((?:(?: {4}.*)?\n?)+)", re.MULTILINE)
ITEM = re.compile(r"^([\w*., ]+?)(?: \([^)]*\))?: ", re.MULTILINE)


def prose(text: str) -> str:
    """A docstring as Markdown: its sections become lists, its indented code stays code."""

    def section(match: re.Match[str]) -> str:
        lines = inspect.cleandoc(match[2])
        items = ITEM.sub(lambda item: f"- `{item[1]}`: ", re.sub(r"\n {4,}", " ", lines))
        return f"\n**{match[1]}**\n\n{items}\n"

    return SECTION.sub(section, text.rstrip() + "\n").strip()


def signature(name: str, thing: Any) -> str:
    """How it is called, on one line where that fits."""
    try:
        text = name + str(inspect.signature(thing))
    except (TypeError, ValueError):
        return name
    text = re.sub(r"\b(?:nightscore|collections|pyarrow|datetime|typing|pathlib|numpy)(?:\.\w+)*\.(?=\w)", "", text)
    text = text.replace("'", "") if "->" in text else text
    return text if len(text) <= 100 else re.sub(r"(?<=[(,])\s*(?=\*?\w+[:=,)]|\*,)", "\n    ", text)


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
    """One public name."""
    yield f"### `{name}`"
    yield f"```python\n{signature(name, thing)}\n```" if callable(thing) else f"`{thing!r}`"
    if callable(thing):
        yield prose(own_doc(thing))
    if inspect.isclass(thing):
        for method, function in members(thing):
            text = prose(own_doc(function)).replace("\n", "\n    ")
            if text:
                shape = method if isinstance(function, property) else signature(method, function)
                yield f"- `{' '.join(shape.split())}`: {text}"


def room(path: str) -> Iterator[str]:
    """All public names of a module, in alphabetical order."""
    module = importlib.import_module(path)
    yield f"## {path}"
    yield prose(inspect.getdoc(module) or "")
    for name in sorted(module.__all__, key=str.lower):
        if name != "__version__":
            yield from entry(name, getattr(module, name))


def rooms(*paths: str) -> str:
    """The public names of some modules."""
    return "\n\n".join(part for path in paths for part in room(path) if part)
