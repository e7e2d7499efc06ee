"""The lake of the benchmarks of whole jobs: seeded rows in Parquet, models as ONNX; made once."""

import json
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
from onnx import TensorProto, helper, numpy_helper

WORK = Path(__file__).parent / "work" / "jobs"
DAY = "2020-01-01"
COLUMNS = [f"f{i}" for i in range(40)]
FILE_ROWS, GROUP_ROWS = 1_000_000, 250_000
TRAINED_ROWS = 60_000
TREES = {"trees": 500, "forest": 1_000}  # of 63 leaves
LAYERS = {"mlp": (64, 32), "network": (1_024, 512)}  # between 40 columns and one score
OUTPUTS = {"mlp": "y", "trees": "variable", "network": "y", "forest": "variable"}

JOB = """\
job: {model}
about: Synthetic rows through {about}
owner: benchmarks
inputs:
  rows: {{path: data/lake/rows, partition: day}}
features: rows
key: [id]
model:
  kind: {kind}
  path: data/models/{model}.onnx
  columns: [{columns}]
  outputs: {{score: "{output}"}}
{more}"""
ABOUT = {
    "mlp": "a neural network 40-64-32-1",
    "trees": "500 trees of 63 leaves",
    "network": "a neural network 40-1024-512-1",
    "forest": "1,000 trees of 63 leaves",
}


def workspace(
    model: str, rows: int, *, file_rows: int = FILE_ROWS, kind: str = "auto", more: str = ""
) -> Path:
    """A workspace of nightscore's with one day of `rows` rows and the job `model`; its data is made once.

    `more` are further lines of its job.yaml.
    """
    root = WORK / (f"{model}-{rows}" + ("" if file_rows == FILE_ROWS else f"-by-{file_rows}"))
    day = root / f"data/lake/rows/day={DAY}"
    if not day.exists():
        _write_rows(rows, day, file_rows)
    for name, text in _job_files(model, kind, more).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    trained = _model(model)
    (root / "data/models").mkdir(exist_ok=True)
    shutil.copyfile(trained, root / f"data/models/{model}.onnx")
    if model == "trees":  # for LightGBM's own predict
        shutil.copyfile(trained.with_suffix(".txt"), root / "data/models/trees.txt")
    return root


def files(root: Path) -> list[Path]:
    """The Parquet files of the day."""
    return sorted((root / f"data/lake/rows/day={DAY}").glob("*.parquet"))


def _job_files(model: str, kind: str, more: str) -> dict[str, str]:
    text = JOB.format(
        model=model, about=ABOUT[model], kind=kind, columns=", ".join(COLUMNS),
        output=OUTPUTS[model], more=more,
    )  # fmt: skip
    return {f"jobs/{model}/job.yaml": text}


def _write_rows(rows: int, day: Path, file_rows: int) -> None:
    """An int64 key and 40 float32 columns, in files of so many rows and row groups of 250,000 at the most.

    Without dictionaries, as most writers store floats that hardly repeat; with them (pyarrow's default up to
    a million bytes of values) the files are half as large again, and everybody reads them at half the speed.
    """
    making = day.with_name(f".{day.name}")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    schema = pa.schema([("id", pa.int64()), *((name, pa.float32()) for name in COLUMNS)])
    rng = np.random.default_rng(0)
    for number, first in enumerate(range(0, rows, file_rows)):
        with pq.ParquetWriter(
            making / f"part-{number}.parquet", schema, compression="zstd", use_dictionary=False
        ) as writer:
            last = min(first + file_rows, rows)
            for start in range(first, last, GROUP_ROWS):
                count = min(GROUP_ROWS, last - start)
                arrays = [pa.array(np.arange(start, start + count))]
                arrays += [pa.array(rng.standard_normal(count, dtype=np.float32)) for _ in COLUMNS]
                writer.write_table(pa.Table.from_arrays(arrays, schema=schema), row_group_size=GROUP_ROWS)
    making.rename(day)


def _model(model: str) -> Path:
    path = WORK / "models" / f"{model}.onnx"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        if model in TREES:
            _write_trees(path, TREES[model])
        else:
            _write_network(path, LAYERS[model])
    return path


def _write_network(path: Path, layers: tuple[int, int]) -> None:
    """A multilayer perceptron with seeded weights, as exporters write it (Gemm, Relu)."""
    rng = np.random.default_rng(1)
    sizes = [(len(COLUMNS), layers[0]), layers, (layers[1], 1)]
    weights, nodes, value = [], [], "X"
    for i, size in enumerate(sizes):
        last = i == len(sizes) - 1
        scaled = (rng.standard_normal(size) / np.sqrt(size[0])).astype(np.float32)
        weights += [numpy_helper.from_array(scaled, f"w{i}")]
        weights += [numpy_helper.from_array(rng.standard_normal(size[1]).astype(np.float32), f"b{i}")]
        nodes.append(helper.make_node("Gemm", [value, f"w{i}", f"b{i}"], ["y" if last else f"m{i}"]))
        if not last:
            nodes.append(helper.make_node("Relu", [f"m{i}"], [f"r{i}"]))
        value = f"r{i}"
    x = helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, len(COLUMNS)])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])
    graph = helper.make_graph(nodes, "mlp", [x], [y], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    helper.set_model_props(model, {"columns": json.dumps(COLUMNS)})
    onnx.save(model, path)


def _write_trees(path: Path, trees: int) -> None:
    """A LightGBM regressor of so many trees of 63 leaves: as LightGBM's text, and as ONNX."""
    import lightgbm as lgb
    from onnxmltools import convert_lightgbm
    from onnxmltools.convert.common.data_types import FloatTensorType

    x, y = _training_rows()
    model = lgb.LGBMRegressor(
        n_estimators=trees, num_leaves=63, learning_rate=0.05, deterministic=True, seed=0, verbose=-1
    )
    model.fit(x, y)
    model.booster_.save_model(path.with_suffix(".txt"))
    shape = [("X", FloatTensorType([None, len(COLUMNS)]))]
    path.write_bytes(convert_lightgbm(model, initial_types=shape, target_opset=15).SerializeToString())


def _training_rows() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    rng = np.random.default_rng(2)
    x = rng.standard_normal((TRAINED_ROWS, len(COLUMNS)), dtype=np.float32)
    y = x @ rng.normal(size=len(COLUMNS)) + 4 * np.sin(3 * x[:, 0]) + 3 * x[:, 1] * x[:, 2]
    return x, y + rng.normal(size=TRAINED_ROWS)
