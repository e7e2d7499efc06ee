"""Credentials of a bucket are in nothing that is written, shown or logged, whatever fails."""

import os
import traceback
from pathlib import Path

import pytest

from nightscore import load, run
from nightscore.cli.main import call
from nightscore.common import Broken, NightscoreError, NotYet, open_workspace
from nightscore.store import delta
from nightscore.store.storage import homes
from nightscore.store.storage.objects import Objects, open_objects
from tests.behaviour.test_data_in_a_bucket import DAY, bucket, workspace
from tests.support.s3 import SECRET
from tests.support.s3_proxy import Proxy

__all__ = ["bucket", "workspace"]

pytestmark = pytest.mark.disk_only(reason="its data is in a bucket already")


def test_a_night_writes_no_secret(
    workspace: Path, bucket: Objects, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither into the bucket, nor on this machine, nor to the terminal."""
    for command in (["run", "mini", "--day", DAY], ["verify"], ["doctor"], ["receipts", "mini"]):
        assert call([*command, "--workspace", str(workspace)]) == 0
    there = [bucket.read(seen.key) for seen in bucket.walk("")]
    here = [path.read_bytes() for path in (tmp_path / "scratch").rglob("*") if path.is_file()]
    assert there and here
    assert not any(SECRET.encode() in data for data in (*there, *here))
    assert SECRET not in "".join(capfd.readouterr())


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AWS_ENDPOINT_URL_S3"])
def test_an_endpoint_with_a_password_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """Deltalake and obstore quote it in errors."""
    monkeypatch.setenv(variable, "http://ada:pass-word@127.0.0.1:1/")
    with pytest.raises(Broken, match=f"{variable} holds a user or a password") as caught:
        open_objects("s3://night/x", tmp_path)
    assert "pass-word" not in str(caught.value)


@pytest.mark.parametrize(
    "address", ["s3://AKIA:pass-word@night/x", "s3://night/x?X-Amz-Signature=pass-word", "az://c/x#pass-word"]
)
@pytest.mark.parametrize("where", ["variable", "file"])
def test_an_address_with_credentials_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, where: str
) -> None:
    """And is not shown."""
    (tmp_path / "jobs").mkdir()
    if where == "file":
        (tmp_path / "workspace.yaml").write_text(f"roots: {{data: '{address}'}}\n")
    else:
        monkeypatch.setenv("NIGHTSCORE_ROOT_DATA", address)
    with pytest.raises(Broken, match="has no user, password or query") as caught:
        _ = open_workspace(tmp_path).roots
    assert "pass-word" not in "".join(traceback.format_exception(caught.value))


FAILED = {"403": {"status": 403}, "400": {"status": 400}, "cut": {"cut": True, "method": "GET"}}


@pytest.mark.parametrize("name", FAILED)
@pytest.mark.parametrize("path", ["_last_checkpoint", "list-type=2&.*_delta_log", "models"])
@pytest.mark.sample(1)
def test_what_a_library_says_of_a_request_is_not_handed_on(
    workspace: Path, proxy: Proxy, name: str, path: str
) -> None:
    """It quotes the address with its query, where a signature may stand; a fault that passes is not yet."""
    run(load("mini", workspace), DAY)
    proxy.set_rules({**FAILED[name], "path": path, "times": 1_000_000})
    homes._bucket.cache_clear()
    place = homes.tables(open_workspace(workspace)) / "mini_scores"
    delta.SNAPSHOTS._kept.clear()
    with pytest.raises((NightscoreError, FileNotFoundError)) as caught:
        delta.read_snapshot(place)
        place.storage.read("data/models/linear.onnx")
    text = "".join(traceback.format_exception(caught.value))
    assert os.environ["AWS_ENDPOINT_URL"].partition("//")[2] not in text
    assert "\x1b" not in text
    if name == "cut" and path != "models":
        assert isinstance(caught.value, NotYet)
