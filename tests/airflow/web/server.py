"""Airflow's API server with the page in it, as an application in this process, and people who use it."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

Client = Callable[[str | None], "TestClient"]


@contextmanager
def api_server(
    root: Path, users: Mapping[str, str], passwords: Path, *, multi_team: bool = False
) -> Iterator[Any]:
    """The application over a workspace; `users` are names and roles, their passwords lie in a file."""
    from airflow.api_fastapi.app import create_app, purge_cached_app

    passwords.write_text(json.dumps(dict.fromkeys(users, "secret")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NIGHTSCORE_WORKSPACE", str(root))
        if multi_team:
            patch.setenv("AIRFLOW__CORE__MULTI_TEAM", "True")
        patch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE", str(passwords))
        named = ",".join(f"{name}:{role}" for name, role in users.items())
        patch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS", named)
        purge_cached_app()
        yield create_app("core")
        purge_cached_app()


def browsers(app: Any) -> Client:
    """A browser of some user, logged in by Airflow's own route; None is nobody."""
    from fastapi.testclient import TestClient

    def of(user: str | None) -> "TestClient":
        made = TestClient(app, base_url="http://testserver", raise_server_exceptions=False)
        if user:
            answer = made.post("/auth/token", json={"username": user, "password": "secret"})
            made.cookies.set("_token", answer.json()["access_token"])
        return made

    return of
