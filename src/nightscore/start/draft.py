"""`nightscore new`: a first job.yaml and features.sql for a model and an input, and what they don't know."""

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from nightscore.common import Broken, Workspace
from nightscore.job import CHALLENGERS, NAME, RESERVED_VIEWS, load_all
from nightscore.scorers import (
    MLMODEL,
    DescribedModel,
    ModelError,
    describe_model,
    read_model,
    read_model_folder,
    what_it_is,
)
from nightscore.start.draft_columns import columns_said, find_key, model_lines
from nightscore.start.draft_text import features_sql, flow, has_domain, job_yaml
from nightscore.start.lake import see_input
from nightscore.start.new_files import schema_files, write_new_files
from nightscore.start.sql_names import KEYWORDS
from nightscore.store import fetched, fetched_folder, tree_of

RESERVED = RESERVED_VIEWS | {CHALLENGERS}
EXPECTED = "_expected.parquet"  # instead of the model's .onnx


@dataclass(frozen=True)
class Draft:
    """What was written, and in sentences for a person what was matched and what was not.

    `asks` are what job.yaml leaves open, because the model does not say it.
    """

    job: str
    files: Sequence[str]
    matched: Sequence[str]
    unmatched: Sequence[str]
    notes: Sequence[str] = field(default=())
    asks: Sequence[str] = field(default=())


def draft_job(workspace: Workspace, name: str, model: str, source: str) -> Draft:
    """Write `jobs/NAME/job.yaml` and `features.sql` for a model and an input of the workspace.

    The model is an .onnx file, or a folder of Hugging Face's or of MLflow's. A column of the model that the
    input has, too, is taken, and the only column of texts or of bytes for a model of texts or images; of each
    other one there is a line that says so.

    Raises:
        Broken: the name is none for a job, or taken; there is no such model or input; or a file is there
            already. Nothing is written then.
        NotYet: the input can't be read.
    """
    _refuse_name(workspace, name)
    described, shown = _describe(workspace, model)
    expected = _expected_beside(workspace, shown)
    seen = see_input(workspace, source)
    key, how = find_key(seen, described)
    view = _view(str(seen.said.get("path") or seen.said.get("delta")))
    lines = list(model_lines(seen, described, key))
    columns = columns_said(described, lines)
    files = {
        f"jobs/{name}/job.yaml": job_yaml(
            name,
            view,
            seen,
            described,
            shown=shown,
            columns=columns,
            expected=expected,
            outputs=_outputs(workspace, described, expected),
            key=key,
            how=how,
        ).encode(),
        f"jobs/{name}/features.sql": features_sql(view, seen, key, lines).encode(),
    }
    files |= {path: data for path, data in schema_files().items() if not (workspace.root / path).exists()}
    written = write_new_files(workspace.root, files)
    unmatched = [line.problem for line in lines if line.problem]
    unmatched += [
        f"{column}: training does not score all of its values ({flow(what)}), and domain in job.yaml "
        "takes no such name: leave those rows out in features.sql"
        for column, what in described.domain.items()
        if not has_domain(column)
    ]
    return Draft(
        name,
        written,
        [line.column for line in lines if not line.problem],
        unmatched,
        [f"{', '.join(key)}: {how}"],
        described.asks,
    )


def _expected_beside(workspace: Workspace, model: str) -> str:
    """The file of what training expects, as `nightscore.export` names it beside the model; empty: none."""
    name = f"{model.removesuffix('.onnx')}{EXPECTED}"
    place = workspace.resolve(name)
    return name if place.exists() else ""


def _outputs(workspace: Workspace, model: DescribedModel, expected: str) -> dict[str, str]:
    """The outputs of a job: those that the model says, or that training expects by name, or the likeliest."""
    if model.scores or not expected:
        return dict(model.scores) or {"score": model.output}
    try:
        held = pq.read_schema(fetched(workspace, workspace.resolve(expected)))
    except (OSError, pa.ArrowInvalid):  # whose mistakes `check` says
        return {"score": model.output}
    named = [held.field(name) for name in model.names if name in held.names]
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return {
        one.name: f"{one.name}[*]" if any(is_list(one.type) for is_list in lists) else one.name
        for one in named
    } or {"score": model.output}


def _refuse_name(workspace: Workspace, name: str) -> None:
    if not re.fullmatch(NAME, name):
        allowed = "small letters, digits and _, a letter first, at most 63"
        raise Broken(f"{name!r} is no name for a job; allowed: {allowed}")
    taken = next((job for job in load_all(workspace)[0] if job.name == name), None)
    if taken:
        raise Broken(f"there is a job {name} already: {taken.shown}; choose another name")


def _describe(workspace: Workspace, model: str) -> tuple[DescribedModel, str]:
    """What a model of the workspace takes and gives, and its path as a job.yaml says it."""
    place = workspace.resolve(model)
    fetch = functools.partial(fetched, workspace)
    shown = workspace.relative(place)
    try:
        if fetch(place / MLMODEL).is_file():
            return describe_model(read_model_folder(place, shown, fetched_folder(workspace, place))), shown
        if not model.lower().endswith(".onnx") and tree_of(workspace, place).kind(place) != "folder":
            looks = what_it_is(read_model(fetch(place), model).data) or "this is none"
            raise Broken(
                f"--model {model}: a first draft is made for an .onnx file, or a folder of Hugging Face's "
                f"or MLflow's; {looks}; nightscore.export "
                "writes one for a model of most libraries (docs/export.md), a function of yours may load it "
                "as it is (docs/scorers.md), and docs/models.md has the other kinds"
            )
        return describe_model(read_model(fetch(place), model, fetch)), shown
    except ModelError as error:
        raise Broken(f"--model {error}") from error


def _view(path: str) -> str:
    """What the input is called in SQL: as its file or folder."""
    last = re.sub(r"[^a-z0-9_]+", "_", Path(path).name.lower().partition(".")[0]).strip("_")
    return last if re.fullmatch(NAME, last) and last not in RESERVED | KEYWORDS else "rows"
