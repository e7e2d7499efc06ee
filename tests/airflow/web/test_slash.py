"""The page's address without its slash."""

import pytest

pytest.importorskip("airflow")

from fastapi import FastAPI
from fastapi.testclient import TestClient

from nightscore.airflow.web.slash import Slash


def test_the_address_without_a_slash_leads_to_the_page() -> None:
    """With its query, also behind a proxy with a path; other addresses, and what is posted, pass through."""
    app = FastAPI()

    @app.get("/{rest:path}")
    def seen(rest: str) -> str:
        return rest

    for root in ("", "/airflow"):
        client = TestClient(Slash(app), follow_redirects=False, root_path=root)  # type: ignore[arg-type]
        answer = client.get(f"{root}/nightscore?sql=SELECT%201")
        assert (answer.status_code, answer.headers["location"]) == (307, "nightscore/?sql=SELECT%201")
        assert client.get(f"{root}/nightscore/").json() == "nightscore/"
        assert client.get(f"{root}/dags/nightscore").json() == "dags/nightscore"
        assert client.post(f"{root}/nightscore").status_code == 405
