"""The sample rows of the image template: real handwritten digits, as a scanner would give them.

They lie beside the templates in digits.parquet, a copy of the repository's data/sources/digits.parquet, whose
licences the workspace gets as data/DIGITS.md. The days are made: the source has none.
"""

import struct
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from nightscore.start.samples import cut_in_days, parquet, partition

DIGITS = Path(__file__).parent / "templates/digits.parquet"
EDGE = 8  # pixels of an image, in height and width
WHITE, STEP = 255, 15  # grey levels of bare paper, and of each of 16 steps of ink
KNOWN = 900  # images of which the digit is known, for training
SCANS_A_DAY = 299  # of the three days after them: 1,797 in all


def scans_files() -> dict[str, bytes]:
    """The lake of scans, and the digits that are known of the oldest day: path in the workspace -> Parquet.

    scans: scan_id int32, scan binary, a grey PNG of 8 x 8. digits: scan_id int32, digit int8. The last scan
    of the last day is cut off in the middle.
    """
    found = pq.read_table(DIGITS)
    ids = pa.array(range(1, len(found) + 1), pa.int32())
    images = [png(image) for image in found["image"].to_pylist()]
    images[-1] = images[-1][: len(images[-1]) // 2]
    scans = pa.table({"scan_id": ids, "scan": pa.array(images, pa.binary())})
    digits = pa.table({"scan_id": ids, "digit": found["digit"]})
    days = cut_in_days(scans, KNOWN, SCANS_A_DAY)
    lake = {partition("scans", day): parquet(rows) for day, rows in days.items()}
    return lake | {"data/lake/digits.parquet": parquet(digits[:KNOWN])}


def png(ink: bytes) -> bytes:
    """A grey PNG of an image of 64 bytes, from 0 (paper) to 16 (ink), row by row.

    Written here, for Pillow need not be installed; its rows are stored, not compressed.
    """
    grey = bytes(WHITE - STEP * one for one in ink)
    rows = b"".join(b"\0" + grey[start : start + EDGE] for start in range(0, len(grey), EDGE))
    head = struct.pack(">2I5B", EDGE, EDGE, 8, 0, 0, 0, 0)  # 8 bits, grey, not interlaced
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(rows, 0)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*part) for part in parts)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
