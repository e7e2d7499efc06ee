"""What a day of many pieces costs beside its rows: seconds, requests and bytes, by the number of pieces.

    python benchmarks/many_pieces.py                     100, 300 and 900 pieces of 1,000 rows
    python benchmarks/many_pieces.py --delay 0.03        each request to the bucket takes 30 ms more

A file is a piece; the bucket is SeaweedFS behind a proxy that counts. Each day is planned, scored one piece
after the other, proven and published by a process of its own. What was measured is kept in
benchmarks/recorded/many_pieces.json, from which cluster_simulated.py goes on.
"""

import argparse
import datetime as dt
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the root, for tests

import obstore
from lake import DAY, workspace
from obstore.store import from_url

from nightscore import load
from nightscore.pipeline.executors import InOrder
from nightscore.pipeline.on_ray.there import _read_plan
from nightscore.pipeline.steps import plan_day, publish_day
from nightscore.store import storage
from tests.support.s3 import BUCKET, client_environment, start_server
from tests.support.s3_proxy import Proxy

RECORDED = Path(__file__).parent / "recorded/many_pieces.json"
ROWS = 1_000  # of a piece: the fewest that a job may ask for
MODEL = "mlp"
STAGES = ("plan", "score", "publish")
READ = 5  # times that a plan is read, of which the fastest counts


def main() -> None:
    """Measure and print; or, called by itself, run one day and tell after each stage what it took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pieces", type=int, nargs="+", default=[100, 300, 900])
    parser.add_argument("--delay", type=float, default=0.0, help="seconds that each request takes more")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        one_day(options.one)
        return
    load_before = os.getloadavg()[0]
    found = {pieces: measured(pieces, options.delay) for pieces in options.pieces}
    print_tables(found, options.delay, load_before)
    keep(found, options.delay, load_before)


def measured(pieces: int, delay: float) -> dict[str, Any]:
    """What a day of so many pieces took."""
    root = workspace(
        MODEL, pieces * ROWS, file_rows=ROWS, more=f"scoring: {{device: cpu, piece_rows: {ROWS}}}\n"
    )
    with tempfile.TemporaryDirectory(prefix="bench") as name:
        (Path(name) / "s3").mkdir()
        server = start_server(Path(name) / "s3")
        try:
            upload(root, server.environment)
            with Proxy(server.port) as proxy:
                proxy.set_rules({"delay": delay, "times": 1 << 40})
                return ran(root, proxy, Path(name) / "scratch")
        finally:
            server.kill()


def upload(root: Path, environment: Mapping[str, str]) -> None:
    """What a workspace's data/ holds, into the bucket."""
    options: Any = {"endpoint": environment["AWS_ENDPOINT_URL"], "region": environment["AWS_REGION"]}
    options |= {"access_key_id": environment["AWS_ACCESS_KEY_ID"]}
    options |= {"secret_access_key": environment["AWS_SECRET_ACCESS_KEY"]}
    bucket = from_url(
        f"s3://{BUCKET}", virtual_hosted_style_request=False, client_options={"allow_http": True}, **options
    )
    for file in (path for path in (root / "data").rglob("*") if path.is_file()):
        obstore.put(bucket, f"bench/{file.relative_to(root / 'data').as_posix()}", file)


def ran(root: Path, proxy: Proxy, scratch: Path) -> dict[str, Any]:
    """One day in a process of its own; requests are counted where it says that a stage is over."""
    environment = {
        **os.environ, **client_environment(proxy.port), "NIGHTSCORE_SCRATCH": str(scratch),
        "NIGHTSCORE_ROOT_DATA": f"s3://{BUCKET}/bench",
    }  # fmt: skip
    found: dict[str, Any] = {}
    before: dict[str, int] = {}
    command = [sys.executable, __file__, "--one", str(root)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout and process.stdin  # noqa: S101 - pipes that were asked for
        for line in process.stdout:
            said = json.loads(line)
            now = dict(proxy.counts)
            if said["stage"] in STAGES:
                said["requests"] = {kind: n - before.get(kind, 0) for kind, n in now.items()}
            found[said.pop("stage")] = said
            before = now
            process.stdin.write("\n")
            process.stdin.flush()
    if process.returncode:
        raise SystemExit(f"the day ended with {process.returncode}")
    return found


def one_day(root: Path) -> None:
    """Plan, score and publish; a line after each stage, and then what was made."""
    job = load(MODEL, root)
    plan = timed("plan", lambda: plan_day(job, dt.date.fromisoformat(DAY)))
    staged = timed("score", lambda: InOrder().map(job, plan, plan.pieces))
    receipt = timed("publish", lambda: publish_day(job, plan, staged))
    text = plan.to_json()
    seconds = min(had(text) for _ in range(READ))
    tell({"stage": "plan as text", "bytes": len(text), "seconds to have": seconds})
    tables = storage.tables(job.workspace)
    [commit, *_] = sorted(
        (tables / f"{MODEL}_scores").glob("_delta_log", "*.json", hidden=True), reverse=True
    )
    tell({"stage": "commit", "bytes": commit.local().stat().st_size})
    tell({"stage": "receipt", "bytes": len(receipt.to_json()), "seconds": dict(receipt.seconds)})


def had(text: str) -> float:
    """CPU seconds until a task has its plan, in a process that has had it before."""
    sent = text.encode()
    _read_plan(text)
    before = time.process_time()
    _read_plan(sent.decode())
    return time.process_time() - before


def timed(stage: str, work: Callable[[], Any]) -> Any:
    """Do it, and tell what it took."""
    began, before = time.perf_counter(), time.process_time()
    result = work()
    spent = {"seconds": time.perf_counter() - began, "cpu": time.process_time() - before}
    tell({"stage": stage, **spent})
    return result


def tell(said: Mapping[str, Any]) -> None:
    """Say it, and go on when it was heard."""
    print(json.dumps(said), flush=True)
    sys.stdin.readline()


def print_tables(found: Mapping[int, Mapping[str, Any]], delay: float, load_before: float) -> None:
    """Seconds and requests by stage, bytes of what is written."""
    print(f"Load {load_before:.1f}; each request takes {delay * 1000:.0f} ms more.\n")
    print("| pieces | " + " | ".join(f"{stage}: s, CPU s, requests" for stage in STAGES), end=" | ")
    print("plan, kB | to have it, s | commit, kB | receipt, kB |\n|" + "---|" * (len(STAGES) + 5))
    for pieces, day in found.items():
        cells = [
            f"{day[stage]['seconds']:.2f}, {day[stage]['cpu']:.2f}, {sum(day[stage]['requests'].values())}"
            for stage in STAGES
        ]
        text = day["plan as text"]
        cells += [f"{text['bytes'] / 1e3:.0f}", f"{text['seconds to have']:.4f}"]
        cells += [f"{day[name]['bytes'] / 1e3:.0f}" for name in ("commit", "receipt")]
        print("|", " | ".join([f"{pieces:,}", *cells]), "|")


def keep(found: Mapping[int, Any], delay: float, load_before: float) -> None:
    """Write down what was measured, beside what was measured with another delay."""
    RECORDED.parent.mkdir(exist_ok=True)
    kept = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    kept[f"{delay:g}"] = {"load": load_before, "days": found}
    RECORDED.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
