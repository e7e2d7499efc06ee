"""An Airflow of the tests' own: its home is a temporary folder, its metadata database a SQLite file there."""

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

import pytest

REGISTER = "from nightscore.airflow.plugin import NightscorePlugin\n"


def _own_home() -> None:
    home = Path(tempfile.mkdtemp(prefix="nightscore-airflow-"))
    atexit.register(shutil.rmtree, home, True)
    (home / "plugins").mkdir()
    if not any(
        point.value.startswith("nightscore.airflow.plugin") for point in entry_points(group="airflow.plugins")
    ):
        (home / "plugins" / "nightscore.py").write_text(REGISTER)
    os.environ |= {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "0",  # what a test changes counts at once
        "AIRFLOW__CORE__UNIT_TEST_MODE": "True",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
    }


# A worker of xdist has inherited the home of its controller: two at once would make one database.
if find_spec("airflow") and ("AIRFLOW_HOME" not in os.environ or "PYTEST_XDIST_WORKER" in os.environ):
    _own_home()  # before the first import of airflow, which reads its configuration then


@pytest.fixture(scope="session")
def metadata() -> Iterator[None]:
    """A metadata database with Airflow's tables."""
    from airflow.utils import db

    db.initdb()
    yield
