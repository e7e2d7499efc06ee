"""A file in a root that may be written: whole, and with its manifest, if it has one, last.

1. The file is written on this machine, and read back: its rows are counted.
2. The manifest that is there of the path goes.
3. The file takes the place of the one that is there: at once, by a rename, or as one object of a bucket.
4. The manifest is written, which names the file's sha256.

So where a manifest is, its file is whole. Who has read a manifest before 2. and the file after 3. finds
another sha256 than the manifest says, and reads both again.
"""

import json
from dataclasses import dataclass

import pyarrow as pa

from nightscore.common import Broken, Workspace, file_sha256
from nightscore.delivery.contract import Parcel, Sent
from nightscore.delivery.formats import schema_of, write_file
from nightscore.delivery.read_back import count_rows
from nightscore.job import Files
from nightscore.store import Place, outgoing

MANIFEST = ".manifest.json"


@dataclass(frozen=True)
class FilesChannel:
    """A delivery of the kind `files`; see `Channel` for what each method promises.

    The lock of the delivery keeps two runs of a day from writing at once (`store/records/deliveries.py`).
    """

    settings: Files
    workspace: Workspace

    @property
    def target(self) -> str:
        """The root's name and the path, as job.yaml has it."""
        return self.settings.target

    def check(self, schema: pa.Schema) -> str:  # noqa: ARG002 - each column has a form
        """Hold the root to what may be written."""
        outgoing.writable_root(self.workspace, self.settings.root)
        if self.settings.format == "parquet" and self._is_zipped:
            raise Broken("path: a Parquet file is packed in itself; leave .gz away")
        return ""

    def deliver(self, parcel: Parcel, *, again: bool = False) -> Sent:  # noqa: ARG002 - it is written anyhow
        """Write the file, and its manifest."""
        self.check(parcel.schema)
        place = self._place(parcel)
        with outgoing.being_written() as file:
            write_file(parcel, file, self.settings.format, zipped=self._is_zipped)
            rows = count_rows(file, self.settings.format, zipped=self._is_zipped)
            if rows != parcel.rows:
                raise Broken(
                    f"{self.target}: {rows:,} rows were written, and {parcel.rows:,} are published; nothing "
                    "is delivered"
                )
            sha256 = file_sha256(file)
            size = file.stat().st_size
            outgoing.remove(place, MANIFEST)
            outgoing.put_file(place, file)
        if self.settings.manifest:
            outgoing.put_text(place, MANIFEST, self._manifest(parcel, place.name, sha256, size))
        return Sent(rows, detail={"path": place.key, "sha256": sha256, "bytes": str(size)})

    def withdraw(self, parcel: Parcel, before: Parcel | None) -> Sent:
        """The file of an earlier run takes its place again; or manifest and file go."""
        place = self._place(parcel)
        if before is not None:
            sent = self.deliver(before)
            if self._place(before).key == place.key:
                return sent
        else:
            sent = Sent(0)
        outgoing.remove(place, MANIFEST)
        outgoing.remove(place, "")
        return sent

    @property
    def _is_zipped(self) -> bool:
        return self.settings.path.endswith(".gz")

    def _place(self, parcel: Parcel) -> Place:
        path = self.settings.path.format(
            day=parcel.day.isoformat(), job=parcel.job, table=parcel.table, run=parcel.run_id
        )
        return outgoing.outgoing_place(self.workspace, self.settings.root, path)

    def _manifest(self, parcel: Parcel, name: str, sha256: str, size: int) -> str:
        columns = [{"name": c.name, "type": str(c.type)} for c in schema_of(parcel)]
        content = {
            "file": name, "job": parcel.job, "table": parcel.table, "day": parcel.day.isoformat(),
            "run_id": parcel.run_id, "run_number": parcel.run_number, "format": self.settings.format,
            "rows": parcel.rows, "bytes": size, "sha256": sha256, "columns": columns,
        }  # fmt: skip
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
