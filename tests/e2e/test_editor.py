"""A real language server, as an editor starts it: what it says of a job.yaml, and what it offers.

It comes from the registry of Node.js by its name and version; where there is neither Node.js nor that
registry, nothing is tested.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nightscore.cli.main import call

pytestmark = pytest.mark.e2e
VERSION = "2.0.0"
ROOT = Path(__file__).parents[2]
MODELINE = "# yaml-language-server: $schema="
OURS = sorted((ROOT / "jobs").rglob("job.yaml"))
NEW = """\
job: mini
inputs: {rows: {path: data/lake/rows}}
features: features.sql
key: [id]
model:
  path: data/models/m.onnx
"""


class Editor:
    """As much of an editor as speaks with the server: one message after the other, over its pipes."""

    def __init__(self, server: Path, folder: Path) -> None:
        settings = json.loads((folder / ".vscode/settings.json").read_text())
        self._settings = {"yaml": {"schemas": settings["yaml.schemas"]}}  # as VS Code hands them over
        self._process = subprocess.Popen(
            [server, "--stdio"], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._number = 0
        can = {
            "workspace": {
                "configuration": True,
                "workspaceFolders": True,
                "didChangeConfiguration": {"dynamicRegistration": True},
            }
        }
        folders = [{"uri": folder.as_uri(), "name": folder.name}]
        root = {
            "rootUri": folder.as_uri(),
            "workspaceFolders": folders,
            "processId": None,
            "capabilities": can,
        }
        self.ask("initialize", root)
        self._send({"method": "initialized", "params": {}})
        changed = {"settings": self._settings}  # upon which it asks for them
        self._send({"method": "workspace/didChangeConfiguration", "params": changed})

    def close(self) -> None:
        """End the server."""
        self._process.kill()
        self._process.communicate()

    def open(self, file: Path, text: str) -> list[str]:
        """Show a text under a file's name; gives what the server finds wrong in it."""
        document = {"uri": file.as_uri(), "languageId": "yaml", "version": 1, "text": text}
        self._send({"method": "textDocument/didOpen", "params": {"textDocument": document}})
        while True:
            said = self._read()
            # Where it fails in itself, it finds nothing wrong: a key `null` without quotes, say.
            assert said.get("method") != "telemetry/event" or "error" not in str(said), said
            if (
                said.get("method") == "textDocument/publishDiagnostics"
                and said["params"]["uri"] == document["uri"]
            ):
                return [one["message"] for one in said["params"]["diagnostics"]]

    def at(self, what: str, file: Path, line: int, character: int) -> Any:
        """What it answers of a place: `completion` or `hover`."""
        place = {"line": line, "character": character}
        return self.ask(f"textDocument/{what}", {"textDocument": {"uri": file.as_uri()}, "position": place})

    def ask(self, method: str, params: dict[str, Any]) -> Any:
        """The answer to a request; what the server asks meanwhile has none."""
        self._number += 1
        self._send({"id": self._number, "method": method, "params": params})
        while True:
            said = self._read()
            if said.get("id") == self._number and "method" not in said:
                assert "error" not in said, said
                return said["result"]

    def _send(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self._process.stdin
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        self._process.stdin.flush()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout
        size = 0
        while line := self._process.stdout.readline().strip():
            name, _, value = line.partition(b":")
            size = int(value) if name.lower() == b"content-length" else size
        assert size, "the language server has ended"
        said: dict[str, Any] = json.loads(self._process.stdout.read(size))
        if "method" in said and "id" in said:  # a question of its own
            self._send({"id": said["id"], "result": self._answer(said)})
        return said

    def _answer(self, asked: dict[str, Any]) -> list[Any] | None:
        """The settings that it asks for; anything else has no answer."""
        if asked["method"] != "workspace/configuration":
            return None
        return [self._settings.get(one.get("section"), {}) for one in asked["params"]["items"]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The language server, installed into a folder of the tests."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("needs Node.js and npm")
    folder = tmp_path_factory.mktemp("server")
    command = ["npm", "install", "--silent", "--no-audit", "--no-fund", f"yaml-language-server@{VERSION}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240, check=False)
    if done.returncode:
        pytest.skip(f"npm can't install yaml-language-server here: {(done.stderr or done.stdout)[:200]}")
    return folder / "node_modules/.bin/yaml-language-server"


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new workspace."""
    folder = tmp_path_factory.mktemp("spaces") / "demo"
    assert call(["init", str(folder)]) == 0
    return folder


@pytest.fixture
def editor(server: Path, space: Path) -> Iterator[Editor]:
    """An editor in the new workspace."""
    one = Editor(server, space)
    yield one
    one.close()


def test_a_new_workspace_has_no_diagnostic_and_completes(editor: Editor, space: Path) -> None:
    """By the first line of its job.yaml, which names the schema beside it."""
    file = space / "jobs/churn/job.yaml"
    text = file.read_text()
    assert text.startswith(MODELINE) and editor.open(file, text) == []
    hover = editor.at(
        "hover", file, next(n for n, line in enumerate(text.splitlines()) if line.startswith("key:")), 1
    )
    assert "unique per day" in json.dumps(hover)  # what the schema says of it
    case = space / "jobs/churn/tests/three_customers.yaml"
    assert editor.open(case, case.read_text()) == []


def test_keys_are_offered_where_they_may_stand(editor: Editor, space: Path) -> None:
    """At the top, and inside `model`."""
    file = space / "jobs/mini/job.yaml"
    text = f"{MODELINE}../job.schema.json\n{NEW}  \n"
    editor.open(file, text)
    inside = editor.at("completion", file, len(text.splitlines()) - 1, 2)
    assert {"kind", "outputs", "expected"} <= {one["label"] for one in inside["items"]}
    top = space / "jobs/other/job.yaml"
    text = f"{MODELINE}../job.schema.json\n{NEW}\n"
    editor.open(top, text)
    offered = editor.at("completion", top, len(text.splitlines()) - 1, 0)
    assert {"decide", "audit", "schedule", "policy"} <= {one["label"] for one in offered["items"]}


def test_a_wrong_key_is_underlined(editor: Editor, space: Path) -> None:
    """At the top, below it, and a value of another type."""
    file = space / "jobs/churn/job.yaml"
    text = file.read_text()
    assert editor.open(space / "jobs/a/job.yaml", text.replace("model:", "modle:"))[-1:] == [
        "Property modle is not allowed."
    ]
    assert "Property shcedule is not allowed." in editor.open(
        space / "jobs/b/job.yaml", f"{text}shcedule: none\n"
    )
    assert editor.open(space / "jobs/c/job.yaml", text.replace("close: true", "") + "close: perhaps\n")


def test_jobs_of_this_repository_have_no_diagnostic(server: Path) -> None:
    """By the settings of its folder, for their files name no schema; and a wrong key is seen there, too."""
    editor = Editor(server, ROOT)
    try:
        found = {str(job): editor.open(job, job.read_text()) for job in OURS}
        assert len(found) > 20 and {job: said for job, said in found.items() if said} == {}
        wrong = OURS[0].with_name("other") / "job.yaml"
        assert editor.open(wrong, OURS[0].read_text() + "shcedule: none\n") == [
            "Property shcedule is not allowed."
        ]
    finally:
        editor.close()
