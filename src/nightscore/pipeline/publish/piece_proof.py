"""What is proven of a piece where it was scored, from what was written, so that a day's proof is a sum.

The staged file is read back: its sha256, rows, key hash, the counts of its columns, and whether its keys
rise; and the source, for the rows that were to be scored. Sums are exact, so those of the pieces are the
day's, and whoever publishes reads nothing again that it can add. It holds each file to the one that was
proven: by its sha256, or, where nobody here reads it, as the object that it is in its bucket.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from nightscore.common import Broken, NotYet
from nightscore.job import MADE_BY
from nightscore.pipeline.context import Day
from nightscore.pipeline.publish.reconcile import (
    Bounds,
    ControlTotals,
    KeyOrder,
    KeySums,
    combine_key_hashes,
    lie_apart,
    read_source_totals,
    read_staged_totals,
)
from nightscore.pipeline.read import inputs
from nightscore.store import (
    Piece,
    Place,
    SqlMistakes,
    StagedFile,
    TableProof,
    Tally,
    View,
    job_memory_budget,
    open_staged,
    sealed,
    sound_file,
    storage,
    tally_file,
    unsealed,
    with_rejects,
)


@dataclass(frozen=True)
class PieceProof:
    """The proof of one piece.

    `tag` is the object that its file is. `schema` says the types of the columns, `columns` has their tallies.
    `keys` are the least and the greatest key as texts; None where keys do not rise strictly, or no text says
    them. `made_by` is the rung that made its rows, "" where the job has none.
    """

    sha256: str
    tag: str
    rows: int
    bytes: int
    rejected: int
    key_hash: str
    source_rows: int
    source_hash: str
    schema: str
    columns: Mapping[str, Mapping[str, Any]]
    keys: Sequence[Sequence[str]] | None
    made_by: str = ""

    def types(self) -> pa.Schema:
        """The file's columns."""
        return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(self.schema)))

    def bounds(self, key: Sequence[str]) -> Bounds | None:
        """The least and the greatest key; () of no rows, None where keys are not known to rise."""
        if self.keys is None:
            return None
        types = self.types()
        return _keys(self.keys, [types.field(name).type for name in key])


def prove_piece(day: Day, piece: Piece) -> StagedFile:
    """Prove a piece from what was staged of it, and keep that; gives what was staged.

    Raises:
        Broken: the staged file is damaged, or holds rows of another run.
        NotYet: it is gone.
    """
    place, key = day.run.scores(piece.fingerprint), day.job.spec.key
    all_rows = day.plan.day_rows
    seen = place.look()  # once: of a bucket each look is a request
    if seen is None:
        raise NotYet(f"{place}: has gone; another run of the day is at work, or gc")
    local, sha256 = sound_file(place, seen)
    with open_staged(local, place.key) as file:
        types = file.schema_arrow.remove_metadata()
    tallies: dict[str, Tally] = {}
    order, sums = KeyOrder(key), KeySums.of(key, lambda: types, all_rows)
    looks = [order.add, *([sums.add] if sums else [])]
    rows = tally_file(local, place.key, day.plan.run_id, tallies, *looks)
    staged = with_rejects(StagedFile(place.key, rows, seen.bytes), day.run.rejects(piece.fingerprint))
    source = {part.path for part in piece.ranges}
    memory = job_memory_budget(day.job).piece.duckdb
    with (
        day.engine(
            source=source,
            memory=memory,
            threads=1,
            asked=(),
            views=[] if sums else [View("scores", (local,), stored=True)],
        ) as engine,
        SqlMistakes(str(day)),
    ):
        key_hash = sums.text if sums else read_staged_totals(engine, "scores", key)[1]
        read = inputs.scored_columns(day.job, day.plan.inputs)
        source_rows, source_hash = read_source_totals(engine, day.workspace, [piece], key, read, of=all_rows)
    proof = PieceProof(
        sha256=sha256, tag=seen.tag, rows=rows, bytes=staged.bytes, rejected=staged.rejected,
        key_hash=key_hash, source_rows=source_rows, source_hash=source_hash,
        schema=base64.b64encode(types.serialize()).decode(),
        columns={name: tally.state() for name, tally in tallies.items()},
        keys=_texts(order.bounds, [types.field(name).type for name in key]),
        made_by=read_made_by(local),
    )  # fmt: skip
    # Not created once: where a damaged file was removed, another one is scored, and proven.
    text = sealed(asdict(proof), day.plan.run_id, piece.fingerprint)
    day.run.proof(piece.fingerprint).replace_text(text)
    return replace(staged, made_by=proof.made_by)


def read_made_by(path: Path) -> str:
    """The rung that made the rows of a staged file; "" where it does not say, or there are several."""
    if MADE_BY not in pq.read_schema(path).names:
        return ""
    texts = pq.read_table(path, columns=[MADE_BY], partitioning=None).column(MADE_BY).unique().to_pylist()
    return str(texts[0]) if len(texts) == 1 and texts[0] else ""


def _texts(bounds: Bounds | None, types: Sequence[pa.DataType]) -> Sequence[Sequence[str]] | None:
    """Keys of some types as texts; None where they would not come back from them."""
    if bounds is None:
        return None
    try:
        texts = [
            [pa.scalar(v, kind).cast(pa.string()).as_py() for v, kind in zip(row, types, strict=True)]
            for row in bounds
        ]
        return texts if _keys(texts, types) == tuple(bounds) else None
    except pa.ArrowException:  # a kind of column that no text says
        return None


def _keys(texts: Sequence[Sequence[str]], types: Sequence[pa.DataType]) -> Bounds:
    return tuple(
        tuple(pa.scalar(text).cast(kind).as_py() for text, kind in zip(row, types, strict=True))
        for row in texts
    )


@dataclass(frozen=True)
class Proven:
    """The proofs of all staged files of a day, each beside its file."""

    day: Day
    files: Sequence[StagedFile]
    proofs: Sequence[PieceProof]

    @property
    def totals(self) -> ControlTotals:
        """The rows that were to be scored and those that were, with their key hashes."""
        return ControlTotals(
            read=sum(proof.source_rows for proof in self.proofs),
            scored=sum(proof.rows for proof in self.proofs),
            in_=combine_key_hashes(*(proof.source_hash for proof in self.proofs)),
            out=combine_key_hashes(*(proof.key_hash for proof in self.proofs)),
        )

    @cached_property
    def keys_rise(self) -> bool:
        """Whether each key is known to be there once: keys rise in each file, and the files lie apart."""
        bounds = [proof.bounds(self.day.job.spec.key) for proof in self.proofs]
        return all(pair is not None for pair in bounds) and lie_apart([pair for pair in bounds if pair])

    def read_back(self, read_here: bool) -> TableProof:
        """The proof of the table, each file held to the one that was proven.

        `read_here` says that this machine will read the files.

        Raises:
            Broken: a file is damaged, or another one.
        """
        is_read = read_here or not self.day.workspace.data_root.is_bucket
        storage.ask_each(
            lambda pair: _hold(self.day.place(pair[0].path), pair[1], is_read),
            zip(self.files, self.proofs, strict=True),
        )
        tallies: dict[str, Tally] = {}
        for proof in self.proofs:
            types = proof.types()
            for name, state in proof.columns.items():
                kind = types.field(name).type
                tallies.setdefault(name, Tally(kind)).merge(Tally.restored(kind, state))
        columns = {name: tally.proof() for name, tally in tallies.items()}
        rows = sum(proof.rows for proof in self.proofs)
        return TableProof(rows, tuple(proof.sha256 for proof in self.proofs), columns)


def read_proofs(day: Day, files: Sequence[StagedFile]) -> Proven | None:
    """The proofs of the plan's pieces, whose files have rows and bytes from them; None unless all have one.

    Those that a replay carries over have none, nor what a version before this one has staged.
    """
    stems = [day.place(file.path).stem for file in files]
    if not files or stems != [piece.fingerprint for piece in day.plan.pieces]:
        return None
    found = storage.ask_each(partial(read_proof, day), stems)
    proofs = [proof for proof in found if proof]
    if len(proofs) < len(files):
        return None
    known = [
        replace(file, rows=proof.rows, bytes=proof.bytes, made_by=proof.made_by)
        for file, proof in zip(files, proofs, strict=True)
    ]
    return Proven(day, known, proofs)


def read_proof(day: Day, fingerprint: str) -> PieceProof | None:
    """The proof of a piece; None where there is none, or it is damaged: the file is read then."""
    try:
        text = day.run.proof(fingerprint).read_text()
        return PieceProof(**unsealed(text, day.plan.run_id, fingerprint))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def staged_piece(day: Day, piece: Piece) -> StagedFile:
    """What was staged of a piece before, by its proof, so that nothing is fetched for it."""
    path, aside = day.run.scores(piece.fingerprint), day.run.rejects(piece.fingerprint)
    proof = read_proof(day, piece.fingerprint)
    if proof is None:
        return prove_piece(day, piece)
    rejects = aside.key if proof.rejected else ""
    return StagedFile(
        path.key, proof.rows, proof.bytes, rejects=rejects, rejected=proof.rejected, made_by=proof.made_by
    )


def _hold(place: Place, proof: PieceProof, is_read: bool) -> None:
    if is_read:
        same = sound_file(place)[1] == proof.sha256
    else:
        seen = place.look()
        same = seen is not None and seen.tag == proof.tag
    if not same:
        raise Broken(f"{place}: is not the file that was proven; remove it and run again")
