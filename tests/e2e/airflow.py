"""An Airflow that runs, through its REST interface."""

import json
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import psutil

from nightscore.airflow.standalone import USER, Local
from tests.e2e.servers import until

ENDED = ("success", "failed")
RUN_SECONDS = 240.0
READ_SECONDS = 180.0  # at the first task an API server makes its versions, and answers nobody meanwhile


@dataclass(frozen=True)
class Airflow:
    """A client of one Airflow, as the user admin."""

    local: Local

    @property
    def root(self) -> Path:
        """Its workspace."""
        return self.local.workspace.root

    @cached_property
    def _client(self) -> httpx.Client:
        body = {"username": USER, "password": self.local.password}
        token = httpx.post(f"{self.local.url}/auth/token", json=body, timeout=60).json()["access_token"]
        headers = {"authorization": f"Bearer {token}"}
        return httpx.Client(base_url=f"{self.local.url}/api/v2", headers=headers, timeout=READ_SECONDS)

    def ask(self, method: str, path: str, **body: Any) -> httpx.Response:
        """What it answers, whatever that is."""
        return self._client.request(method, path, json=body or None)

    def api(self, method: str, path: str, **body: Any) -> Any:
        """The JSON that it answers; the test fails where it refuses."""
        answer = self.ask(method, path, **body)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    def unpause(self, dag: str) -> None:
        """Switch a DAG on, as soon as it has been read."""
        until(lambda: self.ask("GET", f"/dags/{dag}").is_success, 60, f"the DAG {dag} is known")
        self.api("PATCH", f"/dags/{dag}", is_paused=False)

    def trigger(self, dag: str, partition_key: str | None = None, **conf: Any) -> str:
        """Start a run, as whoever calls REST does; its id."""
        body = {"logical_date": None, "partition_key": partition_key, "conf": conf}
        return str(self.api("POST", f"/dags/{dag}/dagRuns", **body)["dag_run_id"])

    def runs(self, dag: str) -> list[dict[str, Any]]:
        """All runs of a DAG."""
        return list(self.api("GET", f"/dags/{dag}/dagRuns?limit=100")["dag_runs"])

    def ended(self, dag: str, run: str, seconds: float = RUN_SECONDS) -> str:
        """How a run ends, once it has."""
        path = f"/dags/{dag}/dagRuns/{quote(run, safe='')}"

        def state() -> str:
            found = str(self.api("GET", path)["state"])
            return found if found in ENDED else ""

        return until(state, seconds, f"the run {run} has ended")

    def tasks(self, dag: str, run: str, task: str | None = None) -> list[dict[str, Any]]:
        """The task instances of a run, those of one task if it is given, mapped ones in order."""
        found = self.api("GET", f"/dags/{dag}/dagRuns/{quote(run, safe='')}/taskInstances")["task_instances"]
        wanted = [one for one in found if task in (None, one["task_id"])]
        return sorted(wanted, key=lambda one: (one["task_id"], one["map_index"]))

    def receipt(self, dag: str, run: str) -> dict[str, Any]:
        """What the run's publish task gave."""
        place = f"/dags/{dag}/dagRuns/{quote(run, safe='')}/taskInstances/publish"
        value = self.api("GET", f"{place}/xcomEntries/return_value")["value"]
        return dict(json.loads(value) if isinstance(value, str) else value)

    def log(self, dag: str, run: str, task: str, number: int = 1, index: int = -1) -> str:
        """What a task logged in a try; `index` is that of a mapped one."""
        place = f"/dags/{dag}/dagRuns/{quote(run, safe='')}/taskInstances/{task}"
        query = f"full_content=true&map_index={index}"
        return json.dumps(self.api("GET", f"{place}/logs/{number}?{query}"), ensure_ascii=False)

    def set_state(self, dag: str, run: str, task: str, state: str, index: int = -1) -> None:
        """Mark a task, as a person does in the browser."""
        place = f"/dags/{dag}/dagRuns/{quote(run, safe='')}/taskInstances/{task}"
        self.api("PATCH", place if index < 0 else f"{place}/{index}", new_state=state)

    def clear(self, dag: str, run: str, task: str) -> None:
        """Have a task, and what comes after it, run again."""
        self.api(
            "POST", f"/dags/{dag}/clearTaskInstances", dry_run=False, dag_run_id=run, task_ids=[task],
            include_downstream=True, only_failed=False, reset_dag_runs=True,
        )  # fmt: skip

    def command(self, *arguments: str) -> str:
        """The output of one of Airflow's own commands."""
        done = subprocess.run(
            [sys.executable, "-m", "airflow", *arguments],
            env=self.local.environment(), cwd=self.root, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def process_of(task: dict[str, Any]) -> psutil.Process | None:
    """The process that runs a task instance, by the title that Airflow gives it: not its supervisor."""
    for process in psutil.process_iter():
        try:
            if " ".join(process.cmdline()).strip() == f"airflow worker -- {task['id']}":
                return process
        except psutil.Error:
            continue
    return None
