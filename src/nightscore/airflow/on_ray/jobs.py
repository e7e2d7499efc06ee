"""Jobs of a Ray cluster over its HTTP interface: submitted, looked at, stopped. ray itself is not used.

A job scores all pieces of one run, and its name is the run's with a number: whoever scores that run looks for
the one that is under way before it submits another. A job that has ended keeps its name on the cluster.
"""

import asyncio
import contextlib
import os
import re
import shlex
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from nightscore.common import Broken, NightscoreError, NotYet, read_root_variables
from nightscore.job import Job
from nightscore.store import Plan

ADDRESS = "NIGHTSCORE_RAY"  # the environment variable that names the cluster
TOKEN, TOKEN_FILE = "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"  # of Ray itself
FORM = re.compile(r"https?://[^\s/@?#]+(/[^\s@?#]*)?")  # without a user, a password or a query
ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
LOST = "LOST"  # the cluster knows nothing of the job, or has not answered for long
UNANSWERED = "UNANSWERED"  # at this look
FOR_GOOD = (1, 2, 126, 127)  # exit codes of `broken`, `usage`, and of a command that is not there
LATER = (408, 425, 429)  # HTTP statuses that say: not now
SECONDS = 5.0  # between two looks
PATIENCE = 120.0  # seconds without an answer, after which a job counts as lost
TIMEOUT = 30.0  # seconds for one request
LONGEST = 2_000  # characters of a message
FREE = 1_000  # jobs of one run
Answer = dict[str, Any]
SAID = re.compile(r"^nightscore: (?:broken|not yet|usage): ", re.MULTILINE)


@dataclass(frozen=True)
class JobState:
    """How a job stands: Ray's word, the exit code of its command, and what it says is wrong."""

    status: str
    exit_code: int | None = None
    message: str = ""

    @property
    def ended(self) -> bool:
        """Whether it does nothing any more."""
        return self.status in (*ENDED, LOST)

    def refuse_failure(self, name: str) -> None:
        """Hold a job that has ended to having scored all.

        Raises:
            Broken: its command says that trying again won't help.
            NotYet: it was stopped, killed or lost, or its command says so.
        """
        if self.status == "SUCCEEDED":
            return
        message = f"Ray job {name}: {self.status.lower()}: {self.message or 'it says nothing more'}"
        if self.status == "FAILED" and self.exit_code in FOR_GOOD:
            raise Broken(message)
        raise NotYet(f"{message}; what was staged is kept")


@dataclass(frozen=True)
class RayJobs:
    """The jobs of the cluster whose head answers at `address`."""

    address: str

    async def start(self, job: Job, plan: Plan) -> str:
        """The name of the job that scores a plan: the one under way, else one that is submitted now.

        Raises:
            Broken: the cluster refuses what is asked.
            NotYet: it does not answer.
        """
        for number in range(1, FREE):
            name = f"nightscore-{plan.run_id}-{number}"
            state = await self.find(name)
            if state is None:
                await self._submit(name, job, plan)
            if state is None or not state.ended:
                return name
        raise Broken(f"run {plan.run_id}: {FREE} Ray jobs of it have ended; run the day again with force")

    async def find(self, name: str) -> JobState | None:
        """How a job stands; None where the cluster knows of none. Errors as `start`'s."""
        found = await self._ask("GET", f"/{quote(name)}")
        if found is None:
            return None
        status, message = found.get("status"), str(found.get("message") or "")
        if not isinstance(status, str):
            raise Broken(f"{ADDRESS}={self.address}: tells of job {name} without its status: no Ray cluster")
        log = await self.log(name) if status == "FAILED" else ""
        return JobState(status, found.get("driver_exit_code"), _told(log) or _clipped(message))

    async def log(self, name: str) -> str:
        """What a job has printed up to now. Errors as `start`'s."""
        found = await self._ask("GET", f"/{quote(name)}/logs")
        return str(found.get("logs") or "") if found else ""

    async def stop(self, name: str) -> None:
        """Stop a job; one that is not there, or has ended, is left as it is. Errors as `start`'s."""
        await self._ask("POST", f"/{quote(name)}/stop")

    async def follow(self, name: str, say: Callable[[str], Any], seconds: float = SECONDS) -> JobState:
        """How a job ends, once it has; `say` is told each line that it prints meanwhile."""
        lines, answered = _Lines(say), time.monotonic()
        while True:
            state = await self._look(name, lines)
            if state.status != UNANSWERED:
                answered = time.monotonic()
            elif time.monotonic() > answered + PATIENCE:
                return replace(state, status=LOST)
            if state.ended:
                return state
            await asyncio.sleep(seconds)

    async def _look(self, name: str, lines: "_Lines") -> JobState:
        try:
            state = await self.find(name)
            lines(await self.log(name), ended=state is None or state.ended)
        except NightscoreError as error:
            return JobState(UNANSWERED, message=str(error))
        return state or JobState(LOST, message=f"the cluster at {self.address} does not know it any more")

    async def _submit(self, name: str, job: Job, plan: Plan) -> None:
        """Submit a job; that another process was first is no error. Errors as `start`'s."""
        command = (
            "nightscore", "--workspace", str(job.workspace.root), "score", plan.job, "--day", plan.day,
            "--run", plan.run_id, "--on", "ray",
        )  # fmt: skip
        body = {
            "submission_id": name, "entrypoint": shlex.join(command),
            "runtime_env": {"env_vars": read_root_variables()},  # where data lies; no credentials
            "metadata": {"job": plan.job, "day": plan.day, "run": plan.run_id},
        }  # fmt: skip
        try:
            await self._ask("POST", "/", body)
        except NotYet:
            if await self.find(name) is None:
                raise

    async def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Answer | None:
        """The JSON object that the cluster answers; None where it knows of no such job."""
        shown = f"{ADDRESS}={self.address}"
        try:
            async with httpx.AsyncClient(timeout=TIMEOUT, verify=self.address.startswith("https:")) as client:
                answer = await client.request(
                    method, f"{self.address}/api/jobs{path}", json=body, headers=_authorization()
                )
        except httpx.RequestError as error:  # no connection, no end of it, or nothing that can be unpacked
            said = str(error) or type(error).__name__
            raise NotYet(f"{shown}: no Ray cluster answers there: {said}") from None
        if answer.status_code == httpx.codes.NOT_FOUND and path != "/":
            return None
        if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            raise Broken(
                f"{shown}: the cluster refuses the token ({answer.status_code}); set {TOKEN}, or "
                f"{TOKEN_FILE}, to that of the cluster, for workers and triggerer"
            )
        return _document(answer, shown)


def jobs_of_environment() -> RayJobs | None:
    """The jobs of the cluster that NIGHTSCORE_RAY names; None where it is not set.

    Raises:
        Broken: it is no address of a cluster's head.
    """
    address = os.environ.get(ADDRESS, "").rstrip("/")
    if not address:
        return None
    if not FORM.fullmatch(address):
        shown = "…" if set(address) & set("@?#") else address
        raise Broken(
            f"{ADDRESS}={shown}: is no address of a Ray cluster's HTTP interface; allowed: http://HOST:PORT, "
            "as http://head:8265, without a user, a password or a query"
        )
    return RayJobs(address)


def call(task: Any) -> Any:
    """What a coroutine gives, also where this thread runs others, as in a handler of a signal."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, task).result()


class _Lines:
    """Tells the lines of a text that grows, each once it is whole."""

    def __init__(self, say: Callable[[str], Any]) -> None:
        self.say, self.told = say, 0

    def __call__(self, text: str, ended: bool) -> None:
        end = len(text) if ended else text.rfind("\n") + 1
        for line in text[self.told : end].splitlines():
            if line.strip():
                self.say(line)
        self.told = max(self.told, end)


def _authorization() -> dict[str, str]:
    """The header by which a cluster knows its users; none where no token is set."""
    token, file = os.environ.get(TOKEN, ""), os.environ.get(TOKEN_FILE, "")
    if not token and file:
        try:
            token = Path(file).read_text(encoding="utf-8")
        except (OSError, UnicodeError) as error:
            raise Broken(f"{TOKEN_FILE}={file}: can't be read: {type(error).__name__}") from None
    token = token.strip()
    if not re.fullmatch(r"[!-~]*", token):  # else a library's message would show it
        said = f"{TOKEN_FILE}={file}" if file else TOKEN
        raise Broken(f"{said}: is no token: it has a blank, a line break, or what is no ASCII")
    return {"Authorization": f"Bearer {token}"} if token else {}


def _document(answer: httpx.Response, shown: str) -> Answer:
    said = f"{shown}: answers {answer.status_code}: {_clipped(answer.text)}"
    if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR or answer.status_code in LATER:
        raise NotYet(said)
    if not answer.is_success:
        raise Broken(said)
    with contextlib.suppress(ValueError):
        if isinstance(found := answer.json(), dict):
            return found
    raise Broken(f"{said}; it is no Ray cluster")


def _told(log: str) -> str:
    """What the command says is wrong, as its last message, else the last lines that it printed."""
    found = list(SAID.finditer(log))
    return _clipped(log[found[-1].end() :] if found else log)


def _clipped(text: str) -> str:
    return text.strip()[-LONGEST:]
