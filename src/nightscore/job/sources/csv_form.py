"""How a CSV file is written, where it is not by commas, double quotes, points and UTF-8."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from nightscore.job.fields import (
    StrictModel,
    shaped,
)

ONE = r"^[^\r\n0-9A-Za-z]$"


class CsvForm(StrictModel):
    """How the CSV files of an input are written; what is not said is as in most of them."""

    delimiter: Annotated[
        str,
        shaped(ONE, "one character that is no letter, digit or end of a line"),
        Field(description="one character between values, such as ';' or \"\\t\""),
    ] = ","
    quote: Annotated[
        str,
        shaped(ONE, "one character that is no letter, digit or end of a line"),
        Field(description="one character around values, twice where it stands in one"),
    ] = '"'
    decimal: Annotated[
        Literal[".", ","],
        Field(description="what stands before the places of a number; none stands between thousands"),
    ] = "."
    encoding: Annotated[
        Literal["utf-8", "latin-1", "utf-16"],
        Field(description="latin-1 is ISO 8859-1, not Windows-1252: such a file is refused"),
    ] = "utf-8"

    @model_validator(mode="after")
    def _says_each_once(self) -> "CsvForm":
        if self.quote in (self.delimiter, self.decimal) or self.delimiter in ".-+":
            raise ValueError("delimiter, quote and what numbers are written with have to differ")
        if self.decimal == self.delimiter:
            raise ValueError("decimal and delimiter are both a comma; give the files' delimiter, such as ';'")
        return self
