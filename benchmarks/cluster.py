"""The same day on 1, 2 and 4 nodes of a Ray cluster, its data in a bucket; Ray Data on the same nodes.

    python benchmarks/cluster.py                                  both models, 2 rounds
    python benchmarks/cluster.py --model network --rows 1000000 --nodes 1 2 --rounds 1

Nodes are real ones (`ray start`), each on one core of this machine (taskset), with a scratch folder of its
own; those beyond the cores of the machine get a share of a core each (a quota of the control group, v1), and
then all do. The bucket is SeaweedFS. Head, bucket and driver have no core of their own: what they take is
missing to the nodes, as it says.

Efficiency is CPU seconds in pieces over slot-seconds: how long scoring took, times the cores that nodes had.
Beside it stands what it is without the time in which threads of the nodes were ready and had no core: on a
machine that others use, or where four nodes have two cores and a head, that is no fault of the cluster's.
Contenders take turns; medians count. What was measured is kept in benchmarks/recorded/cluster.json, from
which cluster_simulated.py goes on.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import obstore
import pyarrow as pa
import pyarrow.parquet as pq
from lake import ABOUT, DAY, workspace
from obstore.store import from_url

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the root, for tests

from tests.support.ray_cluster import Cluster
from tests.support.s3 import BUCKET, Server, start_server

HERE = Path(__file__).parent
RECORDED = HERE / "recorded/cluster.json"
QUOTA = Path("/sys/fs/cgroup/cpu/nightscore-bench")
PERIOD = 100_000  # microseconds, of which a node with a share of a core gets some
STORE_BYTES = 700_000_000  # of a node's object store: Ray Data's blocks; nightscore puts nothing there
ROWS = {"network": 3_000_000, "forest": 8_000_000}
UNDER_WAY = (4, 100, 1_000)  # tasks, as many as a cluster of half as many slots has
PATIENCE = 30.0  # seconds until killed processes have left their control group
LONGEST = 1800  # seconds of one contender
CORES = os.cpu_count() or 1
TOLERANCE = 1e-4  # of scores around 1: sums of floats in another order


@dataclass(frozen=True)
class Place:
    """Where it all runs."""

    server: Server
    cluster: Cluster
    nodes: list[subprocess.Popen[bytes]]
    environment: Mapping[str, str]

    def owners(self, used: int) -> list[str]:
        """Whose CPU seconds are counted, as contenders are told."""
        nodes = ",".join(str(node.pid) for node in self.nodes[:used])
        return [f"head={self.cluster.head.pid}", f"storage={self.server.process.pid}", f"nodes={nodes}"]


def main() -> None:
    """Measure, print, and keep what was measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", nargs="+", choices=["network", "forest"], default=["network", "forest"])
    parser.add_argument("--rows", type=int, help="default: 3 million for the network, 8 for the trees")
    parser.add_argument(
        "--piece-rows", type=int, default=250_000, help="of a piece, and of a file of the day"
    )
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument(
        "--ray-data", nargs="*", choices=["network", "forest"], default=["network"],
        help="the models that Ray Data scores, too: ONNX Runtime takes ten times as long for trees",
    )  # fmt: skip
    options = parser.parse_args()
    with _place(max(options.nodes)) as place:
        print(f"{CORES} cores, load {os.getloadavg()[0]:.1f} when it began.\n", flush=True)
        for model in options.model:
            lines = compare(place, model, options)
            rows = options.rows or ROWS[model]
            _print(model, rows, lines)
            _keep(model, {"rows": rows, "found": lines})
        _keep("driver", _driver(place))
        print(f"\nLoad when it ended: {os.getloadavg()[0]:.1f}.")


def compare(place: Place, model: str, options: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """What was measured of each contender, round by round."""
    size = options.piece_rows
    scoring = f"scoring: {{device: cpu, piece_rows: {size}}}\n"
    root = workspace(model, options.rows or ROWS[model], file_rows=size, more=scoring)
    _upload(root)
    turns: list[tuple[str, int]] = [("nightscore", nodes) for nodes in options.nodes]
    with_ray_data = model in options.ray_data
    turns += [("Ray Data", min(CORES, max(options.nodes)))] if with_ray_data else []
    found: dict[str, list[dict[str, Any]]] = {}
    for turn in range(options.rounds):
        for name, nodes in turns:
            load = os.getloadavg()[0]
            with _only(place, nodes):
                result = (
                    _nightscore(place, root, model, nodes)
                    if name == "nightscore"
                    else _ray_data(place, root, model, nodes)
                )
            result |= {"nodes": nodes, "cores": min(nodes, CORES), "load": load}
            found.setdefault(f"{name}, {nodes} nodes", []).append(result)
            said = f"{result['seconds']:.1f} s (load {load:.1f})"
            print(
                f"  {turn + 1}/{options.rounds} {model} {name}, {nodes}: {said}", file=sys.stderr, flush=True
            )
    if with_ray_data:
        print(f"{model}: Ray Data's scores are at most {_hold_to_ours(model):.1g} from nightscore's.\n")
    return found


def _nightscore(place: Place, root: Path, model: str, nodes: int) -> dict[str, Any]:
    _empty("runs/", "tables/")
    script = HERE / "contenders/cluster_with_nightscore.py"
    data = {"NIGHTSCORE_ROOT_DATA": f"s3://{BUCKET}/{model}"}
    return _run(place, [script, "--job", model, root, "--owners", *place.owners(nodes)], data)


def _ray_data(place: Place, root: Path, model: str, nodes: int) -> dict[str, Any]:
    _empty("peer/")
    script, files = HERE / "contenders/cluster_with_ray_data.py", f"{BUCKET}/{model}/lake/rows/day={DAY}"
    names = sorted(path.name for path in (root / f"data/lake/rows/day={DAY}").glob("*.parquet"))
    out = f"{BUCKET}/{model}/peer"
    options = ["--model", root / f"data/models/{model}.onnx", "--out", out, "--slots", nodes]
    return _run(
        place, [script, *options, *(f"{files}/{name}" for name in names), "--owners", *place.owners(nodes)]
    )


def _paths() -> str:
    """Where processes find the contenders' modules, and what this one was told."""
    return os.pathsep.join([str(HERE / "contenders"), *filter(None, [os.environ.get("PYTHONPATH")])])


def _run(place: Place, command: Sequence[object], more: Mapping[str, str] | None = None) -> dict[str, Any]:
    """What a contender says in its last line."""
    paths = {"PYTHONPATH": place.cluster.environment["PYTHONPATH"], "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, check=False, timeout=LONGEST,
        env={**place.environment, **(more or {}), **paths},
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{Path(str(command[0])).name} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    last: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return last


@contextmanager
def _place(nodes: int) -> Iterator[Place]:
    """A bucket, a head without a slot, and nodes of one slot each."""
    with ExitStack() as end:
        folder = Path(end.enter_context(tempfile.TemporaryDirectory(prefix="bench")))
        (folder / "s3").mkdir()
        server = start_server(folder / "s3")
        end.callback(server.kill)
        end.callback(_remove_groups)
        cluster = Cluster({**server.environment, "PYTHONPATH": _paths()})
        end.callback(cluster.stop)
        started = []
        for number in range(nodes):
            group = QUOTA.with_name(f"{QUOTA.name}-{number}")
            group.mkdir(exist_ok=True)
            entered = ("sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$0" "$@"')
            started.append(
                cluster.start(
                    f"--address={cluster.address}", f'--resources={{"node{number}": 1}}',
                    f"--object-store-memory={STORE_BYTES}", cpus=1,
                    environment={"NIGHTSCORE_SCRATCH": str(folder / f"scratch-{number}")},
                    before=(*entered, "taskset", "-c", str(number % CORES)),
                )
            )  # fmt: skip
        here = {"RAY_ADDRESS": cluster.address, "NIGHTSCORE_SCRATCH": str(folder / "scratch")}
        os.environ.update(server.environment)
        yield Place(server, cluster, started, {**os.environ, **here, "RAY_USAGE_STATS_ENABLED": "0"})


def _remove_groups() -> None:
    """The control groups of the nodes, as soon as no process is left in them."""
    for group in QUOTA.parent.glob(f"{QUOTA.name}-*"):
        end = time.monotonic() + PATIENCE
        while (group / "cgroup.procs").read_text() and time.monotonic() < end:
            time.sleep(0.1)
        group.rmdir()


@contextmanager
def _only(place: Place, nodes: int) -> Iterator[None]:
    """A context in which only the first nodes have a slot, and as much of a core as there is for each."""
    import ray

    share = PERIOD * CORES // nodes if nodes > CORES else -1
    for number in range(len(place.nodes)):
        QUOTA.with_name(f"{QUOTA.name}-{number}").joinpath("cpu.cfs_quota_us").write_text(str(share))
    ray.init(place.cluster.address, log_to_driver=False, logging_level="ERROR")

    class Held:
        def is_here(self) -> bool:
            return True

    holding = [
        ray.remote(Held).options(num_cpus=1, resources={f"node{number}": 1}).remote()
        for number in range(nodes, len(place.nodes))
    ]
    ray.get([one.is_here.remote() for one in holding])
    try:
        yield
    finally:
        ray.shutdown()


def _bucket() -> Any:
    return from_url(f"s3://{BUCKET}", virtual_hosted_style_request=False, client_options={"allow_http": True})


def _upload(root: Path) -> None:
    """What a workspace's data/ holds, into the bucket."""
    model = root.name.partition("-")[0]
    for file in (path for path in (root / "data").rglob("*") if path.is_file()):
        obstore.put(_bucket(), f"{model}/{file.relative_to(root / 'data').as_posix()}", file)


def _empty(*folders: str) -> None:
    """Remove what an earlier round has written."""
    for model in ABOUT:
        for folder in folders:
            for page in obstore.list(_bucket(), f"{model}/{folder}"):
                obstore.delete(_bucket(), [found["path"] for found in page])


def _scores(prefix: str, name: str) -> pa.Table:
    """Key and score of each row, by key, of the Parquet below a prefix whose paths hold a name."""
    paths = [found["path"] for page in obstore.list(_bucket(), prefix) for found in page]
    if not any(name in path for path in paths):
        raise SystemExit(f"{prefix}: holds no {name}, but {paths}")
    bodies = [obstore.get(_bucket(), path).bytes().to_bytes() for path in paths if name in path]
    tables = [pq.read_table(pa.BufferReader(body), columns=["id", "score"]) for body in bodies]
    return pa.concat_tables(tables).sort_by("id")


def _hold_to_ours(model: str) -> float:
    """How far Ray Data's scores are from nightscore's at most; fails where that is far, or keys differ."""
    ours, theirs = (
        _scores(f"{model}/tables/{model}_scores", ".parquet"),
        _scores(f"{model}/peer", ".parquet"),
    )
    if not ours["id"].equals(theirs["id"]):
        raise SystemExit(f"other keys: Ray Data gives {len(theirs):,} rows, nightscore {len(ours):,}")
    one, other = (np.asarray(table["score"], np.float64) for table in (ours, theirs))
    far = float((np.abs(one - other) / np.maximum(1, np.abs(one))).max())
    if far > TOLERANCE:
        raise SystemExit(f"Ray Data's scores are up to {far:.2g} away from nightscore's")
    return far


def _print(model: str, rows: int, found: Mapping[str, Sequence[dict[str, Any]]]) -> None:
    print(f"### {ABOUT[model].capitalize()}: {rows:,} rows of 40 float32\n")
    heads = (
        "", "scoring, s", "rows/s", "CPU s of nodes", "of it in pieces", "efficiency",
        "without waits for a core", "head", "storage", "driver", "load",
    )  # fmt: skip
    print("|", " | ".join(heads), "|\n|" + "---|" * len(heads))
    for name, results in found.items():
        print("|", " | ".join([name, *_cells(rows, results)]), "|", flush=True)


def _cells(rows: int, results: Sequence[dict[str, Any]]) -> list[str]:
    seconds = statistics.median(result["seconds"] for result in results)
    each = " ".join(f"{result['seconds']:.1f}" for result in results)
    worked = [sum(piece["cpu_seconds"] for piece in result.get("pieces", ())) for result in results]
    slots = [result["seconds"] * result["cores"] for result in results]
    efficiency = statistics.median(cpu / slot for cpu, slot in zip(worked, slots, strict=True))
    running = [result["seconds"] * result["nodes"] - result["waited"]["nodes"] for result in results]
    unhindered = statistics.median(cpu / slot for cpu, slot in zip(worked, running, strict=True))
    shares = [
        statistics.median(result["cpu"][owner] / (result["seconds"] * CORES) for result in results)
        for owner in ("head", "storage", "driver")
    ]
    nodes = statistics.median(result["cpu"]["nodes"] for result in results)
    cpu = statistics.median(worked)
    ours = [f"{nodes:.1f}", f"{cpu:.1f}", f"{efficiency:.2f}", f"{unhindered:.2f}"]
    return [  # of Ray Data's actors, which end before they are counted, the seconds are not known
        f"{seconds:.1f} ({each})", f"{rows / seconds:,.0f}", *(ours if cpu else [""] * 4),
        *(f"{share:.1%}" for share in shares), " ".join(f"{result['load']:.1f}" for result in results),
    ]  # fmt: skip


def _driver(place: Place) -> dict[str, Any]:
    """What a task costs the driver beside its work, printed, too."""
    with _only(place, min(CORES, len(place.nodes))):
        found = _run(place, [HERE / "contenders/cluster_driver.py", *UNDER_WAY])
    print("\n| tasks under way | driver, ms a task | CPU ms |\n|---|---|---|")
    for under_way, spent in found["tasks"].items():
        print(f"| {under_way} | {spent['seconds'] * 1000:.2f} | {spent['cpu'] * 1000:.2f} |")
    return found


def _keep(name: str, measured: Mapping[str, Any]) -> None:
    """Write down what was measured, beside what was measured of others before."""
    RECORDED.parent.mkdir(exist_ok=True)
    kept = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    RECORDED.write_text(json.dumps({**kept, name: measured}, indent=1) + "\n")


if __name__ == "__main__":
    main()
