"""A template of names: which day a path is of, what else it says, and which paths a day has."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightscore.job.sources.layout import parse_layout

TEMPLATES = {  # -> how strftime has it
    "day": "day=%Y-%m-%d",
    "dt={day:%Y%m%d}": "dt=%Y%m%d",
    "year={day:%Y}/month={day:%m}/day={day:%d}": "year=%Y/month=%m/day=%d",
    "year={day:%Y}/month={day:%-m}/day={day:%-d}": "year=%Y/month=%-m/day=%-d",
    "{day:%Y/%m/%d}": "%Y/%m/%d",
    "{day:%F}": "%Y-%m-%d",
    "y={day:%Y}/{day:%j}": "y=%Y/%j",
    "customers_{day:%Y%m%d}.parquet": "customers_%Y%m%d.parquet",
    "load={day} 00%3A00": "load=%Y-%m-%d 00%%3A00",
    "{day:%Y}/{day:%Y-%m-%d}": "%Y/%Y-%m-%d",
}


@pytest.mark.parametrize(("template", "written"), TEMPLATES.items())
@given(day=st.dates(dt.date(1000, 1, 1), dt.date(9999, 12, 31)))
def test_the_path_of_a_day_is_strftimes_and_is_read_back(template: str, written: str, day: dt.date) -> None:
    """Both ways, for each day that there is."""
    layout = parse_layout(template)
    path = day.strftime(written)
    assert layout.path_of(day) == path and layout.day_of(path.split("/")) == day
    for depth in range(1, len(layout.segments)):
        span = layout.span_of(path.split("/")[:depth])
        assert span is not None and span[0] <= day <= span[1]


NO_DAYS = {
    "day=2026-13-01": "day", "day=2026-02-29": "day", "day=20260101": "day", "day=2026-1-1": "day",
    "Day=2026-01-01": "day", "dt=2026-01-05": "dt={day:%Y%m%d}", "2026/13/01": "{day:%Y/%m/%d}",
    "year=2026/month=1/day=05": "year={day:%Y}/month={day:%m}/day={day:%d}",
    "2025/2026-01-01": "{day:%Y}/{day}",
    "month=01": "month={day:%-m}/year={day:%Y}/{day:%d}", "y=2026/366": "y={day:%Y}/{day:%j}",
    "y=2026/000": "y={day:%Y}/{day:%j}",
}  # fmt: skip


@pytest.mark.parametrize(("path", "template"), NO_DAYS.items())
def test_another_spelling_is_no_day(path: str, template: str) -> None:
    """Two spellings of a day would be two partitions of it."""
    assert parse_layout(template).day_of(path.split("/")) is None


def test_keys_are_columns_and_stars_are_not() -> None:
    """`region=*` and `{region}` give one; a star in a name does not."""
    hive, bare = parse_layout("region=*/day={day}"), parse_layout("{region}/x_*_{day}.parquet")
    assert hive.keys_of(["region=eu", "day=2026-01-05"]) == {"region": "eu"}
    assert bare.keys_of(["eu", "x_7_2026-01-05.parquet"]) == {"region": "eu"} and bare.of_files
    assert bare.day_of(["eu", "x_7_2026-01-05.parquet"]) == dt.date(2026, 1, 5)
    assert (hive.is_plain, bare.is_plain, hive.path_of(dt.date(2026, 1, 5))) == (True, False, None)


def test_the_column_of_the_day() -> None:
    """The key of the one folder that is all of it, else `day`."""
    for template, column in {
        "ds": "ds", "dt={day:%Y%m%d}": "dt", "{day:%Y/%m/%d}": "day", "a_{day}.parquet": "day",
        "year={day:%Y}/month={day:%m}/day={day:%d}": "day", "region=*/ds={day}": "ds",
    }.items():  # fmt: skip
        assert parse_layout(template).column == column


def test_prefixes_are_of_the_days_of_a_span() -> None:
    """What a bucket is asked for: each folder of a day once, or what a star leaves."""
    first, last = dt.date(2026, 1, 30), dt.date(2026, 2, 1)
    assert parse_layout("{day:%Y/%m/%d}").prefixes(first, last) == [
        "2026/01/30/",
        "2026/01/31/",
        "2026/02/01/",
    ]
    assert parse_layout("region=*/day={day}").prefixes(first, last) == ["region="]
    assert parse_layout("c_{day:%Y%m%d}.parquet").prefixes(first, first) == ["c_20260130.parquet"]


WRONG = {
    "{day": "belongs to no", "{day:%H}": "'%H' in '{day:%H}' is no part of a day",
    "{day:%Y-%m}": "a whole day",
    "region=*": "a whole day", "{day}/": "a level without a name", "a//{day}": "a level without a name",
    "../{day}": "a level without a name", "{day}/day=*": "gives a value of 'day' twice",
    "{region}/region=*/{day}": "gives a value of 'region' twice",
}  # fmt: skip


@pytest.mark.parametrize(("template", "said"), WRONG.items())
def test_what_is_no_template_is_named(template: str, said: str) -> None:
    """With what is allowed."""
    with pytest.raises(ValueError, match=r"allowed: ") as caught:
        parse_layout(template)
    assert said in str(caught.value)
