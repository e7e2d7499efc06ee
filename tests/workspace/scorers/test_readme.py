"""scorers/README.md: its example is a scorer that runs, is tested and checked as the page says."""

import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightscore import load, query, run
from nightscore.pipeline.steps import check_job
from nightscore.scorers import Variant
from nightscore.scorers.registry import variants_of_kind
from nightscore.scorers.workspace import read_scorer_file
from tests.workspace.finance.world import REPOSITORY

PAGE = (REPOSITORY / "scorers/README.md").read_text()
DAY = "2024-02-29"
JOB = """\
job: health
about: The page's example
owner: tests
inputs: {{people: {{path: data/lake/people, partition: day}}}}
features: people
key: [person]
{model}"""


def block(head: str) -> str:
    """The code of the page that begins so."""
    found = re.search(rf"```\w+\n({re.escape(head)}.*?)```", PAGE, re.DOTALL)
    assert found, head
    return found[1]


@pytest.mark.slow
def test_the_example_works_as_the_page_says(tmp_path: Path) -> None:
    """The file, the job and the test, each as it stands there: pytest, check, run."""
    folder = tmp_path / "data/lake/people" / f"day={DAY}"
    for path in (folder, tmp_path / "scorers", tmp_path / "tests", tmp_path / "jobs/health"):
        path.mkdir(parents=True)
    (tmp_path / "scorers/body_mass.py").write_text(block("# scorers/body_mass.py"))
    (tmp_path / "tests/test_body_mass.py").write_text(block("# tests/test_body_mass.py"))
    (tmp_path / "jobs/health/job.yaml").write_text(JOB.format(model=block("model:")))
    people = {"person": [1, 2], "kilograms": [50.0, 98.0], "metres": [1.6, 1.4]}
    pq.write_table(pa.table(people), folder / "part-0.parquet")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout
    job = load("health", workspace=tmp_path)
    assert check_job(job).startswith("ok: ")
    assert run(job, DAY).status == "published"
    rows = query("SELECT bmi, is_high FROM health_scores ORDER BY person", tmp_path).to_pylist()
    assert rows == [{"bmi": 50 / 1.6**2, "is_high": False}, {"bmi": 98 / 1.4**2, "is_high": True}]


def test_the_page_knows_every_scorer() -> None:
    """Each file of the folder has a row of its table, and no row is of a file that is gone."""
    listed = set(re.findall(r"^\| \[(\w+\.py)\]", PAGE, re.MULTILINE))
    assert listed == {path.name for path in (REPOSITORY / "scorers").glob("*.py")}


def test_the_variants_of_the_page_are_variants(tmp_path: Path) -> None:
    """Its second example, beside the first one's scorer."""
    (tmp_path / "scorers").mkdir()
    path = tmp_path / "scorers/mine.py"
    path.write_text(block("from nightscore.scorers import Variant"))
    found = variants_of_kind("scorers/mine.py", "auto", read_scorer_file(path, "scorers/mine.py"))
    assert found[1:] == [Variant("scorers/mine.py", "cpu", 4), Variant("scorers/mine.py", "cuda")]
