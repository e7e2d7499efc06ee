"""What a Parquet file of `data/` says of itself, of which no more is fetched from a bucket than its end."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from nightscore.store.storage import Place, Seen

TAIL = 64 << 10  # bytes that are asked for at once: most footers are shorter
END = 8  # bytes behind a footer: its length, and PAR1


@dataclass(frozen=True)
class Footer:
    """A file's footer, and the look by which it was found."""

    place: Place
    seen: Seen
    metadata: pq.FileMetaData

    @property
    def rows(self) -> int:
        """The rows that the file has."""
        return int(self.metadata.num_rows)

    @property
    def schema(self) -> pa.Schema:
        """Its columns."""
        return self.metadata.schema.to_arrow_schema()


def read_footer(place: Place) -> Footer:
    """The footer of a file as it is now.

    Raises:
        FileNotFoundError: there is no such file.
        NotYet: it was replaced meanwhile.
        pyarrow.ArrowException: it is no Parquet file, or its footer is damaged.
    """
    seen = place.look()
    if seen is None:
        raise FileNotFoundError(2, "there is no such file", str(place))
    end = place.storage.tail(seen, TAIL)
    length = int.from_bytes(end[-END:-4], "little") + END
    if len(end) < length <= seen.bytes:
        end = place.storage.tail(seen, length)
    return Footer(place, seen, pq.read_metadata(pa.BufferReader(end)))
