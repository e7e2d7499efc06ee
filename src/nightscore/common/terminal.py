"""Texts of data on a terminal: what would steer it, or turn its letters round, is shown instead."""

import re

# Control characters but the tab and the end of a line, C1 (0x9b begins a sequence as ESC [ does), what sets
# the direction of writing, two more ends of a line, and halves of characters.
_STEERS = "\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff"
_HALVES = re.compile("[\ud800-\udfff]")
_IN_TEXT = re.compile(f"[{_STEERS}]")
_IN_CELL = re.compile(f"[{_STEERS}\t\n]")
_IN_JSON = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def has_half_a_character(text: str) -> bool:
    """Whether a text has a lone surrogate: then it is none that UTF-8 can say."""
    return not text.isascii() and bool(_HALVES.search(text))


def visible(text: str) -> str:
    r"""A text of some lines, with `\x1b` for the character ESC, `\u202e` for what turns the rest round."""
    return _IN_TEXT.sub(_escaped, text)


def visible_cell(text: str) -> str:
    """The same of a text that stands on one line: the end of a line and a tab are shown, too."""
    return _IN_CELL.sub(_escaped, text)


def visible_json(document: str) -> str:
    """A JSON document that says the same, with escapes for what JSON itself leaves as it is."""
    return _IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", document)


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape", "surrogatepass").decode("ascii")
