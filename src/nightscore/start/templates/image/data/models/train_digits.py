"""Train the model of the job digits: `python data/models/train_digits.py`.

It needs `pip install "nightscore[train,image]"`.

A network with one hidden layer, on the scans of which the digit is known. Pillow gives the pixels as
`model.image` of the job says them, and scikit-learn what some scans score, to which `check` and each night
hold the job.
"""

import io
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from sklearn.neural_network import MLPClassifier

HERE = Path(__file__).parent
LAKE = HERE.parents[1] / "data/lake"
DAY = "2025-10-01"  # of which the digits are known
HELD_OUT = 200  # scans at its end that the network is measured by
EXPECTED = 100  # of them that are kept with their scores

scans = pq.read_table(LAKE / f"scans/day={DAY}/scans.parquet", partitioning=None).sort_by("scan_id")
known = pq.read_table(LAKE / "digits.parquet").sort_by("scan_id")
assert scans["scan_id"].equals(known["scan_id"])
files, digits = scans["scan"].to_pylist(), known["digit"].to_numpy()
pixels = np.stack([np.asarray(Image.open(io.BytesIO(file)).convert("L"), np.float32) / 255 for file in files])
flat = pixels.reshape(len(pixels), -1)

network = MLPClassifier((32,), alpha=1e-2, max_iter=1_000, random_state=1)
network.fit(flat[:-HELD_OUT], digits[:-HELD_OUT])
print(f"{network.score(flat[-HELD_OUT:], digits[-HELD_OUT:]):.1%} of {HELD_OUT} other scans are read right")

(first, second), (bias, last_bias) = network.coefs_, network.intercepts_
weights = {"first": first, "bias": bias, "second": second, "last_bias": last_bias}
graph = helper.make_graph(
    [
        helper.make_node("Flatten", ["pixels"], ["flat"]),
        helper.make_node("Gemm", ["flat", "first", "bias"], ["sums"]),
        helper.make_node("Relu", ["sums"], ["hidden"]),
        helper.make_node("Gemm", ["hidden", "second", "last_bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
    ],
    "digits",
    [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["rows", 8, 8])],
    [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["rows", 10])],
    [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
onnx.checker.check_model(model, full_check=True)
onnx.save(model, HERE / "digits.onnx")

given = network.predict_proba(flat[-EXPECTED:]).tolist()
pq.write_table(
    pa.table({"scan": files[-EXPECTED:], "probabilities": given}),
    HERE / "digits_expected.parquet",
    compression="zstd",
)
