"""Train the classifier of handwritten digits: which digit an image of 8 x 8 shows.

    python data/models/vision/train_digits.py      # a minute; with the extra [train]

A network of two hidden layers on the days 2024-01-01 to 2024-01-04, each image also moved by one pixel in the
four directions. The two days after are for the figures of the card; nothing was chosen by them. What stays,
beside this script, is digits.onnx, digits_expected.parquet, digits_metrics.json and digits_card.md.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pyarrow.parquet as pq
from onnx import TensorProto, helper, numpy_helper
from sklearn.metrics import log_loss
from sklearn.neural_network import MLPClassifier

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))  # the root, for data.lakes

from data.lakes.digits import DAYS, LAKE, write_lake
from data.models.expected import write_expected

HERE = Path(__file__).resolve().parent
HELD_OUT = DAYS[4:]
INK = 16.0  # the most of a pixel
LAYERS = (128, 64)
SURE, DOUBTFUL = 0.95, 0.6  # as the job has it

Numbers = npt.NDArray[Any]


def main() -> int:
    """Train, export, evaluate and write; returns the exit code."""
    with tempfile.TemporaryDirectory(prefix="nightscore-train-") as folder:
        write_lake(Path(folder))
        days = {day: read(Path(folder) / LAKE, str(day)) for day in DAYS}
    images, labels = (np.concatenate([days[day][i] for day in DAYS if day not in HELD_OUT]) for i in (0, 1))
    moved = [images, *(shifted(images, axis, step) for axis in (1, 2) for step in (-1, 1))]
    network = MLPClassifier(LAYERS, alpha=1e-3, max_iter=200, random_state=1)
    network.fit(np.concatenate(moved).reshape(-1, 64) / INK, np.tile(labels, len(moved)))
    model = to_onnx(network)
    (HERE / "digits.onnx").write_bytes(model.SerializeToString())
    expect(network, days[HELD_OUT[0]][0])
    found = {str(day): evaluate(network, *days[day]) for day in HELD_OUT}
    metrics = {"training_images": len(images), "held_out": found}
    (HERE / "digits_metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
    (HERE / "digits_card.md").write_text(card(metrics, (HERE / "digits.onnx").stat().st_size))
    return 0


def expect(network: MLPClassifier, images: Numbers) -> None:
    """Write what scikit-learn gives the images of a day, one of bare paper and one of ink alone."""
    some = np.concatenate([images[:200], np.zeros((1, 8, 8)), np.full((1, 8, 8), INK)]).reshape(-1, 64)
    given = {"image": [row.astype(np.uint8).tobytes() for row in some]}
    scores = {"probabilities": network.predict_proba(some / INK).tolist()}
    write_expected(HERE / "digits_expected.parquet", given, scores)


def read(lake: Path, day: str) -> tuple[Numbers, Numbers]:
    """A day's images [n, 8, 8] and digits [n]."""
    images, labels = (
        pq.read_table(lake / name / f"day={day}" / "part-0.parquet", partitioning=None)
        for name in ("images", "labels")
    )
    pixels = np.frombuffer(b"".join(images["image"].to_pylist()), np.uint8).reshape(-1, 8, 8)
    return pixels.astype(np.float64), labels["digit"].to_numpy()


def shifted(images: Numbers, axis: int, step: int) -> Numbers:
    """Images moved by a pixel, with paper where they were."""
    found = np.roll(images, step, axis=axis)
    edge: list[Any] = [slice(None)] * 3
    edge[axis] = 0 if step > 0 else -1
    found[tuple(edge)] = 0
    return found


def to_onnx(network: MLPClassifier) -> onnx.ModelProto:
    """Bytes [n, 8, 8] -> probabilities [n, 10]."""
    weights = {"ink": np.array(INK, np.float32)}
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["pixels"], ["flat"]),
        helper.make_node("Div", ["flat", "ink"], ["layer_0"]),
    ]
    last = len(network.coefs_) - 1
    for i, (weight, bias) in enumerate(zip(network.coefs_, network.intercepts_, strict=True)):
        weights |= {f"weight_{i}": weight.astype(np.float32), f"bias_{i}": bias.astype(np.float32)}
        nodes.append(helper.make_node("Gemm", [f"layer_{i}", f"weight_{i}", f"bias_{i}"], [f"sum_{i}"]))
        ends = ("Softmax", "probabilities") if i == last else ("Relu", f"layer_{i + 1}")
        nodes.append(helper.make_node(ends[0], [f"sum_{i}"], [ends[1]]))
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["rows", 8, 8])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["rows", 10])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 9
    onnx.checker.check_model(made, full_check=True)
    return made


def evaluate(network: MLPClassifier, images: Numbers, labels: Numbers) -> dict[str, float]:
    """How good the network is on a day, and how much of it a person would see."""
    given = network.predict_proba(images.reshape(-1, 64) / INK)
    right, confidence = given.argmax(axis=1) == labels, given.max(axis=1)
    return {
        "images": len(labels),
        "accuracy": round(float(right.mean()), 4),
        "log_loss": round(float(log_loss(labels, given, labels=range(10))), 4),
        "seen_by_nobody": round(float((confidence >= SURE).mean()), 4),
        "accuracy_of_those": round(float(right[confidence >= SURE].mean()), 4),
        "seen_by_two": round(float((confidence < DOUBTFUL).mean()), 4),
    }


def card(metrics: dict[str, Any], size: int) -> str:
    """The model card."""
    rows = [
        f"| {day} | {one['images']} | {one['accuracy']:.2%} | {one['log_loss']:.3f} "
        f"| {one['seen_by_nobody']:.1%} | {one['accuracy_of_those']:.2%} | {one['seen_by_two']:.1%} |"
        for day, one in metrics["held_out"].items()
    ]
    return f"""# Handwritten digits

Which digit an image of 8 x 8 pixels shows. Written by `train_digits.py`; the figures are those of
`digits_metrics.json`.

- **For**: the job `digits`, which shows how images are scored that lie in Parquet as bytes.
- **Model**: a network of two hidden layers, {LAYERS[0]} and {LAYERS[1]}, 64 bytes in, ten probabilities out.
  ONNX in float32, {size:,} bytes.
- **Trained on** {metrics["training_images"]:,} images of four days, each also moved by one pixel in the four
  directions.
- **Data**: scikit-learn's digits, 1998, see `data/README.md`. Its days are made.
- **Not for**: any other images.

## How good it is

Two days that training did not see, and by which nothing was chosen. *Nobody* are the images with a
probability of {SURE} or more, which no person sees; *two* are those below {DOUBTFUL}, which two people do.

| day | images | right | log loss | nobody | right of those | two |
|---|---|---|---|---|---|---|
{chr(10).join(rows)}

Writers are not named in the data, so the same hand may be in training and in these days.
"""


if __name__ == "__main__":
    sys.exit(main())
