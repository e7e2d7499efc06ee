"""What a run of one day of a job has to do: pure values that cross processes. No data is read."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter

from nightscore.scorers import PLAIN_ONNX, Variant
from nightscore.store.documents.file_columns import FileColumns
from nightscore.store.documents.formats import FORMAT, refuse_later_format
from nightscore.store.documents.order import OwnPast

SHOWN_GAPS = 5  # in a line
NOT_HELD = "not held to training (no model.expected)"


@dataclass(frozen=True)
class InputFile:
    """One input file as it was when the run looked: `stat` is inode:size:mtime_ns.

    `fingerprint` is the sha256 of its size, its time of change and its footer (of a text file: its ends).
    `day` is the partition it lies in (ISO), or "" for a table without partitions. `groups` are the rows of
    each of its row groups; a text file has none, an image is one. `columns` are what is read of it; none
    where that is all, as it stands there. `snapshot` is that of the table of another engine which it is of.
    """

    path: str
    bytes: int
    stat: str
    fingerprint: str
    day: str
    groups: tuple[int, ...] = ()
    columns: FileColumns = ()
    snapshot: str = ""

    @property
    def rows(self) -> int:
        """Rows in the file."""
        return sum(self.groups)


@dataclass(frozen=True)
class DaysSeen:
    """Of the days of an input's lookback that are expected, how many it has; receipts hold it, too.

    `missing` are the others: a day, or `first/last` of neighbours, ISO 8601. `unknown` says why it isn't
    known which days are expected.
    """

    seen: int
    expected: int
    missing: tuple[str, ...] = ()
    unknown: str = ""

    def __str__(self) -> str:
        if self.unknown:
            return f"not known, which days are expected: {self.unknown}"
        listed = ", ".join(span.replace("/", " to ") for span in self.missing[:SHOWN_GAPS])
        more = f" and {len(self.missing) - SHOWN_GAPS} more gaps" if len(self.missing) > SHOWN_GAPS else ""
        return f"{self.seen} of {self.expected}" + (f", missing {listed}{more}" if listed else "")


@dataclass(frozen=True)
class RowRange:
    """Rows `start` (included) to `stop` (not included) of one Parquet file."""

    path: str
    start: int
    stop: int


@dataclass(frozen=True)
class Piece:
    """The unit of work: it becomes one staged file, whose name is `fingerprint`."""

    index: int
    ranges: tuple[RowRange, ...]
    fingerprint: str

    @property
    def rows(self) -> int:
        """Rows of the piece."""
        return sum(r.stop - r.start for r in self.ranges)


@dataclass(frozen=True)
class TriedVariant:
    """What came of trying a variant on the day's first rows; receipts hold it, too.

    `rows_per_second` with every core busy; `difference` is the largest between its scores and the plain
    variant's, relative to their size above 1, and -1 where they can't be compared; `refused` says why it
    can't be taken, if it can't.
    """

    variant: str
    rows_per_second: int = 0
    difference: float = 0.0
    refused: str = ""


@dataclass(frozen=True)
class TunedVariant:
    """The variant that a bake-off took, and its model file: of an engine the reference's own."""

    name: str
    technique: str
    path: str
    sha256: str


@dataclass(frozen=True)
class Canary:
    """How far the variant's scores are from the reference's, on rows from all over the day.

    Receipts hold it, too.
    """

    rows: int
    max_abs: float
    rank_correlation: float
    cosine: float


@dataclass(frozen=True)
class HeldToTraining:
    """That a model, and with `sql` the SQL, gives what training expects (`model.expected`); in receipts, too.

    `sha256` is of what the files are for and of their bytes, `files` path -> sha256. `rows` were compared;
    `difference` is the largest of a score, relative to its size above 1. `little` says why the files hold the
    job to little, if they do.
    """

    sha256: str
    files: Mapping[str, str]
    rows: int = 0
    difference: float = 0.0
    sql: bool = False
    little: str = ""

    def __str__(self) -> str:
        what = (
            "SQL and model are held to training"
            if self.sql
            else "the model is held to training, the SQL is not"
        )
        little = f". This holds little: {self.little}" if self.little else ""
        return (
            f"{self.rows:,} row{'' if self.rows == 1 else 's'}: {what}; at most {self.difference:.2g} away "
            f"({', '.join(self.files)}; sha256 {self.sha256[:16]}…){little}"
        )


@dataclass(frozen=True)
class FeatureParts:
    """That the features SQL is run in `parts` parts, from 0; `compared` is held to the whole query.

    `split_by` is the column by whose md5 they differ, "" where the SQL itself says what a part has.
    """

    parts: int
    compared: int
    split_by: str = ""


@dataclass(frozen=True)
class Restate:
    """That a published day is to be published again: why, and by whom. Both go into the receipt."""

    because: str
    by: str


@dataclass(frozen=True)
class LateVariant:
    """The variant that scores the pieces that are not scored yet, once the night is late."""

    variant: Variant
    chunk_rows: int
    tuned: TunedVariant
    canary: Canary | None = None


@dataclass(frozen=True)
class Ladder:
    """What the run goes on with when it is late (`overdue`). Moments: UTC, ISO 8601; "": no such rung.

    `deadline` is the day's; from `variant_from` on pieces are scored by `late`, from `carry_from` on the day
    before is published again. `missing` says of rungs of the job that can't be taken why, a sentence each.
    """

    deadline: str
    variant_from: str = ""
    carry_from: str = ""
    late: LateVariant | None = None
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Carry:
    """That the rows that run `run_id` has published for `day` are published as those of the plan's day.

    `why` says what kept the day from being there.
    """

    day: str
    run_id: str
    why: str


@dataclass(frozen=True)
class Challenger:
    """A model that scores the same rows, into columns that begin with its `name`, and decides nothing.

    `refused` says why it scores none of them, if it can't; `sha256` is empty where the file can't be read.
    """

    name: str
    path: str
    sha256: str = ""
    uri: str = ""
    refused: str = ""


@dataclass(frozen=True)
class Plan:
    """Everything that the steps after it need, as strings and numbers, so that it crosses processes.

    `fingerprint` names the day's causes: job, SQL, parameters, model, inputs, device. `run_number`
    rises from run to run of one day and decides between two that overlap. `seen` are the live files of
    the day's scores when the run began: it may replace these and no others. `variant` is how the model is
    computed, `why` it was chosen, `tried` what else there was. With status `unchanged`,
    `run_id` is the run that published what this one would; with `skipped` there is none. Of a replay,
    `replay_of` is the run whose rejects are scored again, and `carried` the rows of it that are not.
    `known_at` is the moment at which rows must have been known to be seen (UTC, ISO 8601), "" for all rows.
    `closes` is whether the day is closed once it is published; `restate` says that it is published again,
    instead of what the run `replaces` published. `tuned` is what a bake-off took to score it in the model's
    place, with its `canary`; `warning` says why it is not used. `model_uri` and `model_version` are those of
    a registry that named the model, `code` is the sha256 of the workspace's file or the package that brings
    the kind of scorer (empty for ours), and `promotion` says how it became champion (`promotions.py`).
    `hand_overs` is how often each table of the job had changed hands, where it had.
    `days_seen` are the inputs with a lookback, `ignored` what lies in an input's folders and is left out.
    `as_reported` are the inputs whose days are read as they were first published, each with those of its days
    that were published again since (ISO 8601). `widened` says of inputs whose files are not alike which
    columns are read in a wider type than a file's, or as null; `snapshots` which snapshot is read of each
    input that is a table of another engine. `degraded_inputs` says of those that are tables
    which of their days are degraded as they are read, and by which rung. `parts` is there where the
    features SQL is run in parts; `foreign` says of tables that it publishes or reads how their heads differ
    from their receipts.
    `job_texts` are the files of the job's folder that it was made from, for people: they decide nothing.
    `ladder` is what it goes on with when it is late; with status `carry` it publishes what `carry` says.
    `training` is what training expects of the model, where the job has its files.
    `own_past` are the inputs that are tables of the job itself. `made_by` is not kept: of the plan of one
    piece, what stands in the column of that name (default: full).
    """

    __pydantic_config__ = ConfigDict(extra="forbid")  # of its parts, too: no plan of a later version

    job: str
    day: str
    status: Literal["score", "unchanged", "skipped", "carry"]
    run_id: str = ""
    run_number: int = 0
    fingerprint: str = ""
    job_hash: str = ""
    key: tuple[str, ...] = ()
    model_path: str = ""
    model_sha256: str = ""
    model_uri: str = ""
    model_version: str = ""
    code: str = ""
    challengers: tuple[Challenger, ...] = ()
    promotion: Mapping[str, str] = dataclasses.field(default_factory=dict)
    device: str = ""
    variant: Variant = PLAIN_ONNX
    why: str = ""
    tried: tuple[TriedVariant, ...] = ()
    tuned: TunedVariant | None = None
    canary: Canary | None = None
    warning: str = ""
    params: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    inputs: Mapping[str, tuple[InputFile, ...]] = dataclasses.field(default_factory=dict)
    days_seen: Mapping[str, DaysSeen] = dataclasses.field(default_factory=dict)
    ignored: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    as_reported: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    widened: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    degraded_inputs: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    snapshots: Mapping[str, str] = dataclasses.field(default_factory=dict)
    sha256: Mapping[str, str] = dataclasses.field(default_factory=dict)
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    chunk_rows: int = 0
    limit: int | None = None
    replay_of: str = ""
    carried: int = 0
    known_at: str = ""
    closes: bool = False
    restate: Restate | None = None
    replaces: str = ""
    seen: tuple[str, ...] = ()
    hand_overs: Mapping[str, int] = dataclasses.field(default_factory=dict)
    pieces: tuple[Piece, ...] = ()
    started: float = 0.0
    seconds: Mapping[str, float] = dataclasses.field(default_factory=dict)
    cpu_seconds: Mapping[str, float] = dataclasses.field(default_factory=dict)
    peak_memory: int = 0
    reason: str = ""
    format: int = FORMAT
    parts: FeatureParts | None = None
    foreign: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    job_texts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    ladder: Ladder | None = None
    carry: Carry | None = None
    own_past: Mapping[str, OwnPast] = dataclasses.field(default_factory=dict)
    made_by: str = ""
    training: HeldToTraining | None = None

    @property
    def rows(self) -> int:
        """Rows to score."""
        return sum(piece.rows for piece in self.pieces)

    @property
    def day_rows(self) -> int:
        """Rows of the day: those to score, and those that a replay leaves as they are."""
        return self.rows + self.carried

    def to_json(self) -> str:
        """The plan as JSON text; `plan_from_json` reads it."""
        document = dataclasses.asdict(self)
        for name in (
            "parts",
            "foreign",
            "job_texts",
            "ladder",
            "carry",
            "own_past",
            "made_by",
            "training",
        ):  # so that a job without them has the plans that it had
            if not document[name]:
                del document[name]
        return json.dumps(document, sort_keys=True)


@functools.cache
def _reader() -> TypeAdapter[Plan]:
    return TypeAdapter(Plan)


def plan_from_json(text: str) -> Plan:
    """The plan that `Plan.to_json` wrote, here or in an earlier version.

    Raises:
        LaterFormat: a later version wrote it, and says so.
        ValueError: it is none, or has what a later version added.
    """
    document = json.loads(text)
    if isinstance(document, dict):
        refuse_later_format(document.get("format"))
    return _reader().validate_python(document)


def json_digest(*parts: Any) -> str:
    """The sha256, in hex, of some values as canonical JSON."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
