"""Files written again without somebody's rows, and receipts that say so: proven, and seen by nobody yet."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nightscore.common import Broken, file_sha256
from nightscore.lifecycle.erasure_highlights import without_highlights
from nightscore.lifecycle.erasure_keys import Mask, plain_type
from nightscore.pipeline import combine_key_hashes, key_hash_select, key_hash_text
from nightscore.store import (
    CatalogEntry,
    Engine,
    ErasedRows,
    Pinned,
    Place,
    Receipt,
    Tally,
    View,
    compute_table_proof,
    open_staged,
    query_resources,
    quote_identifier,
    tally_differences,
    tally_file,
    tally_rows,
    without_bounds,
    write_again,
    write_rows,
)

BOUNDS = {"minimum": None, "maximum": None}


@dataclass(frozen=True)
class Written:
    """A file that was written again: where it was, where it is, the rows that went, and what it holds now."""

    old: Place
    new: Place
    rows: int
    rows_left: int
    bytes: int
    modified: int  # ms, by the storage's clock
    sha256: str

    @property
    def numbers(self) -> dict[str, Any]:
        """What the record says of the new file."""
        names = ("rows_left", "bytes", "modified", "sha256")
        return {name: getattr(self, name) for name in names}


def write_without(old: Place, new: Place, mask: Mask, group_rows: int) -> Written:
    """Write a file again without some of its rows: the same columns, order and settings of the writer.

    Raises:
        Broken: it is damaged, or the counts of what was read back and of what went are not, together, those
            of before: rows, and of each column the nulls and the exact sum.
        NotYet: the disk is full.
    """
    before: dict[str, Tally] = {}
    gone: dict[str, Tally] = {}
    after: dict[str, Tally] = {}
    counts = {"read": 0, "gone": 0}

    def kept(file: pq.ParquetFile) -> Any:
        for read in file.iter_batches():
            batch = read.cast(schema)
            going = mask(batch)
            out = batch.filter(going)
            counts["read"] += batch.num_rows
            counts["gone"] += out.num_rows
            tally_rows(before, pa.Table.from_batches([batch]))
            tally_rows(gone, pa.Table.from_batches([out]))
            yield batch.filter(pc.invert(going))

    with open_staged(old.local(), str(old)) as file:
        schema = _plain(file.schema_arrow)
        write_again(new, kept(file), schema, group_rows)
    seen = new.look()
    if seen is None:
        raise Broken(f"{new}: was written, and is not there; nothing is erased")
    left = tally_file(new.local(seen), str(new), None, after)
    wrong = tally_differences(before, [gone, after])
    if wrong or left + counts["gone"] != counts["read"]:
        raise Broken(
            f"{old}: {counts['read']:,} rows are not {counts['gone']:,} that go and {left:,} read back"
            f"{f', by the counts of {chr(44).join(wrong)}' if wrong else ''}; nothing is erased"
        )
    modified = int(seen.modified * 1000)
    return Written(old, new, counts["gone"], left, seen.bytes, modified, file_sha256(new.local(seen)))


def _plain(schema: pa.Schema) -> pa.Schema:
    """A schema in types that have rows taken out of them: a file of ours has it already."""
    fields = [field.with_type(plain_type(field.type)) for field in schema]
    return pa.schema(fields, metadata=schema.metadata)


@dataclass(frozen=True)
class ReceiptChange:
    """The receipt of a run as it is to be: of each table the files that were written again."""

    state: Pinned
    entry: CatalogEntry
    tables: Mapping[str, Sequence[Written]]
    key_columns: Mapping[str, Sequence[str]]  # table -> the columns of the key that was erased
    note: Mapping[str, Any] = field(default_factory=dict)  # action, by, because, at
    moved: Collection[str] = ()  # the tables of which its restatement is not to tell sums
    shown: bool = False  # whether its highlights tell of rows that go

    def document(self, text: str) -> str:
        """The receipt as JSON text, with the numbers of what is left, from the files read back.

        Raises:
            Broken: a file is not what the receipt had the sha256 of, or what is left is not what it said less
                what went.
        """
        document = json.loads(text)
        receipt = self.entry.read_receipt()
        key = receipt.key_hash.columns
        written_as = {self.state.names.tables.current(name): name for name in document["tables"]}
        for table, name in written_as.items():
            told, own = document["tables"][name], {*key, *self.key_columns.get(table, ())}
            for column in own & (told.get("columns") or {}).keys():
                told["columns"][column] |= BOUNDS
        for table, written in self.tables.items():
            self._count(document, document["tables"][written_as[table]], receipt, table, written)
        restated = (document.get("restatement") or {}).get("tables", {})
        for name, change in restated.items():
            if self.state.names.tables.current(name) in self.moved:
                change["moved"] = {}
        document |= {"highlights": without_highlights(receipt, self.note)} if self.shown else {}
        erased = [
            ErasedRows(table=written_as[table], rows=sum(one.rows for one in written), **self.note)
            for table, written in self.tables.items()
        ]
        if erased:
            document["erased"] = [
                *document.get("erased", ()), *(one.model_dump(mode="json") for one in erased)
            ]  # fmt: skip
        said = json.dumps(document, ensure_ascii=False)
        Receipt.model_validate_json(said)
        return said

    def _count(
        self,
        document: dict[str, Any],
        told: dict[str, Any],
        receipt: Receipt,
        table: str,
        written: Sequence[Written],
    ) -> None:
        gone = sum(one.rows for one in written)
        files = self._files(table, written)
        proof = compute_table_proof([(place.local(), place.name) for place in files], self._of_run(receipt))
        if told.get("sha256"):
            self._refuse_others(table, written, told["sha256"])
            columns = without_bounds(
                proof.columns, {*receipt.key_hash.columns, *self.key_columns.get(table, ())}
            )
            told["sha256"] = list(proof.sha256)
            told["columns"] = {name: one.model_dump(mode="json") for name, one in columns.items()}
        if told["rows"] - gone != proof.rows:
            raise Broken(
                f"table {table} {self.entry.day}: {proof.rows:,} rows would be left, and the receipt of run "
                f"{self.entry.run_id} says {told['rows']:,}, of which {gone:,} go; nothing is erased. "
                "`nightscore verify` says what differs"
            )
        told["rows"], told["bytes"] = proof.rows, sum(place.local().stat().st_size for place in files)
        self._count_keys(document, receipt, table, files, gone)

    def _files(self, table: str, written: Sequence[Written]) -> list[Place]:
        """The files of the run's day of a table, as they are to be."""
        new = {one.old: one.new for one in written}
        return [new.get(file.path, file.path) for file in self.state.files_of(self.entry, table)]

    def _refuse_others(self, table: str, written: Sequence[Written], recorded: Sequence[str]) -> None:
        for one in written:
            if file_sha256(one.old.local()) not in recorded:
                raise Broken(
                    f"table {table} {self.entry.day}: {one.old.name} is not the file of which the "
                    f"receipt of run {self.entry.run_id} has the sha256; nothing is erased. "
                    "`nightscore verify` says how it differs; restore it from a backup, or run the day again"
                )

    def _of_run(self, receipt: Receipt) -> str | None:
        return None if receipt.accepted else receipt.run_id

    def _count_keys(
        self, document: dict[str, Any], receipt: Receipt, table: str, files: Sequence[Place], gone: int
    ) -> None:
        """The rows and key hash of the scores, or of the rejects, as they are to be."""
        rows, hashes = document["rows"], document["key_hash"]
        if table == next(iter(receipt.tables)):
            names, hash_name = ["read", "scored", "published"], "out"
        elif table == f"{receipt.job}_rejects":
            names, hash_name = ["read", "rejected"], "rejected"
        else:
            return
        for name in names:
            rows[name] -= gone
        if key := receipt.key_hash.columns:
            hashes[hash_name] = self._key_hash(
                table, files, key, "" if receipt.accepted else hashes[hash_name], gone
            )
            hashes["in"] = combine_key_hashes(*(hashes[n] for n in ("out", "rejected") if hashes.get(n)))

    def _key_hash(
        self, table: str, files: Sequence[Place], key: Sequence[str], recorded: str, gone: int
    ) -> str:
        """The key hash of what is left, which with that of what goes is the recorded one, if any."""
        old = [file.path.local() for file in self.state.files_of(self.entry, table)]
        views = [View("before", tuple(old)), View("rows", tuple(place.local() for place in files))]
        same = " AND ".join(f"b.{name} IS NOT DISTINCT FROM r.{name}" for name in map(quote_identifier, key))
        with Engine(views, query_resources(self.state.workspace)) as engine:
            left = engine.rows(key_hash_select("rows", key))[0]
            went = engine.rows(key_hash_select(f"(FROM before b ANTI JOIN rows r ON {same})", key))[0]
        after, out = (key_hash_text(int(lower), int(upper)) for _, lower, upper in (left, went))
        if recorded and (went[0] != gone or combine_key_hashes(after, out) != recorded):
            raise Broken(
                f"table {table} {self.entry.day}: the key hash {after} of what would be left and {out} of "
                f"the {went[0]:,} rows that go are not {recorded}, the receipt's; nothing is erased"
            )
        return after


def has_bounds(receipt: Receipt, keys: Mapping[str, set[str]]) -> bool:
    """Whether a receipt has one of some values as the least or the greatest of a key's column."""
    return any(
        name in result.columns and {result.columns[name].minimum, result.columns[name].maximum} & values
        for result in receipt.tables.values()
        for name, values in keys.items()
    )


def write_receipts(old: Place, new: Place, changes: Mapping[str, ReceiptChange]) -> Written:
    """Write a file of the table `receipts` again, with what some runs' receipts are to say.

    Raises:
        Broken: as `ReceiptChange.document`.
    """
    table = pq.read_table(old.local(), partitioning=None)
    rows = table.to_pylist()
    for row in rows:
        if change := changes.get(row["run_id"]):
            row["receipt"] = change.document(row["receipt"])
            row["key_hash"] = json.loads(row["receipt"])["key_hash"]["out"]
    return written_rows(old, new, rows, table.schema)


def written_rows(old: Place, new: Place, rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> Written:
    """Rows of a table of ours written as the file that stands in the place of another: as many as before."""
    write_rows(new, pa.Table.from_pylist([*rows], schema))
    seen = new.look()
    if seen is None:
        raise Broken(f"{new}: was written, and is not there; nothing is erased")
    modified = int(seen.modified * 1000)
    return Written(old, new, 0, len(rows), seen.bytes, modified, file_sha256(new.local(seen)))
