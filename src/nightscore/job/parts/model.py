"""The model of a job as its job.yaml says it, and its challengers.

Light to import, as all of a job's spec.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from nightscore.common import clipped
from nightscore.job.fields import (
    Column,
    FilePath,
    Misplaced,
    StrictModel,
    Text,
    shaped,
)
from nightscore.job.parts.expected import Expected
from nightscore.job.parts.preparation import ImageModel, TextModel

CHALLENGERS = "challengers"  # the view that has their columns, too
MOST = 6  # challengers: as many models as a process keeps open (open_model.py), less the champion's two
SCHEME = "models:/"
REGISTRY_URI = re.compile(rf"{SCHEME}([A-Za-z0-9_][A-Za-z0-9_. -]*)(?:/([1-9][0-9]*)|@([A-Za-z0-9_-]+))")
KIND = r"^([a-z][a-z0-9_]{0,62}|scorers/([A-Za-z0-9_][A-Za-z0-9_.-]*/)*[A-Za-z_][A-Za-z0-9_-]*\.py)$"
MLFLOW = "mlflow"
NO_MODEL = "none"  # the word, and the kind of scorer that stands for it
URI_FORMS = f"allowed: {SCHEME}NAME/VERSION or {SCHEME}NAME@ALIAS"


def _kind(value: str) -> str:
    if not re.fullmatch(KIND, value):
        raise ValueError(
            f"{clipped(value)} is not allowed: the name of a kind, such as onnx, or a file of the workspace, "
            "such as scorers/mine.py"
        )
    return value


class Model(StrictModel):
    """The model, and how its inputs and outputs are named."""

    kind: Annotated[
        str,
        AfterValidator(_kind),
        Field(
            description="auto (.onnx, the fastest way that is right), onnx, text, image, trees, networks, "
            "topk, lightgbm, xgboost, catboost, mlflow, python, …, or a file of the workspace, scorers/….py",
            json_schema_extra={"pattern": KIND},
        ),
    ] = "auto"
    path: Annotated[
        FilePath | None,
        Field(
            description="the model file, relative to the workspace; an .onnx file for kind auto, a folder "
            "for kind mlflow; none where a workspace's scorer holds its formula"
        ),
    ] = None
    champion: Annotated[
        FilePath | None, Field(description="the same, where there are challengers: it alone decides")
    ] = None
    challengers: Annotated[
        Annotated[list[FilePath], Field(max_length=MOST)],
        Field(description="models that score the same rows, into columns of their own: <file>__<output>"),
    ] = []
    entry: Annotated[
        Annotated[
            str,
            shaped(
                r"^[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*$",
                "a function of a package, as module:function",
            ),
        ]
        | None,
        Field(
            description="module:function of an installed package, for kind python; with path it scores that "
            "model file"
        ),
    ] = None
    sha256: Annotated[
        Annotated[str, shaped(r"^[0-9a-f]{64}$", "a sha256, 64 digits 0-9 a-f")] | None,
        Field(description="a pin: another file at this path is an error"),
    ] = None
    allow_pickle: Annotated[
        bool,
        Field(
            description="true: code and pickles in the folder of kind mlflow may run, those of sha256 alone"
        ),
    ] = False
    python: Annotated[
        FilePath | None,
        Field(
            description="the Python that scores a model of kind mlflow in a process of its own, an absolute "
            "path: of an environment with mlflow, pyarrow and the model's libraries; default: our own"
        ),
    ] = None
    made_by: Annotated[
        Text | None,
        Field(
            description="the command that makes the model file, and those of expected; said where one is not "
            "there"
        ),
    ] = None
    columns: Annotated[
        Annotated[list[Column], Field(min_length=1)] | None,
        Field(
            description="columns of the model's matrix, in order; default: the model's own metadata, from "
            "which they may not differ"
        ),
    ] = None
    columns_override: Annotated[
        bool, Field(description="true: `columns` are meant, though the model's own list is another")
    ] = False
    max_length_override: Annotated[
        bool,
        Field(
            description="true: the max_length in the metadata of a model of texts is meant, though its "
            "tokenizer says another"
        ),
    ] = False
    text: Annotated[
        TextModel | None,
        Field(
            description="of kind text: what goes before and after the model, where its files do not say it"
        ),
    ] = None
    image: Annotated[
        ImageModel | None,
        Field(description="of kind image: the steps before the model, where its files do not say them"),
    ] = None
    expected: Annotated[
        Expected | None,
        Field(
            description="files of the training script, some rows and their scores, to which SQL and model "
            "are held before a day is published"
        ),
    ] = None
    outputs: Annotated[
        dict[
            Column,
            Annotated[
                str,
                shaped(
                    r"^[^\[\]]+(\[([0-9]+|\*)\])?$",
                    "an output of the model, such as y, probabilities[1] or embedding[*]",
                ),
            ],
        ],
        Field(
            description="output column: model output, with an index for a 2-D one, or [*] for a list",
            json_schema_extra={"minProperties": 1},
        ),
    ]

    @model_validator(mode="after")
    def _of_its_kind(self) -> "Model":
        for key, said in (("text", self.text), ("image", self.image)):
            if said is not None and self.kind != key:
                raise Misplaced((key,), f"stands beside kind: {key}; the kind is {self.kind}")
        return self

    @model_validator(mode="after")
    def _file_or_function(self) -> "Model":
        if self.is_none:
            self._check_alone()
            return self
        if not self.outputs:
            raise Misplaced(("outputs",), "names no output; a model gives one at least")
        self._check_champion()
        if self.columns_override and self.columns is None:
            raise Misplaced(("columns_override",), "stands beside columns, and there are none")
        if self.kind == "python" and self.entry is None:
            raise Misplaced(
                ("entry",),
                "kind python takes entry: module:function of an installed package, and path where that "
                "scores a model file",
            )
        self._check_mlflow()
        if self.in_workspace and self.entry is not None:
            raise Misplaced(("entry",), f"kind {self.kind} is the function; leave entry out")
        if self.takes_path and (self.file is None or self.entry is not None):
            raise Misplaced(("path",), f"kind {self.kind} takes path: a model file, and no entry")
        return self

    def _check_alone(self) -> None:
        if self.model_fields_set > {"kind", "outputs"} or self.outputs:
            raise Misplaced(("kind",), "a job without a model has the word alone: `model: none`")

    def _check_mlflow(self) -> None:
        for key in ("allow_pickle", "python"):
            if getattr(self, key) and self.kind != MLFLOW:
                raise Misplaced((key,), f"is of kind {MLFLOW} alone; the kind is {self.kind}")
        if self.python and not PurePosixPath(self.python).is_absolute():
            raise Misplaced(
                ("python",),
                f"{self.python!r} is not allowed: the absolute path of a Python, /opt/env/bin/python",
            )

    def _check_champion(self) -> None:
        if self.path is not None and self.champion is not None:
            raise Misplaced(("champion",), "path and champion both name the model; keep one of them")
        if self.challengers and self.champion is None:
            raise Misplaced(
                (CHALLENGERS,), "stand beside champion: a model file, which takes the place of path"
            )
        check_model_names("path", [self.path])
        check_model_names("champion", [self.champion])
        check_model_names(CHALLENGERS, self.challengers)
        challenger_names(self.challengers)

    @property
    def settings(self) -> dict[str, Any]:
        """What is said of what goes before and after the model, of the kinds that have such."""
        said = self.text or self.image
        return said.model_dump(mode="json", exclude_none=True) if said else {}

    @property
    def is_none(self) -> bool:
        """Whether there is none: the rows of the features go through as they are, and SQL decides."""
        return self.kind == NO_MODEL

    @property
    def trusted(self) -> str:
        """The sha256 of the model whose code and pickles may run; empty if that of none may."""
        return (self.sha256 or "") if self.allow_pickle else ""

    @property
    def in_workspace(self) -> bool:
        """Whether the kind is a file of the workspace, which may hold its formula and need no model file."""
        return self.kind.endswith(".py")

    @property
    def takes_path(self) -> bool:
        """Whether there has to be a model file."""
        return self.kind != "python" and not self.in_workspace and not self.is_none

    @property
    def file(self) -> str | None:
        """The model file that decides, or its URI in a registry; None of a function or a formula."""
        return self.path or self.champion

    @property
    def place(self) -> str:
        """The key that names it."""
        return next(at for at in ("path", "champion", "entry", "kind") if getattr(self, at))

    @property
    def name(self) -> str:
        """The model as people name it: its file, its function, or the file that holds its formula."""
        return self.file or self.entry or self.kind

    @property
    def rivals(self) -> dict[str, str]:
        """Name -> path of the challengers; the one that has become champion is none any more."""
        return {name: path for name, path in challenger_names(self.challengers).items() if path != self.file}

    @property
    def challenger_columns(self) -> dict[str, tuple[str, str]]:
        """The challengers' columns of the scores table: column -> (challenger, output)."""
        return challenger_columns(list(self.rivals), self.outputs)


def read_model_word(value: Any) -> Any:
    """What stands under `model`: a mapping as it is, and the word none as the kind that scores nothing."""
    if (
        isinstance(value, dict)
        and "outputs" not in value
        and NO_MODEL in (value.get("kind"), value.get("path"))
    ):
        raise ValueError(f"a job without a model says model: {NO_MODEL}, and nothing below it")
    if value is not None and not isinstance(value, str | bool):
        return value
    if value != NO_MODEL:
        raise ValueError(
            f"{clipped(value)} is not allowed: a mapping of keys to values is, or the word {NO_MODEL}"
        )
    return {"kind": NO_MODEL, "outputs": {}}


def check_model_names(place: str, names: Sequence[str | None]) -> None:
    """Raise `Misplaced` unless each name that begins like a registry's URI is one.

    Raises:
        Misplaced: a URI names no version and no alias.
    """
    for i, name in enumerate(names):
        if name and name.startswith("models:") and not REGISTRY_URI.fullmatch(name):
            at: tuple[str | int, ...] = (place, i) if place == "challengers" else (place,)
            raise Misplaced(at, f"{name!r} names no model of a registry; {URI_FORMS}")


def challenger_names(paths: Sequence[str]) -> dict[str, str]:
    """The path of each challenger by the name that its columns begin with.

    A file's name is its stem; of a registry's model `ranker@next` it is ranker_next. What is no letter, digit
    or underscore becomes an underscore.

    Raises:
        Misplaced: two have the same name, though SQL takes upper and lower case for the same.
    """
    by_name: dict[str, str] = {}
    for i, path in enumerate(paths):
        name = challenger_name(path)
        twin = next((p for n, p in by_name.items() if n.lower() == name.lower()), None)
        if twin is not None:
            raise Misplaced(
                (CHALLENGERS, i), f"{path!r} and {twin!r} would both have columns {name}__…; rename a file"
            )
        by_name[name] = path
    return by_name


def challenger_name(path: str) -> str:
    """The name that a challenger's columns begin with."""
    uri = REGISTRY_URI.fullmatch(path)
    text = f"{uri[1]}_{uri[2] or uri[3]}" if uri else PurePosixPath(path).stem
    name = re.sub(r"[^A-Za-z0-9_]", "_", text)
    return name if name[:1].isalpha() else f"m_{name}"


def challenger_columns(names: Sequence[str], outputs: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Column of the scores table -> challenger and output, in order."""
    return {f"{name}__{output}": (name, output) for name in names for output in outputs}
