"""The receipt of a published day: what was read, scored, rejected and published, and the proof.

It holds the lineage (provenance) of the day: its input files, model, code, parameters and library versions.

Its counts and hashes are computed by reading the staged files back and the source again, not from
counters that were kept while scoring.
"""

import datetime as dt
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer, model_validator

from nightscore.store.documents.formats import refuse_later_format
from nightscore.store.documents.highlights import HighlightResult
from nightscore.store.documents.order import OutOfOrder
from nightscore.store.documents.plan import Canary, DaysSeen, HeldToTraining, TriedVariant

RARE = (  # fields that most receipts have not
    "parts", "highlights", "accepted", "foreign", "erased", "came_back", "slower", "degraded",
    "degraded_inputs", "macros", "accounts", "out_of_order", "training",
)  # fmt: skip
Status = Literal["published", "unchanged", "skipped", "preview", "held", "unreadable"]


class Part(BaseModel):
    """A part of a receipt. Readers of an older version ignore what a newer one added."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class RowCounts(Part):
    """read = scored + rejected; published are the rows of the scores table."""

    read: int = 0
    scored: int = 0
    rejected: int = 0
    published: int = 0


class ColumnProof(Part):
    """What a column of the day holds. Numbers are texts, exact in every reader; of texts only nulls count.

    A sum is exact, rounded once where it is one of floating-point numbers; NaN and infinities are in no
    bound, and an infinity makes the sum infinite. Columns of the job's key have no bounds: the least and the
    greatest of a key are somebody's.
    """

    nulls: int = 0
    nans: int = 0
    sum: str | None = None
    minimum: str | None = None
    maximum: str | None = None


class TableResult(Part):
    """What one table holds of the day, and the table's version from which on it does.

    `sha256` are those of its files, in order; `columns` are counted from the files, read back.
    """

    rows: int
    files: int
    bytes: int
    version: int | None = None
    sha256: tuple[str, ...] = ()
    columns: Mapping[str, ColumnProof] = {}


class KeyHash(Part):
    """The sum over all rows of a 128-bit hash of the key, in hex: of the source, the scores, the rejects.

    `in` is the sum of the other two, each half modulo 2**64.
    """

    in_: str = ""
    out: str = ""
    rejected: str = ""
    columns: tuple[str, ...] = ()

    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=lambda n: n.rstrip("_"), populate_by_name=True
    )


class ModelResult(Part):
    """The model that scored; `uri`, `version`: of a registry; `code`: sha256 of a kind that is not ours."""

    path: str
    sha256: str
    uri: str = ""
    version: str = ""
    code: str = ""


class ChallengerResult(Part):
    """A model that scored the same rows into columns of its own, `<name>__<output>`, and decided nothing.

    `rows` have its scores: counted from the files, read back. `reason` says why others have none, and why
    there are none at all; of several reasons the first. `cpu_seconds` are those of this attempt's threads.
    """

    name: str
    path: str
    sha256: str
    uri: str = ""
    rows: int = 0
    cpu_seconds: float = 0.0
    reason: str = ""

    def __str__(self) -> str:
        why = f"; {self.reason}" if self.reason else ""
        return f"{self.path}: {self.rows:,} rows, {self.cpu_seconds:.2f} CPU seconds{why}"


class Promotion(Part):
    """How the model that scored became the job's champion: who promoted it, when, why, and what it replaced.

    `verdict` is what `nightscore judge` said of it then: PROMOTE, HOLD or REJECT, or why it said nothing.
    """

    model: str
    sha256: str
    instead_of: str
    instead_of_sha256: str
    by: str
    because: str
    at: dt.datetime
    verdict: str

    def __str__(self) -> str:
        why = f": {self.because}" if self.because else ""
        return (
            f"{self.model} instead of {self.instead_of}, by {self.by} at {self.at:%Y-%m-%d %H:%M} UTC, "
            f"verdict {self.verdict}{why}"
        )


class VariantResult(Part):
    """How the model was computed: its kind, device and threads a piece, the rows of a chunk, and why so.

    Where a bake-off took it: its `name`, `technique`, the `path` and `sha256` of the file that scored in the
    model's place, and its canary.
    """

    kind: str
    device: str
    threads: int
    chunk_rows: int
    why: str = ""
    name: str = ""
    technique: str = ""
    path: str = ""
    sha256: str = ""
    canary: Canary | None = None


class Cost(Part):
    """What a run took: CPU seconds by stage and per million rows scored, and bytes.

    CPU seconds of scoring are those of the pieces' own threads, of all processes, but only of this attempt.
    Peak memory is that of the largest process. Bytes are those of the files that were read (each input's,
    once) and of the table files that were written.
    """

    cpu_seconds: Mapping[str, float] = {}
    cpu_seconds_per_million_rows: float = 0.0
    peak_memory_bytes: int = 0
    bytes_read: int = 0
    bytes_written: int = 0


class InputResult(Part):
    """One file that was read, with the fingerprint that held before and after.

    `sha256` is there where the job's verify_inputs is sha256: that of all its bytes, before and after.
    """

    path: str
    bytes: int
    fingerprint: str
    sha256: str = ""


class AuditResult(Part):
    """One audit's outcome; `detail` says what was measured, or why SQL of the job's own has not passed."""

    name: str
    passed: bool
    severity: Literal["fail", "warn"]
    detail: str = ""


class RejectResult(Part):
    """Rows that were set aside for one reason, and in which stage: features, score or outputs."""

    stage: str
    reason: str
    rows: int


class ScoreSample(Part):
    """Rows that were scored again one by one, and whose staged scores are the same, looked up by key.

    `by` says what scored them: the reference's variant, or the name of the bake-off's; `difference` is the
    largest of a score, relative to its size above 1, within scoring.tolerance or what rounding explains.
    """

    rows: int
    by: str
    difference: float = 0.0

    def __str__(self) -> str:
        return f"{self.rows:,} rows scored again alone by {self.by}: at most {self.difference:.2g} away"


class PartsResult(Part):
    """That the features were made in `parts` parts, of which one was held to the whole query, row by row.

    `split_by` is the column by whose md5 they differ, "" where the SQL itself says what a part has;
    `compared` is the part's number, from 0, with its `rows`; `cpu_seconds` are those of the whole query. Rows
    and key hash of all parts together are those of the whole query.
    """

    parts: int
    split_by: str
    compared: int
    rows: int
    cpu_seconds: float = 0.0

    def __str__(self) -> str:
        by = f" by {self.split_by}" if self.split_by else ""
        return (
            f"{self.parts:,} parts{by}: together the keys of the whole query; the {self.rows:,} rows of part "
            f"{self.compared} are, row by row, those of it"
        )


class Accounts(Part):
    """That each of the `rows` of `input`, known by `key`, has ended in exactly one of some tables.

    `tables` are those: name -> how many of them ended there.
    """

    input: str
    key: tuple[str, ...]
    rows: int
    tables: Mapping[str, int]

    def __str__(self) -> str:
        ends = ", ".join(f"{rows:,} in {table}" for table, rows in self.tables.items())
        return f"of {self.rows:,} rows of {self.input} each ended in one table: {ends}"


class ReplayResult(Part):
    """Rejects of an earlier run that were scored again; its other rows were carried over, as they were.

    `run_id` is that run, `model_sha256` the model of its rows; `rows` were read again, the rest were carried.
    """

    run_id: str
    model_sha256: str
    rows: int
    carried: int


class Release(Part):
    """Who published a day that an audit had held, and why."""

    by: str
    because: str
    at: dt.datetime


class Accepted(Part):
    """That a day of a `table` was taken as another engine had left it: by whom, when and why.

    `of` is the run that published it before, "" where no receipt named the day; `was` says what differed,
    `commits` are the other engine's. Its files are the other engine's, too, and so are the runs in its rows.
    """

    table: str
    of: str
    was: str
    by: str
    because: str
    at: dt.datetime
    commits: tuple[str, ...] = ()

    def __str__(self) -> str:
        return (
            f"{self.table} as it was left ({self.was}; {'; '.join(self.commits)}), by {self.by} at "
            f"{self.at:%Y-%m-%d %H:%M} UTC: {self.because}"
        )


class ErasedRows(Part):
    """That rows of a `table` of the day were erased since: how many, when, why and by whom.

    The receipt's numbers of the table are those without them.
    """

    action: str
    table: str
    rows: int
    by: str
    because: str
    at: dt.datetime

    def __str__(self) -> str:
        rows = f"{self.rows:,} row{'' if self.rows == 1 else 's'}"
        return f"{self.table}: {rows} erased on {self.at:%Y-%m-%d} ({self.because})"


class RungResult(Part):
    """How many rows of the scores one rung of the job's `overdue` has made; `made_by` as in their column."""

    made_by: str
    rows: int


class Degraded(Part):
    """That the night was late, and went on with another rung of the job's `overdue`.

    `rungs` are all that made rows of the scores, those of every night (`full`) among them. `since` is from
    when on it did so, `deadline` by when the day was due, and `why` what kept it from being made as every
    night. Of a day that was carried forward, `carried_from` is the day and `carried_run` the run whose rows
    it has: their proof is in that one's receipt. `variant` is how the rows of that rung were computed.
    """

    rungs: tuple[RungResult, ...]
    since: dt.datetime
    deadline: dt.datetime
    why: str
    carried_from: str = ""
    carried_run: str = ""
    variant: VariantResult | None = None

    def __str__(self) -> str:
        made = ", ".join(f"{rung.rows:,} rows {rung.made_by}" for rung in self.rungs) or "no rows"
        return f"{made}; since {self.since:%Y-%m-%d %H:%M} UTC (due by {self.deadline:%H:%M} UTC): {self.why}"


class TableChange(Part):
    """How a restated table differs from the one that it replaces.

    Rows are matched by the job's key where the table has it (`table_diff`). `moved` says by how much the sum
    of each column of numbers but the key's has changed: exactly the difference of the sums in the receipts.
    """

    rows_before: int
    rows_after: int
    changed: int = 0
    added: int = 0
    removed: int = 0
    moved: Mapping[str, str] = {}


class Restatement(Part):
    """That a published day was published again.

    `number` counts its restatements, from 1; `because` and `by` say why and by whom; `replaces` is the run
    whose tables were replaced.
    """

    number: int
    because: str
    by: str
    at: dt.datetime
    replaces: str
    tables: Mapping[str, TableChange]


class Receipt(Part):
    """What one run of one day did. Times are UTC, `seconds` are wall-clock by stage.

    `format`: `store/documents/formats.py`. Of one that can't be read there is the status `unreadable`, and a
    reason.

    `value_lost` has, by column, the rows that were scored with the nearest value that the model's type holds.
    `closed` says that the day is closed with it: only a restatement publishes it again. Rows that became
    known after `known_at` were not seen; "": all rows were. `days_seen` are the inputs with a lookback,
    `ignored` what lay in an input's folders and was left out, because the job says so; `as_reported` those
    whose days were read as first published, with the days that had been published again by then; `widened`
    those whose files were not alike, with the columns that were read in a wider type, or as null;
    `snapshots` which snapshot was read of each table of another engine. `sql` is
    `approximate` where the job says that its bytes may depend on memory, threads and the layout of files.
    `highlights` are those of the job, as they were when the day was published. `parts` is there where the
    features SQL was run in parts, `accepted` where a person took a table as
    another engine had left it, `foreign` where a table of the run, or one that it read, was not as its
    receipts say when it began (table -> what differed), `erased` where rows were erased of it since,
    `came_back` where keys that had been erased stand in its tables again, `slower` where stages took
    longer than the nights before, `macros` where SQL calls some (name -> sha256 of what it stands for),
    `accounts` where the job says where each of its rows ends, `degraded` where it was late and not made as
    every night, `degraded_inputs` where a table that it read had such days, `out_of_order` where days
    that follow from it were there before it, and `training` where the model was held to the scores that
    training expects. These are not written where they are not there.
    """

    job: str
    day: str
    run_id: str
    status: Status
    rows: RowCounts = RowCounts()
    tables: Mapping[str, TableResult] = {}
    key_hash: KeyHash = KeyHash()
    model: ModelResult | None = None
    challengers: tuple[ChallengerResult, ...] = ()
    promotion: Promotion | None = None
    inputs: tuple[InputResult, ...] = ()
    days_seen: Mapping[str, DaysSeen] = {}
    ignored: Mapping[str, tuple[str, ...]] = {}
    as_reported: Mapping[str, tuple[str, ...]] = {}
    widened: Mapping[str, tuple[str, ...]] = {}
    snapshots: Mapping[str, str] = {}
    params: Mapping[str, int | float | str | bool | None] = {}
    seconds: Mapping[str, float] = {}
    cost: Cost = Cost()
    rows_per_second: int = 0
    device: str = ""
    variant: VariantResult | None = None
    tried: tuple[TriedVariant, ...] = ()
    audits: tuple[AuditResult, ...] = ()
    rejects: tuple[RejectResult, ...] = ()
    value_lost: Mapping[str, int] = {}
    released: Release | None = None
    score_sample: ScoreSample | None = None
    parts: PartsResult | None = None
    highlights: tuple[HighlightResult, ...] = ()
    replayed: ReplayResult | None = None
    closed: bool = False
    known_at: str = ""
    sql: str = ""
    restatement: Restatement | None = None
    accepted: Accepted | None = None
    foreign: Mapping[str, tuple[str, ...]] = {}
    erased: tuple[ErasedRows, ...] = ()
    came_back: tuple[str, ...] = ()
    slower: tuple[str, ...] = ()
    macros: Mapping[str, str] = {}
    accounts: Accounts | None = None
    degraded: Degraded | None = None
    out_of_order: OutOfOrder | None = None
    degraded_inputs: Mapping[str, tuple[str, ...]] = {}
    training: HeldToTraining | None = None
    reason: str = ""
    preview: tuple[Mapping[str, Any], ...] = ()
    run_number: int = 0
    fingerprint: str = ""
    job_hash: str = ""
    chunk_rows: int = 0
    started_at: dt.datetime | None = None
    published_at: dt.datetime | None = None
    versions: Mapping[str, str] = {}
    hardware: Mapping[str, str | int] = {}
    format: int = 1

    @model_validator(mode="before")
    @classmethod
    def _is_of_a_format_known_here(cls, document: Any) -> Any:
        # Before anything else is read: LaterFormat is no ValueError, so that pydantic lets it through.
        if isinstance(document, dict):
            refuse_later_format(document.get("format"))
        return document

    @model_serializer(mode="wrap")
    def _without_what_is_not_there(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        document: dict[str, Any] = whole(self)
        for name in RARE:  # so that a job without them has the receipts that it had
            if not getattr(self, name):
                document.pop(name, None)
        return document

    def to_json(self, indent: int | None = None) -> str:
        """The receipt as JSON text; `Receipt.model_validate_json` reads it."""
        return self.model_dump_json(by_alias=True, indent=indent)
