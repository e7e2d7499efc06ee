"""Make the file of handwritten digits that nightscore uses, from scikit-learn.

    python data/sources/digits.py      # with the extra [train]

data/sources/digits.parquet: the 1,797 images of `sklearn.datasets.load_digits`, in its order: 8 x 8 numbers
from 0 (paper) to 16 (ink) as 64 bytes, row by row, and the digit that the writer was asked for. Every
image is kept. What was read (package, version, licence, file, sha256) stands in its metadata, under `source`.
"""

import hashlib
import json
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.datasets import load_digits

TARGET = Path(__file__).resolve().parents[2] / "data/sources/digits.parquet"
FILE = "datasets/data/digits.csv.gz"


def main() -> None:
    """Write the file."""
    found = load_digits()
    images = found.images.astype("uint8")
    if not (images == found.images).all():
        raise ValueError("the images have values that are no bytes")
    data = files("sklearn").joinpath(FILE).read_bytes()
    source = {
        "package": "scikit-learn", "version": version("scikit-learn"), "licence": "BSD-3-Clause",
        "file": FILE, "sha256": hashlib.sha256(data).hexdigest(),
        "origin": "E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits, UCI, 1998, CC BY 4.0",
    }  # fmt: skip
    table = pa.table(
        {
            "image": pa.array([image.tobytes() for image in images], pa.binary()),
            "digit": pa.array(found.target, pa.int8()),
        }
    )
    pq.write_table(table.replace_schema_metadata({"source": json.dumps(source)}), TARGET, compression="zstd")
    print(f"{TARGET.name}: {table.num_rows:,} images, {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
