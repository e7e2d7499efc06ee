"""Receipts, plans and tables as a person reads them on a terminal."""

import datetime as dt
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO, TYPE_CHECKING

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nightscore.common import byte_size
from nightscore.job import Job
from nightscore.review.explain import RowExplanation
from nightscore.review.rejects import RejectReason
from nightscore.store import AuditResult, Plan, Receipt, RunFolder, TableChange

if TYPE_CHECKING:
    from nightscore.scorers import Device, Hardware

WIDTH_OF_A_PIPE = 160  # columns, where no terminal says how wide it is
SHOWN_ROWS = 100
LONGEST_FEATURES = 400  # characters of a reject's features on a terminal


def console() -> Console:
    """Standard output, wide enough for a table where it is no terminal."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH_OF_A_PIPE)


def text_table(rows: Iterable[Sequence[object]], columns: Sequence[str], right: Sequence[str] = ()) -> Table:
    """A table for a terminal; the columns in `right` are numbers."""
    headed = any(name.strip() for name in columns)
    made = Table(box=None, pad_edge=False, header_style="bold", show_header=headed)
    for name in columns:
        made.add_column(name, justify="right" if name in right else "left", overflow="fold")
    for row in rows:
        made.add_row(*[_cell(value) for value in row])
    return made


def print_receipt(found: Receipt) -> None:
    """One receipt."""
    out = console()
    out.print(f"[bold]{found.job}[/bold] {found.day}: [bold]{found.status}[/bold] {found.reason}".rstrip())
    if found.status == "skipped":
        return
    rows = found.rows
    facts = [
        ("run", found.run_id),
        (
            "rows",
            f"{rows.read:,} read = {rows.scored:,} scored + {rows.rejected:,} rejected; "
            f"{rows.published:,} published",
        ),
        ("key hash", _key_hash(found)),
        ("model", f"{found.model.path} (sha256 {found.model.sha256[:16]}…)" if found.model else ""),
        ("inputs", f"{len(found.inputs)} files, {byte_size(sum(f.bytes for f in found.inputs))}"),
        ("speed", f"{found.rows_per_second:,} rows/s{_variant(found)}"),
        ("cost", _cost(found)),
        ("seconds", "  ".join(f"{stage} {seconds:.2f}" for stage, seconds in found.seconds.items())),
    ]
    out.print(text_table(facts, ("", " "), ()), soft_wrap=True)
    for line in _special(found):
        out.print(escape(line), soft_wrap=True)
    _receipt_tables(out, found)
    for audit in found.audits:
        mark = "[green]passed[/green]" if audit.passed else f"[red]not passed[/red] ({audit.severity})"
        out.print(f"audit     {mark}: {escape(_said(audit))}", soft_wrap=True)
    if found.preview:
        print_rows(pa.Table.from_pylist([dict(row) for row in found.preview]))


def print_rejects(found: Sequence[RejectReason]) -> None:
    """The rows of a day that were set aside, by reason, with examples."""
    out = console()
    for one in found:
        out.print(f"[bold]{one.rows:,} {one.reason}[/bold] in {one.stage}", soft_wrap=True)
        for example in one.examples:
            key = ", ".join(f"{c}={v}" for c, v in example.items() if c not in ("message", "features"))
            out.print(escape(f"  {key}: {example['message']}"), soft_wrap=True)
            out.print(escape(f"    {_clipped(example['features'])}"), soft_wrap=True)
    if not found:
        out.print("no row was rejected")


def print_receipts(found: Sequence[Receipt]) -> None:
    """Many receipts, a line each."""
    columns = ("job", "day", "run", "rows", "rows/s", "published at (UTC)", "audits")
    rows = [
        (
            r.job,
            r.day,
            r.run_id,
            f"{r.rows.published:,}",
            f"{r.rows_per_second:,}",
            _moment(r.published_at),
            _audits(r),
        )
        for r in found
    ]
    console().print(text_table(rows, columns, ("rows", "rows/s")))


def print_jobs(found: Sequence[Job], last: Mapping[str, str]) -> None:
    """The jobs of a workspace."""
    rows = [
        (j.name, str(j.spec.schedule), last.get(j.name, "never"), j.spec.owner, j.spec.about) for j in found
    ]
    console().print(text_table(rows, ("job", "schedule", "last day", "owner", "about")))


def print_plan(found: Plan, run: RunFolder | None) -> None:
    """What a run would do."""
    out = console()
    files = [f for some in found.inputs.values() for f in some]
    out.print(f"[bold]{found.job}[/bold] {found.day}: {_outcome(found)}")
    rows, size = sum(f.rows for f in files), sum(f.bytes for f in files)
    out.print(f"inputs    {len(files)} files, {rows:,} rows, {byte_size(size)}")
    out.print(f"model     {found.model_path} (sha256 {found.model_sha256[:16]}…) on {found.device}")
    if found.tuned:
        out.print(f"variant   {found.tuned.name} (sha256 {found.tuned.sha256[:16]}…), by variant.yaml")
    if found.status != "score":
        return
    if not found.pieces:
        out.print("pieces    known when the features have been made")
        return
    done = [run is not None and run.scores(p.fingerprint).exists() for p in found.pieces]
    out.print(f"pieces    {len(done)} of {found.rows:,} rows; {sum(done)} scored already")
    states = [
        (p.index, f"{p.rows:,}", "scored" if d else "to do") for p, d in zip(found.pieces, done, strict=True)
    ]
    out.print(text_table(states, ("piece", "rows", "state"), ("piece", "rows")))


def print_hardware(
    machine: "Hardware", devices: "Sequence[Device]", problems: Mapping[str, str], kinds: Sequence[str]
) -> None:
    """What scoring may use here."""
    out = console()
    facts = [
        ("processor", machine.processor),
        ("cores", f"{machine.cores} (what affinity and the control group allow)"),
        ("memory", byte_size(machine.memory)),
        ("instructions", " ".join(machine.instructions) or "none that are wide"),
        ("kinds", " ".join(kinds)),
    ]
    out.print(text_table(facts, ("", " ")), soft_wrap=True)
    rows = [(d.name, d.kind, d.provider, d.description) for d in devices]
    rows += [(name, "", "", f"can't be used: {error}") for name, error in problems.items()]
    out.print(text_table(rows, ("device", "is a", "provider", "description")))


def print_explanation(found: RowExplanation) -> None:
    """One row, from its features to the decisions about it."""
    out = console()
    key = ", ".join(f"{c}={v}" for c, v in found.key.items())
    out.print(f"[bold]{found.job}[/bold] {found.day}, {key} (run {found.run_id})")
    if found.model:
        out.print(f"model     {found.model.path} (sha256 {found.model.sha256[:16]}…)")
    if found.note:
        out.print(f"note      {found.note}")
    for title, row in (("features, as scored", found.features), ("scores", found.scores)):
        if row:
            out.print(f"[bold]{title}[/bold]")
            out.print(text_table(row.items(), ("", " ")))
    for name, rows in found.decisions.items():
        out.print(f"[bold]{name}[/bold]{'' if rows else ': not chosen'}")
        for row in rows:
            out.print(text_table(row.items(), ("", " ")))


def print_rows(found: pa.Table) -> None:
    """The rows of a query's result, the first 100."""
    numbers = [f.name for f in found.schema if pa.types.is_integer(f.type) or pa.types.is_floating(f.type)]
    rows = found.slice(0, SHOWN_ROWS).to_pylist()
    console().print(text_table([list(r.values()) for r in rows], found.schema.names, numbers))
    if found.num_rows > SHOWN_ROWS:
        print(
            f"… {found.num_rows:,} rows in all; --format csv, json or parquet gives every one",
            file=sys.stderr,
        )


def write_rows(found: pa.Table, form: str, out: IO[bytes]) -> None:
    """A query's result as csv, json (an array of objects) or parquet."""
    if form == "csv":
        pa_csv.write_csv(found, out)
    elif form == "parquet":
        pq.write_table(found, out, compression="zstd", write_page_checksum=True)
    else:
        out.write(json.dumps(found.to_pylist(), default=str, ensure_ascii=False).encode() + b"\n")
    out.flush()


def _outcome(found: Plan) -> str:
    if found.status == "unchanged":
        return f"[bold]unchanged[/bold]: published by run {found.run_id}, a run would do nothing"
    if found.status == "skipped":
        return f"[bold]skipped[/bold]: {found.reason}"
    return (
        f"[bold]takes up[/bold] the stopped run {found.run_id}" if found.run_id else "[bold]would run[/bold]"
    )


def _cost(found: Receipt) -> str:
    cost = found.cost
    return (
        f"{cost.cpu_seconds_per_million_rows:.2f} CPU seconds per million rows, at most "
        f"{byte_size(cost.peak_memory_bytes)} of memory, {byte_size(cost.bytes_read)} read, "
        f"{byte_size(cost.bytes_written)} written"
    )


def _key_hash(found: Receipt) -> str:
    one = found.key_hash
    aside = f"  rejected {one.rejected}" if found.rows.rejected else ""
    return f"in {one.in_}  out {one.out}{aside}"


def _special(found: Receipt) -> Iterator[str]:
    """What a receipt says of a day that did not go its plain way."""
    for one in found.rejects:
        yield f"rejected  {one.rows:,} {one.reason} in {one.stage}"
    if then := found.replayed:
        same = found.model is not None and then.model_sha256 == found.model.sha256
        yield (
            f"replayed  {then.rows:,} rejects of run {then.run_id}; {then.carried:,} rows as they were then"
            + ("" if same else f", by model {then.model_sha256[:16]}…")
        )
    if note := found.restatement:
        yield (
            f"restated  number {note.number}, by {note.by} at {note.at:%Y-%m-%d %H:%M} UTC: {note.because}"
            f" (instead of run {note.replaces})"
        )
        yield from (f"          {name}: {table_change_text(change)}" for name, change in note.tables.items())
    yield from (f"beside    {one}" for one in found.challengers)
    if found.promotion:
        yield f"promoted  {found.promotion}"
    if found.known_at:
        yield f"known at  {found.known_at}"
    if let_go := found.released:
        yield f"released  by {let_go.by} at {let_go.at:%Y-%m-%d %H:%M} UTC: {let_go.because}"


def table_change_text(one: TableChange) -> str:
    """How a table differs from another version of it, in one line."""
    counts = f"{one.changed:,} rows changed, {one.added:,} added, {one.removed:,} removed"
    sums = ", ".join(f"{column} {_signed(by)}" for column, by in one.moved.items() if float(by))
    return counts + (f"; sums: {sums}" if sums else "")


def _signed(number: str) -> str:
    return number if number.startswith("-") else f"+{number}"


def _clipped(text: str) -> str:
    return text if len(text) <= LONGEST_FEATURES else f"{text[:LONGEST_FEATURES]}…"


def _variant(found: Receipt) -> str:
    variant = found.variant
    if variant is None:
        return f" on {found.device}"
    return f", {variant.kind} on {variant.device}" + (f" ({variant.why})" if variant.why else "")


def _receipt_tables(out: Console, found: Receipt) -> None:
    rows = [(n, f"{t.rows:,}", t.files, byte_size(t.bytes), t.version) for n, t in found.tables.items()]
    if rows:
        out.print(
            text_table(
                rows, ("table", "rows", "files", "size", "version"), ("rows", "files", "size", "version")
            )
        )


def _audits(found: Receipt) -> str:
    failed = [_said(a) for a in found.audits if not a.passed]
    return escape(f"warned: {', '.join(failed)}") if failed else f"{len(found.audits)} passed"


def _said(audit: AuditResult) -> str:
    """What is asked, and what was measured."""
    return f"{audit.name} ({audit.detail})" if audit.detail else audit.name


def _cell(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return "" if value is None else str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)


def _moment(moment: dt.datetime | None) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S") if moment else ""
