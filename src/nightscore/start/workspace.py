"""`nightscore init`: a workspace that runs at once, of one of the templates."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from nightscore.common import Broken, refuse_path
from nightscore.start import messages, samples, scans
from nightscore.start.new_files import schema_files, write_new_files

PACKAGE = Path(__file__).parents[1]
TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Template:
    """What a new workspace has: a job in folders of `templates/`, and its sample rows.

    `lake` gives the sample rows, path -> Parquet; `look` is a first question about what is published;
    `shares` are the folders that it has in common with others; `needs` is the extra of nightscore that its
    model is run with, and the package that this brings.
    """

    about: str
    job: str
    lake: Callable[[], Mapping[str, bytes]]
    look: str
    shares: tuple[str, ...] = ("common",)
    needs: tuple[str, str] | None = None

    @property
    def missing(self) -> str:
        """The extra that is still to be installed; empty: none."""
        extra, package = self.needs or ("", "")
        return extra if package and find_spec(package) is None else ""


CHURN = ("common", "churn")  # one job, whose features are those of its model
TEMPLATES_BY_NAME = {
    "trees": Template(
        "a LightGBM model with nulls, and offers by SQL", "churn", samples.customers_files,
        "SELECT * FROM churn_offers ORDER BY rank LIMIT 5", CHURN,
    ),
    "onnx": Template(
        "a scikit-learn pipeline with texts, one ONNX file", "churn", samples.customers_files,
        "SELECT * FROM churn_offers ORDER BY rank LIMIT 5", CHURN,
    ),
    "image": Template(
        "scans of handwritten digits, PNG bytes in Parquet", "digits", scans.scans_files,
        "SELECT review, count(*) AS scans FROM readings GROUP BY review ORDER BY scans DESC",
        needs=("image", "PIL"),
    ),
    "text": Template(
        "messages in six languages, one small sentence model", "languages", messages.messages_files,
        "SELECT desk, count(*) AS messages FROM desks GROUP BY desk ORDER BY messages DESC",
        needs=("text", "tokenizers"),
    ),
    "topk": Template(
        "pairs of customer and product, and a ranked list by SQL", "recommendations", samples.shop_files,
        "SELECT * FROM top_products ORDER BY customer_id, rank LIMIT 6",
    ),
    "python": Template(
        "a function in a Python file of the workspace", "customer_value", samples.customers_files,
        "SELECT tier, count(*) AS customers, round(sum(value)) AS euros FROM value_tiers GROUP BY tier",
    ),
}  # fmt: skip


def template_called(name: str) -> Template:
    """A template by its name. Broken if there is none."""
    if name not in TEMPLATES_BY_NAME:
        raise Broken(f"there is no template {name!r}; there are: {', '.join(TEMPLATES_BY_NAME)}")
    return TEMPLATES_BY_NAME[name]


def make_workspace(folder: Path, name: str) -> list[str]:
    """Write a workspace of a template into a folder, there or not; gives the paths that were written.

    Called again it writes what is missing, so that a call that was killed is ended by the next one.

    Raises:
        Broken: there is no such template; a file is there already with other bytes, which is named, and
            then nothing is written; or the folder's path is none that a workspace can have.
    """
    template = template_called(name)
    refuse_path(folder)
    files = dag_files("dags/")
    for part in (*template.shares, name):
        files |= _files_of(part)
    files |= {**schema_files(), **template.lake()}
    return write_new_files(folder, files)


def dag_files(prefix: str = "") -> dict[str, bytes]:
    """The two files by which Airflow sees each job of a workspace: name -> bytes."""
    return {prefix + file.name: file.read_bytes() for file in sorted((PACKAGE / "airflow/dags").glob("*.py"))}


def _files_of(name: str) -> dict[str, bytes]:
    """The files of a template, by their paths in the workspace; what Python keeps beside them is none."""
    root = TEMPLATES / name
    return {
        file.relative_to(root).as_posix(): file.read_bytes()
        for file in sorted(root.rglob("*"))
        if file.is_file() and "__pycache__" not in file.parts
    }
