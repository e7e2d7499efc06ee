"""YAML is read strictly: what is ambiguous or dangerous is refused, and the message names its line."""

import datetime as dt
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yaml import safe_dump

from nightscore.common.errors import Broken
from nightscore.common.strict_yaml import MAX_YAML_BYTES, read_yaml


def read(folder: Path, text: str | bytes) -> tuple[Any, Any]:
    path = folder / "job.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_yaml(path, "shown/job.yaml")


def message(folder: Path, text: str | bytes) -> str:
    with pytest.raises(Broken) as caught:
        read(folder, text)
    return str(caught.value)


REFUSED = {
    "duplicate key": ("a: 1\nb: 2\na: 3\n", 3, "the key 'a' stands twice (first in line 1)"),
    "duplicate key below": ("a:\n  b: 1\n  c: 2\n\n  b: 3\n", 5, "'b' stands twice (first in line 2)"),
    "duplicate by another spelling": ("1: a\nb: 2\n'1': c\n", 3, "the key '1' stands twice"),
    "duplicate in a flow mapping": ("x: 1\na: {b: 1, b: 2}\n", 2, "the key 'b' stands twice"),
    "alias": ("a: &x 1\n\nb: *x\n", 3, "alias *x; aliases are not allowed, write it out"),
    "merge key": ("a: &x {c: 1}\nb:\n  <<: *x\n", 3, "alias *x"),
    "alias bomb": ("a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n", 2, "alias *a"),
    "python tag on a sequence": (
        "a: 1\nb: !!python/object/apply:os.system ['touch owned']\n", 2,
        "tag tag:yaml.org,2002:python/object/apply:os.system; tags are not allowed",
    ),
    "python tag on a mapping": ("a: !!python/object:os.X {b: 1}\n", 1, "python/object:os.X; tags are not"),
    "python tag on a scalar": ("a: 1\n\nb: !!python/name:os.system x\n", 3, "python/name:os.system; tags"),
    "set": ("a: !!set {x, y}\n", 1, "tag tag:yaml.org,2002:set; tags are not allowed"),
    "binary": ("a: 1\nb: !!binary aGk=\n", 2, "tag tag:yaml.org,2002:binary; tags are not allowed"),
    "tag of one's own": ("a: !secret x\n", 1, "tag !secret; tags are not allowed, put a text in quotes"),
    "no such date": ("a: 1\nb: 2020-13-01\n", 2, "'2020-13-01' is no value that YAML allows here"),
    "no such zone": ("a: 2020-01-01T00:00:00+99:99\n", 1, "is no value that YAML allows here"),
    "bare equals sign": ("a: 1\nb: =\n", 2, "'=' is no value that YAML allows here"),
    "integer of 5000 digits": (f"a: {'9' * 5000}\n", 1, "9999… is no value that YAML allows here"),
    "key that is a list": ("a: 1\n? [x]\n: 2\n", 2, "a key must be a plain word"),
    "key that is a mapping": ("? {a: 1}\n: 2\n", 1, "a key must be a plain word"),
    "unclosed bracket": ("a: 1\nb: [1, 2\n", 3, "not valid YAML: expected ',' or ']'"),
    "two colons": ("a: 1\nb: c: d\n", 2, "not valid YAML: mapping values are not allowed here"),
    "tab": ("a:\n\tb: 1\n", 2, "not valid YAML: found character '\\t'"),
    "two documents": ("a: 1\n---\nb: 2\n", 2, "not valid YAML"),
    "nested in brackets": ("a: 1\nb: " + "[" * 90_000, 2, "nested deeper than 20 levels"),
    "nested in braces": ("{a: " * 90_000, 1, "nested deeper than 20 levels"),
    "nested in blocks": ("".join(" " * i + "a:\n" for i in range(1_000)), 21, "nested deeper than 20"),
    "NUL": ("a: 1\nb: x\x00y\n", 2, "the character '\\x00' is not allowed"),
    "escape character": ("a: 1\n\n# \x1b[31m\n", 3, "the character '\\x1b' is not allowed"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "line", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_refused_is_named_with_its_line(tmp_path: Path, text: str, line: int, says: str) -> None:
    """What YAML allows and a job.yaml doesn't is refused: file, the right line, the offending text."""
    found = message(tmp_path, text)
    assert found.startswith(f"shown/job.yaml:{line}: ")
    assert says in found
    assert "\n" not in found
    assert len(found) < 300


UNREADABLE = {
    "empty": (b"", "the file is empty"),
    "comments alone": (b"# nothing\n\n", "the file is empty"),
    "not UTF-8": (b"a: 1\nb: \xff\n", "not UTF-8 text (byte 8)"),
    "UTF-16": ("a: 1".encode("utf-16"), "not UTF-8 text (byte 0)"),
    "2 MB": (b"a: " + b"x" * 2_000_000, f"2000003 bytes; a job.yaml has at most {MAX_YAML_BYTES}"),
}


@pytest.mark.parametrize(("raw", "says"), UNREADABLE.values(), ids=UNREADABLE.keys())
def test_files_that_are_no_document(tmp_path: Path, raw: bytes, says: str) -> None:
    """A file that can't be a job.yaml as a whole is refused with its name and the reason."""
    assert message(tmp_path, raw) == f"shown/job.yaml: {says}"


def test_nesting_is_counted_and_not_what_stands_side_by_side(tmp_path: Path) -> None:
    """Twenty levels are read however wide they are; the twenty-first is refused."""
    deepest = "[" * 19 + "]" * 19
    assert len(read(tmp_path, f"a: [{', '.join(['[]'] * 100)}]\nb: {deepest}\n")[0]) == 2
    assert "nested deeper" in message(tmp_path, f"b: [{deepest}]\n")


def test_a_file_that_is_not_there_or_is_a_folder(tmp_path: Path) -> None:
    """What can't be opened is refused with the system's reason."""
    with pytest.raises(Broken, match=r"^x: can't be read: No such file"):
        read_yaml(tmp_path / "absent.yaml", "x")
    with pytest.raises(Broken, match=r"^x: can't be read: Is a directory"):
        read_yaml(tmp_path, "x")


def test_every_value_knows_the_line_of_its_key(tmp_path: Path) -> None:
    """Lines are those of the keys and of the list items, through comments, blank lines and long texts."""
    text = "# a comment\na: 1\n\nb:\n  c: |\n    two\n    lines\n  d: [x,\n      y]\n"
    text += "e:\n  -\n    f: 1\n  - f: 2\n"
    document, lines = read(tmp_path, text)
    assert document == {"a": 1, "b": {"c": "two\nlines\n", "d": ["x", "y"]}, "e": [{"f": 1}, {"f": 2}]}
    assert lines == {
        (): 2, ("a",): 2, ("b",): 4, ("b", "c"): 5, ("b", "d"): 8, ("b", "d", 0): 8, ("b", "d", 1): 9,
        ("e",): 10, ("e", 0): 12, ("e", 0, "f"): 12, ("e", 1): 13, ("e", 1, "f"): 13,
    }  # fmt: skip


def test_keys_are_the_words_that_stand_there(tmp_path: Path) -> None:
    """A key is text as written: YAML 1.1 makes `no` False and `010` 8 only where a value stands."""
    document, _ = read(tmp_path, "no: 1\n010: 2\n1.10: 3\n~: 4\n2020-01-01: 5\n")
    assert list(document) == ["no", "010", "1.10", "~", "2020-01-01"]


def test_values_have_the_types_of_yaml(tmp_path: Path) -> None:
    """Values are read as YAML 1.1 reads them; that a text was meant is for the spec to notice."""
    text = "a: no\nb: 010\nc: 1.10\nd: 12:30:00\ne: 2020-01-02\nf: 'no'\ng: ~\nh: .nan\ni: 02:00\n"
    document, _ = read(tmp_path, text)
    assert math.isnan(document.pop("h"))
    assert document == {
        "a": False, "b": 8, "c": 1.1, "d": 45_000, "e": dt.date(2020, 1, 2), "f": "no", "g": None,
        "i": "02:00",
    }  # fmt: skip


def test_a_byte_order_mark_is_read_over(tmp_path: Path) -> None:
    """What Windows editors put in front of a file does no harm."""
    assert read(tmp_path, b"\xef\xbb\xbfa: 1\n")[0] == {"a": 1}


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(PLAIN)
def test_what_yaml_wrote_is_read_back(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    """A document of plain values is read as it was written, whatever its texts are."""
    text = safe_dump({"root": value})
    assert read(tmp_path_factory.getbasetemp(), text)[0] == {"root": value}
