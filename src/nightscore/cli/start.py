"""Commands to begin with: a workspace, a job, and the files that the package brings."""

import shlex
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from nightscore.cli.options import open_chosen_workspace
from nightscore.cli.output import print_document, say

Folder = Annotated[Path, Parameter(help="The folder; it need not be there. Default: the current one.")]
TemplateName = Annotated[
    Literal["trees", "onnx", "image", "text", "topk", "python"],
    Parameter(
        help="trees: a LightGBM model with missing values, and a list of offers by SQL. onnx: a scikit-learn "
        "pipeline with texts, as one ONNX file. image: scans of handwritten digits, PNG bytes in Parquet; "
        "runs with the extra image. text: messages and the language of each, a Hugging Face folder; runs "
        "with the extra text. topk: pairs of customer and product, ranked lists by SQL. "
        "python: a function in a Python file of the workspace."
    ),
]


def init(folder: Folder = Path(), /, *, template: TemplateName = "trees") -> int:
    """Make a workspace that runs at once: sample rows, a trained model, a job, its test, and DAG files.

    Nothing is written over: if a file is there already, it is named, and nothing is written at all.
    """
    from nightscore.start import DAYS, TEMPLATES_BY_NAME, make_workspace

    made = TEMPLATES_BY_NAME[template]
    written = make_workspace(folder, template)
    say(f"{len(written)} files in {folder.absolute()}: the job {made.job} ({made.about})")
    say("Go on with")
    if folder != Path():
        say(f"  cd {shlex.quote(str(folder))}")
    if made.missing:
        say(f"  pip install 'nightscore[{made.missing}]'")
    say(f"  nightscore check {made.job}")
    say(f"  nightscore run {made.job} --day {DAYS[-1]}")
    say(f'  nightscore query "{made.look}"')
    return 0


def new(
    job: Annotated[str, Parameter(help="The new job's name: small letters, digits and _.")], /, *,
    model: Annotated[
        str,
        Parameter(
            help="A model of the workspace, by its path in it: an .onnx file, or a folder as Hugging Face or "
            "MLflow has it."
        ),
    ],
    input: Annotated[
        str,
        Parameter(
            help="What it scores: a Parquet or CSV file, a folder of them, or a Delta Lake table, by its "
            "path in the workspace, or in a root, as in lake:customers."
        ),
    ],
) -> int:  # fmt: skip
    """Write a first job.yaml and features.sql for a model and an input, and say what they don't know yet.

    A column of the model that the input has by the same name is taken. For each other one features.sql has a
    comment, with the names that are nearest. For a model of texts or of images it takes the input's only
    column of texts, or of bytes. What the model does not say (how an image was scaled, how tokens are pooled,
    whether code in a folder may run) is a comment in job.yaml.
    """
    from nightscore.start import draft_job

    draft = draft_job(open_chosen_workspace(), job, model, input)
    for file in draft.files:
        say(f"wrote     {file}")
    say(f"matched   {len(draft.matched)} of {len(draft.matched) + len(draft.unmatched)} columns of the model")
    for problem in draft.unmatched:
        say(f"missing   {problem}")
    for note in draft.notes:
        say(f"key       {note}")
    for ask in draft.asks:
        say(f"open      {ask}")
    first = f"write the missing lines of jobs/{job}/features.sql, then " if draft.unmatched else ""
    first += f"say what is open in jobs/{job}/job.yaml, then " if draft.asks else ""
    say(f"next      {first}nightscore check {job}")
    return 0


def schema(
    of: Annotated[Literal["job", "case", "workspace"], Parameter(help="Of which file.")] = "job", /
) -> int:
    """Print the JSON Schema of job.yaml, by which an editor completes and checks it.

    Or that of a job's cases, or of workspace.yaml.
    """
    from nightscore.job import schema_text

    print_document(schema_text(of).rstrip("\n"))
    return 0


def dags(folder: Annotated[Path | None, Parameter(help="Default: dags/ of the workspace.")] = None, /) -> int:
    """Write the two files by which Airflow sees each job as a DAG; nothing is written over."""
    from nightscore.start import dag_files, write_new_files

    place = folder or open_chosen_workspace().root / "dags"
    written = write_new_files(place, dag_files())
    for name in written:
        say(f"wrote     {place / name}")
    if not written:
        say(f"{place} has them already, as this version writes them")
    return 0
