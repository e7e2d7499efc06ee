"""Rejects: rows that are set aside in a file of their own, with the reason (quarantine, a dead letter table).

More of them than the job's budget allows end the run.
"""

import contextlib
import json
import math
from collections import Counter
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nightscore.common import Broken, kept_text, key_text, value_text
from nightscore.job import Job
from nightscore.pipeline.score.row_checks import NAN_OUTPUT, VALUE_LOST, Fault
from nightscore.store import Place, Plan, open_once, table_schema

COLUMNS = ("stage", "reason", "message", "features")
SHOWN_REASONS = 3  # reasons in a message


class RejectWriter:
    """The rows of one piece that are not scored; a context, whose file is there and durable after it.

    Without a reject there is no file. Where a job's policy is `fail`, the first fault is an error.
    """

    def __init__(self, job: Job, plan: Plan, path: Place, schema: pa.Schema) -> None:
        self.job, self.plan, self._path, self._schema = job, plan, path, schema
        self._stack = contextlib.ExitStack()
        self._writer: pq.ParquetWriter | None = None
        self._examples: dict[tuple[str, str], str] = {}
        self._counts: Counter[tuple[str, str]] = Counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    @property
    def rows(self) -> int:
        """How many there are."""
        return self._counts.total()

    def add(
        self, chunk: pa.RecordBatch, fault: Fault, stage: str, values: pa.RecordBatch | None = None
    ) -> None:
        """Set some rows of a chunk aside; `values` holds the values that the fault is about.

        Raises:
            Broken: the job's policy for such rows is `fail`, or they are more than its budget.
        """
        rows = np.flatnonzero(fault.rows)
        messages = _messages(fault, rows.tolist(), chunk if values is None else values)
        first = f"{self._key(chunk, int(rows[0]))}: {messages[0]}"
        if not self.job.spec.sets_aside(fault.reason):
            more = f" (and {len(rows) - 1} more rows of this chunk)" if len(rows) > 1 else ""
            raise Broken(f"{self.where}: {first}{more}; nothing is published{_aside(fault.reason)}")
        self._counts[stage, fault.reason] += len(rows)
        self._examples.setdefault((stage, fault.reason), first)
        self._refuse_beyond_budget()
        self._write(chunk.take(pa.array(rows)), [stage, fault.reason], messages)

    def _refuse_beyond_budget(self) -> None:
        budget = self.job.spec.policy.max_rejected_rows(self.plan.day_rows)
        if self.rows > budget:
            reasons = [
                f"{n:,} {r} ({self._examples[s, r]})" for (s, r), n in self._counts.most_common(SHOWN_REASONS)
            ]
            raise Broken(over_budget(self.job, self.plan, f"{self.rows:,} or more", "; ".join(reasons)))

    def _write(self, rows: pa.RecordBatch, why: list[str], messages: list[str]) -> None:
        if self._writer is None:
            self._writer = self._stack.enter_context(open_once(self._path, self._schema))
        key = [
            table_schema.stored_column(rows.column(f.name), f)
            for f in self._schema
            if f.name in self.plan.key
        ]
        reasons = [
            *(pa.repeat(pa.scalar(text, pa.string()), rows.num_rows) for text in why),
            pa.array(messages),
        ]
        features = pa.array([as_json(row) for row in rows.to_pylist()], pa.string())
        run = pa.repeat(pa.scalar(self.plan.run_id, pa.string()), rows.num_rows)
        self._writer.write_batch(
            pa.RecordBatch.from_arrays([*key, *reasons, features, run], schema=self._schema)
        )

    def _key(self, chunk: pa.RecordBatch, row: int) -> str:
        return key_text(self.plan.key, [chunk.column(c)[row].as_py() for c in self.plan.key])

    @property
    def where(self) -> str:
        """The job and the day, as messages begin."""
        return f"job {self.plan.job}, day {self.plan.day}"


def over_budget(job: Job, plan: Plan, rejected: str, reasons: str) -> str:
    """The message where more rows are rejected than a job allows."""
    policy = job.spec.policy
    allowed = policy.max_rejected_rows(plan.day_rows)
    return (
        f"job {plan.job}, day {plan.day}: {rejected} of {plan.day_rows:,} rows can't be published, and "
        f"policy.max_rejected ({policy.max_rejected}) allows {allowed:,}: {reasons}; "
        "nothing is published"
    )


def as_json(row: Mapping[str, Any]) -> str:
    """A row's values as JSON: NaN and infinities as texts, bytes in hex, other kinds as SQL shows them."""
    return json.dumps({name: _plain(value) for name, value in row.items()}, ensure_ascii=False, default=str)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, bytes):
        value = value.hex()
    if isinstance(value, str):
        return kept_text(value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def _aside(reason: str) -> str:
    """The line of job.yaml that sets such rows aside; of a lost value the message has it."""
    lines = {VALUE_LOST: "", NAN_OUTPUT: "scoring.nan_output: reject"}
    line = lines.get(reason, "policy.bad_row: reject")
    return f" ({line} sets such rows aside)" if line else ""


def _messages(fault: Fault, rows: list[int], batch: pa.RecordBatch) -> list[str]:
    if not fault.column:
        return [fault.message] * len(rows)
    values = batch.column(fault.column).take(pa.array(rows)).cast(pa.string())  # 0.95, and not 0.949999988
    return [
        f"column {fault.column!r} is {value_text(value)}; {fault.message}" for value in values.to_pylist()
    ]
