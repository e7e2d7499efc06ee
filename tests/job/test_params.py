"""Parameters are typed values: parsed from text, checked against what is allowed, refused with what is."""

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from nightscore.job.parts.params import Param

DAY = dt.date(2020, 1, 2)
INTEGER = Param(type="integer", default=1, minimum=0, maximum=10)
NUMBER = Param(type="number", default=0.5, minimum=0)
TEXT = Param(type="string", default="a")
CHOICE = Param(type="string", default="a", enum=["a", "b"])
FLAG = Param(type="boolean", default=False)
DATE = Param(type="date", default=DAY)

PARSED = [
    (INTEGER, "7", 7), (INTEGER, "0", 0), (INTEGER, "10", 10), (INTEGER, " 7 ", 7), (NUMBER, "7", 7.0),
    (NUMBER, "1e3", 1000.0), (TEXT, "x'; --", "x'; --"), (TEXT, "", ""), (CHOICE, "b", "b"),
    (FLAG, "true", True), (FLAG, "false", False), (DATE, "2020-01-02", DAY),
]  # fmt: skip


@pytest.mark.parametrize(("param", "text", "value"), PARSED, ids=[f"{p.type} {t!r}" for p, t, _ in PARSED])
def test_a_text_is_parsed(param: Param, text: str, value: Any) -> None:
    """What a command line says becomes a value of the parameter's own type."""
    found = param.parse(text)
    assert (found, type(found)) == (value, type(value))


REFUSED = [
    (INTEGER, "x", "'x' is no integer; allowed: integer >= 0 and <= 10"),
    (INTEGER, "1.0", "'1.0' is no integer; allowed: integer >= 0 and <= 10"),
    (INTEGER, "", "'' is no integer; allowed: integer >= 0 and <= 10"),
    (INTEGER, "-1", "-1 is not allowed; allowed: integer >= 0 and <= 10"),
    (INTEGER, "11", "11 is not allowed; allowed: integer >= 0 and <= 10"),
    (INTEGER, "9" * 5000, "is no integer; allowed: integer >= 0 and <= 10"),
    (INTEGER, "not allowed", "'not allowed' is no integer; allowed: integer >= 0 and <= 10"),
    (NUMBER, "nan", "nan is not a finite number; allowed: number >= 0"),
    (NUMBER, "inf", "inf is not a finite number; allowed: number >= 0"),
    (NUMBER, "-0.5", "-0.5 is not allowed; allowed: number >= 0"),
    (NUMBER, "1,5", "'1,5' is no number; allowed: number >= 0"),
    (CHOICE, "c", "'c' is not allowed; allowed: a, b"),
    (FLAG, "yes", "'yes' is no boolean; allowed: boolean"),
    (FLAG, "1", "'1' is no boolean; allowed: boolean"),
    (DATE, "2020-13-01", "'2020-13-01' is no date; allowed: date"),
    (DATE, "01.02.2020", "'01.02.2020' is no date; allowed: date"),
]


@pytest.mark.parametrize(
    ("param", "text", "says"), REFUSED, ids=[f"{p.type} {t[:12]!r}" for p, t, _ in REFUSED]
)
def test_a_text_that_means_none_is_refused(param: Param, text: str, says: str) -> None:
    """The message has the text or the value that it means, and what is allowed."""
    with pytest.raises(ValueError, match="allowed") as caught:
        param.parse(text)
    assert str(caught.value).endswith(says)
    assert len(str(caught.value)) < 300


WRONG_TYPES = [
    (INTEGER, True), (INTEGER, 1.0), (INTEGER, "1"), (INTEGER, None), (NUMBER, True), (NUMBER, "1"),
    (TEXT, 1), (FLAG, 1), (DATE, "2020-01-02"), (DATE, dt.datetime(2020, 1, 2, tzinfo=dt.UTC)),
]  # fmt: skip


@pytest.mark.parametrize(("param", "value"), WRONG_TYPES, ids=[f"{p.type} {v!r}" for p, v in WRONG_TYPES])
def test_a_value_of_another_type_is_refused(param: Param, value: Any) -> None:
    """Nothing is converted but an integer where a number is wanted: True is no 1, 1.0 is no 1."""
    with pytest.raises(ValueError, match=f"is no {param.type}; allowed: {param.type}"):
        param.check(value)


def test_an_integer_serves_as_a_number() -> None:
    """7 is a number, and becomes the float that SQL gets each time."""
    assert type(NUMBER.check(7)) is float


WRONG_SPECS = {
    "default below minimum": ({"type": "integer", "default": 0, "minimum": 1}, "0 is not allowed"),
    "default not in enum": (
        {"type": "string", "default": "c", "enum": ["a"]},
        "'c' is not allowed; allowed: a",
    ),
    "default of another type": ({"type": "date", "default": "2020-01-02"}, "is no date"),
    "default that is NaN": ({"type": "number", "default": float("nan")}, "nan is not a finite number"),
    "bounds of a boolean": ({"type": "boolean", "default": True, "maximum": 1}, "are for integer and number"),
    "empty enum": ({"type": "string", "default": "a", "enum": []}, "at least 1 item"),
    "choice of another type": ({"type": "integer", "default": 1, "enum": [1, "2"]}, "'2' is no integer"),
    "choice out of bounds": (
        {"type": "integer", "default": 1, "enum": [1, 9], "maximum": 5},
        "9 is not allowed",
    ),
    "unknown key": ({"type": "integer", "default": 1, "min": 0}, "Extra inputs"),
}


@pytest.mark.parametrize(("spec", "says"), WRONG_SPECS.values(), ids=WRONG_SPECS.keys())
def test_a_parameter_that_contradicts_itself_is_refused(spec: dict[str, Any], says: str) -> None:
    """A default and choices are held to the parameter's own type and bounds."""
    with pytest.raises(ValidationError, match=says):
        Param(**spec)


@given(st.text(max_size=30))
def test_any_text_is_a_value_or_refused(text: str) -> None:
    """No text makes a parameter fail otherwise than with what is allowed."""
    for param in (INTEGER, NUMBER, TEXT, CHOICE, FLAG, DATE):
        try:
            param.check(param.parse(text))
        except ValueError as error:
            assert "allowed: " in str(error)
