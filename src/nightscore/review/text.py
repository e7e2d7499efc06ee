"""Receipts and plans as a person reads them on a terminal."""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa
from rich.console import Console
from rich.markup import escape

from nightscore.common import byte_size
from nightscore.job import Features, Job
from nightscore.review.explain import RowExplanation
from nightscore.review.rejects import RejectReason
from nightscore.review.terminal_tables import console, print_rows, text_table
from nightscore.store import ENDINGS, NOT_HELD, AuditResult, Plan, Receipt, RunFolder, TableChange

if TYPE_CHECKING:
    from nightscore.scorers import Device, Hardware

LONGEST_FEATURES = 400  # characters of a reject's features on a terminal


def print_receipt(receipt: Receipt) -> None:
    """Print one receipt."""
    out = console()
    said = f"[bold]{receipt.job}[/bold] {receipt.day}: [bold]{receipt.status}[/bold] {escape(receipt.reason)}"
    out.print(said.rstrip())
    if receipt.degraded:
        out.print(f"[bold red]DEGRADED  {escape(str(receipt.degraded))}[/bold red]", soft_wrap=True)
    if receipt.status in ("skipped", "unreadable"):
        return
    rows = receipt.rows
    facts = [
        ("run", receipt.run_id),
        (
            "rows",
            f"{rows.read:,} read = {rows.scored:,} scored + {rows.rejected:,} rejected; "
            f"{rows.published:,} published",
        ),
        ("key hash", _key_hash(receipt)),
        *([("sample", str(receipt.score_sample))] if receipt.score_sample else []),
        *([("parts", str(receipt.parts))] if receipt.parts else []),
        *([("accounts", str(receipt.accounts))] if receipt.accounts else []),
        ("model", f"{receipt.model.path} (sha256 {receipt.model.sha256[:16]}…)" if receipt.model else "none"),
        *([("training", str(receipt.training or NOT_HELD))] if receipt.model else []),
        ("inputs", f"{len(receipt.inputs)} files, {byte_size(sum(f.bytes for f in receipt.inputs))}"),
        ("speed", f"{receipt.rows_per_second:,} rows/s{_variant(receipt)}"),
        ("cost", _cost(receipt)),
        ("seconds", "  ".join(f"{stage} {seconds:.2f}" for stage, seconds in receipt.seconds.items())),
    ]
    out.print(text_table(facts, ("", " "), ()), soft_wrap=True)
    for line in _special(receipt):
        out.print(escape(line), soft_wrap=True)
    _receipt_tables(out, receipt)
    for audit in receipt.audits:
        mark = "[green]passed[/green]" if audit.passed else f"[red]not passed[/red] ({audit.severity})"
        out.print(f"audit     {mark}: {escape(_audit_text(audit))}", soft_wrap=True)
    if receipt.preview:
        print_rows(pa.Table.from_pylist([dict(row) for row in receipt.preview]))


def print_rejects(reasons: Sequence[RejectReason]) -> None:
    """Print the rejected rows of a day, by reason, with examples."""
    out = console()
    for reason in reasons:
        out.print(f"[bold]{reason.rows:,} {reason.reason}[/bold] in {reason.stage}", soft_wrap=True)
        for example in reason.examples:
            key = ", ".join(f"{c}={v}" for c, v in example.items() if c not in ("message", "features"))
            out.print(escape(f"  {key}: {example['message']}"), soft_wrap=True)
            out.print(escape(f"    {_clipped(example['features'])}"), soft_wrap=True)
    if not reasons:
        out.print("no row was rejected")


def print_receipts(receipts: Sequence[Receipt]) -> None:
    """Print receipts, a line each."""
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
        for r in receipts
    ]
    console().print(text_table(rows, columns, ("rows", "rows/s")))


def print_jobs(jobs: Sequence[Job], last: Mapping[str, str]) -> None:
    """Print the jobs of a workspace."""
    rows = [
        (j.name, str(j.spec.schedule), last.get(j.name, "never"), j.spec.owner, j.spec.about) for j in jobs
    ]
    console().print(text_table(rows, ("job", "schedule", "last day", "owner", "about")))
    for j in jobs:
        for one in j.spec.deliver:
            sent = f"{j.name}: {j.spec.delivered_table(one)} goes to {one.target} ({one.called})"
            console().print(escape(sent), soft_wrap=True)


def print_plan(plan: Plan, run: RunFolder | None, features: Features) -> None:
    """Print what a run would do; `features` are the job's."""
    out = console()
    files = [f for input_files in plan.inputs.values() for f in input_files]
    out.print(f"[bold]{plan.job}[/bold] {plan.day}: {_outcome(plan)}")
    if plan.status == "skipped":  # no model was looked at, and no file of the day is there
        return
    rows, size = sum(f.rows for f in files), sum(f.bytes for f in files)
    texts = sum(f.path.lower().endswith((*ENDINGS["csv"], *ENDINGS["json"])) for f in files)
    uncounted = f" and those of {texts} text files" if texts else ""
    out.print(f"inputs    {len(files)} files, {rows:,} rows{uncounted}, {byte_size(size)}")
    for line in (*_inputs_text(plan), *_ladder_text(plan)):
        out.print(escape(line), soft_wrap=True)
    for line in _model_lines(plan):
        out.print(escape(line), soft_wrap=True)
    if plan.status != "score":
        return
    if features.parts is not None and features.parts > 1:
        by = f"by {features.split_by}" if features.split_by else "by getvariable('part')"
        out.print(f"features  in {features.parts:,} parts {by}, a task each")
    if not plan.pieces:
        out.print("pieces    known when the features have been made")
        return
    done = [run is not None and run.scores(p.fingerprint).exists() for p in plan.pieces]
    out.print(f"pieces    {len(done)} of {plan.rows:,} rows; {sum(done)} scored already")
    states = [
        (p.index, f"{p.rows:,}", "scored" if d else "to do") for p, d in zip(plan.pieces, done, strict=True)
    ]
    out.print(text_table(states, ("piece", "rows", "state"), ("piece", "rows")))


def print_hardware(
    machine: "Hardware", devices: "Sequence[Device]", problems: Mapping[str, str], kinds: Sequence[str]
) -> None:
    """Print what scoring may use here."""
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


def print_explanation(explanation: RowExplanation) -> None:
    """Print one row, from its features to the decisions about it."""
    out = console()
    key = ", ".join(f"{c}={v}" for c, v in explanation.key.items())
    out.print(f"[bold]{explanation.job}[/bold] {explanation.day}, {escape(key)} (run {explanation.run_id})")
    if explanation.model:
        out.print(f"model     {escape(explanation.model.path)} (sha256 {explanation.model.sha256[:16]}…)")
    if explanation.note:
        out.print(f"note      {escape(explanation.note)}")
    for title, row in (("features, as scored", explanation.features), ("scores", explanation.scores)):
        if row:
            out.print(f"[bold]{title}[/bold]")
            out.print(text_table(row.items(), ("", " ")))
    for name, rows in explanation.decisions.items():
        out.print(f"[bold]{name}[/bold]{'' if rows else ': not chosen'}")
        for row in rows:
            out.print(text_table(row.items(), ("", " ")))


def _ladder_text(plan: Plan) -> Iterator[str]:
    """What the run would go on with when it is late, and which rungs it does not have."""
    if plan.ladder is None:
        return
    yield f"overdue   due by {_minute(plan.ladder.deadline)}"
    if plan.ladder.variant_from:
        yield f"          from {_minute(plan.ladder.variant_from)} on what is not scored: by the variant"
    if plan.ladder.carry_from:
        yield f"          from {_minute(plan.ladder.carry_from)} on: the day before is carried forward"
    yield from (f"          WARNING: not {one}" for one in plan.ladder.missing)


def _minute(moment: str) -> str:
    return f"{dt.datetime.fromisoformat(moment):%Y-%m-%d %H:%M} UTC"


def _model_text(plan: Plan) -> str:
    if plan.model_path and not plan.model_sha256:
        return "none"
    return f"{plan.model_path} (sha256 {plan.model_sha256[:16]}…) on {plan.device}"


def _model_lines(plan: Plan) -> Iterator[str]:
    yield f"model     {_model_text(plan)}"
    if plan.training:
        yield f"training  {plan.training}"
    if plan.tuned:
        yield f"variant   {plan.tuned.name} (sha256 {plan.tuned.sha256[:16]}…), by variant.yaml"


def _outcome(plan: Plan) -> str:
    if plan.status == "unchanged":
        return f"[bold]unchanged[/bold]: published by run {plan.run_id}, a run would do nothing"
    if plan.status == "skipped":
        return f"[bold]skipped[/bold]: {escape(plan.reason)}"
    return f"[bold]takes up[/bold] the stopped run {plan.run_id}" if plan.run_id else "[bold]would run[/bold]"


def _cost(receipt: Receipt) -> str:
    cost = receipt.cost
    return (
        f"{cost.cpu_seconds_per_million_rows:.2f} CPU seconds per million rows, at most "
        f"{byte_size(cost.peak_memory_bytes)} of memory, {byte_size(cost.bytes_read)} read, "
        f"{byte_size(cost.bytes_written)} written"
    )


def _key_hash(receipt: Receipt) -> str:
    key_hash = receipt.key_hash
    aside = f"  rejected {key_hash.rejected}" if receipt.rows.rejected else ""
    return f"in {key_hash.in_}  out {key_hash.out}{aside}"


def _special(receipt: Receipt) -> Iterator[str]:
    """The lines of a receipt that most days do not have: rejects, replays, restatements, challengers, ..."""
    yield from _inputs_text(receipt)
    if receipt.sql:
        yield f"sql       {receipt.sql}: bytes may depend on memory, threads and the layout of files"
    yield from (f"rejected  {reject.rows:,} {reject.reason} in {reject.stage}" for reject in receipt.rejects)
    yield from (
        f"lost      {n:,} values of {column}: the nearest is scored"
        for column, n in receipt.value_lost.items()
    )
    if then := receipt.replayed:
        same = receipt.model is not None and then.model_sha256 == receipt.model.sha256
        yield (
            f"replayed  {then.rows:,} rejects of run {then.run_id}; {then.carried:,} rows as they were then"
            + ("" if same else f", by model {then.model_sha256[:16]}…")
        )
    if note := receipt.restatement:
        yield (
            f"restated  number {note.number}, by {note.by} at {note.at:%Y-%m-%d %H:%M} UTC: {note.because}"
            f" (instead of run {note.replaces})"
        )
        yield from (f"          {name}: {table_change_text(change)}" for name, change in note.tables.items())
    yield from (f"accepted  {note}" for note in [receipt.accepted] if note)
    yield from (f"erased    {one}" for one in receipt.erased)
    yield from (f"came back {line}" for line in receipt.came_back)
    yield from (f"slower    {line}" for line in receipt.slower)
    yield from (f"order     {found}" for found in [receipt.out_of_order] if found)
    yield from (f"beside    {challenger}" for challenger in receipt.challengers)
    if receipt.promotion:
        yield f"promoted  {receipt.promotion}"
    if receipt.known_at:
        yield f"known at  {receipt.known_at}"
    if release := receipt.released:
        yield f"released  by {release.by} at {release.at:%Y-%m-%d %H:%M} UTC: {release.because}"


def _inputs_text(of: Plan | Receipt) -> Iterator[str]:
    """How many of the expected days each input has, and what of its folders is left out."""
    seen = {name: days for name, days in of.days_seen.items() if days.expected or days.unknown}
    yield from (f"days seen {name}: {days}" for name, days in seen.items())
    yield from (f"ignored   {name}: {', '.join(names)}" for name, names in of.ignored.items())
    for name, days in of.as_reported.items():
        again = f"; published again since: {', '.join(days)}" if days else ""
        yield f"as first reported {name}{again}"
    yield from (f"snapshot  {name}: {snapshot}" for name, snapshot in of.snapshots.items())
    for name, degraded in of.degraded_inputs.items():
        yield f"degraded  {name}, as it was read: {'; '.join(degraded)}"
    yield from (f"foreign   {line}" for lines in of.foreign.values() for line in lines)
    yield from (f"widened   {name}: {'; '.join(lines)}" for name, lines in of.widened.items())


def table_change_text(change: TableChange) -> str:
    """How a table differs from another version of it, in one line."""
    counts = f"{change.changed:,} rows changed, {change.added:,} added, {change.removed:,} removed"
    sums = ", ".join(f"{column} {_signed(by)}" for column, by in change.moved.items() if float(by))
    return counts + (f"; sums: {sums}" if sums else "")


def _signed(number: str) -> str:
    return number if number.startswith("-") else f"+{number}"


def _clipped(text: str) -> str:
    return text if len(text) <= LONGEST_FEATURES else f"{text[:LONGEST_FEATURES]}…"


def _variant(receipt: Receipt) -> str:
    variant = receipt.variant
    if variant is None:
        return f" on {receipt.device}" if receipt.device else ""
    return f", {variant.kind} on {variant.device}" + (f" ({variant.why})" if variant.why else "")


def _receipt_tables(out: Console, receipt: Receipt) -> None:
    rows = [(n, f"{t.rows:,}", t.files, byte_size(t.bytes), t.version) for n, t in receipt.tables.items()]
    if rows:
        out.print(
            text_table(
                rows, ("table", "rows", "files", "size", "version"), ("rows", "files", "size", "version")
            )
        )


def _audits(receipt: Receipt) -> str:
    if receipt.status == "unreadable":
        return receipt.status
    failed = [_audit_text(a) for a in receipt.audits if not a.passed]
    if receipt.degraded:
        failed.insert(0, f"degraded: {receipt.degraded}")
    return f"warned: {', '.join(failed)}" if failed else f"{len(receipt.audits)} passed"


def _audit_text(audit: AuditResult) -> str:
    """An audit, and what it measured."""
    return f"{audit.name} ({audit.detail})" if audit.detail else audit.name


def _moment(moment: dt.datetime | None) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S") if moment else ""
