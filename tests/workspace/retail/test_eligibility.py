"""The rules of what may not be recommended, as people type and save them."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from data.lakes import eligibility
from data.lakes.__main__ import main
from nightscore.common import Broken

HEAD = "product_type,from,until,reason\n"
RULE = "CAFÉ,2017-01-01,,made up\n"


def test_a_file_that_a_spreadsheet_saved_has_the_same_rules(tmp_path: Path) -> None:
    """It begins with a mark of its own, which is no letter of a column's name."""
    found = []
    for i, encoding in enumerate(("utf-8", "utf-8-sig")):
        rules = tmp_path / f"{i}.csv"
        rules.write_text(HEAD + RULE, encoding=encoding)
        eligibility.write_eligibility(tmp_path / f"{i}.parquet", b"test", rules)
        found.append(pq.read_table(tmp_path / f"{i}.parquet").to_pylist())
    assert found[0] == found[1] and found[0][0]["product_type"] == "CAFÉ"


def test_a_file_in_another_encoding_is_refused_by_its_line(tmp_path: Path) -> None:
    """Its letters can't be told."""
    rules = tmp_path / "eligibility.csv"
    rules.write_bytes((HEAD + "CHEESE,2017-01-01,,a\n").encode() + RULE.encode("latin-1"))
    with pytest.raises(Broken, match=r"^eligibility.csv:3: is not UTF-8 text; save it as CSV in UTF-8$"):
        eligibility.write_eligibility(tmp_path / "eligibility.parquet", b"test", rules)


def test_a_lake_that_can_not_be_written_is_a_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And an exit code, no traceback: here the workspace is a file."""
    (tmp_path / "file").write_text("")
    assert main(["digits", "--workspace", str(tmp_path / "file")]) == 1
    said = capsys.readouterr()
    assert said.err.startswith("broken: ") and str(tmp_path / "file") in said.err and said.out == ""
