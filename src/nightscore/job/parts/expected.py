"""What training expects of the model: some rows, and the scores that the training library gave them."""

import datetime as dt
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import Field, model_validator

from nightscore.job.fields import FilePath, Misplaced, Name, StrictModel

FLOAT32 = 1e-5  # what a model in float32 may be from a library in float64: relative above 1, absolute below
MODEL_NAME = "{model}"  # in a file's name: that of the model file, without its ending


class Expected(StrictModel):
    """Files of the training script to which SQL and model are held before a day is published."""

    features: Annotated[
        FilePath | None,
        Field(
            description="Parquet or CSV, a row a case, with the model's columns by name, as training had them"
        ),
    ] = None
    inputs: Annotated[
        dict[Name, FilePath],
        Field(
            description="view -> a Parquet file that stands for this input, all columns that SQL sees in it; "
            "the features are made of them"
        ),
    ] = {}
    scores: Annotated[
        FilePath | None,
        Field(
            description="Parquet or CSV with the outputs by their names here, by key, or else in the order "
            "of the features; default: the file of the features"
        ),
    ] = None
    day: Annotated[
        dt.date | None, Field(description="the day that the features SQL is run for, beside inputs")
    ] = None
    tolerance: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="by how much a score may differ: relative to its size, absolute below 1; what is no "
            "float is the same",
        ),
    ] = FLOAT32

    @model_validator(mode="after")
    def _has_rows_and_scores(self) -> "Expected":
        if self.features is None and not self.inputs:
            raise Misplaced(
                (), "has no rows: features: FILE, or inputs: {VIEW: FILE}, which the SQL is run on"
            )
        if self.inputs and self.scores is None:
            raise Misplaced(("inputs",), "stand beside scores: FILE, the scores of the rows by their key")
        if self.day and not self.inputs:
            raise Misplaced(
                ("day",), "is the day of the features SQL, which is run on inputs: there are none"
            )
        return self

    def named_files(self, model: str) -> dict[str, str]:
        """What each file is for -> its path, for a model file of that name."""
        inputs = {f"inputs.{view}": path for view, path in self.inputs.items()}
        files = {"features": self.features, **inputs, "scores": self.scores}
        stem = PurePosixPath(model).stem
        return {use: path.replace(MODEL_NAME, stem) for use, path in files.items() if path}
