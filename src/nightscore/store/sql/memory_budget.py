"""One number for memory, split among what needs it: the `memory` of a job.yaml, or a share of the machine's.

While rows are scored, several pieces are at work, each with a reader (DuckDB's limit, where it reads),
Arrow's chunks and a scorer. Before and after, DuckDB alone is at work, on the features, the proof and the
decisions. What the interpreter and the libraries hold is set aside first. Bytes are those that the process
allocates: the libraries' own code, 200 MB of files that the kernel shares and may drop, is not among them.
"""

from dataclasses import dataclass

from nightscore.common import byte_size, parse_size
from nightscore.job import Job
from nightscore.scorers import read_hardware
from nightscore.store.documents.chunking import chunk_bytes

SHARE = 0.6  # of what the control group or the machine has; the rest is the page cache's and other processes'
LIBRARIES = (
    130_000_000  # bytes that Python and all libraries hold when a night has been planned (measured: 125)
)
LEAST = 256_000_000  # bytes with which a night can be tried
PIECE = 128_000_000  # bytes for a piece at work, at the least, as far as one alone has them
MOST_DUCKDB = 128_000_000  # it reads a piece's row groups one after the other: more does nothing
MOST_PROOF = 256_000_000


@dataclass(frozen=True)
class PieceMemory:
    """Bytes for one piece at work: DuckDB's limit, Arrow's batches, the scorer's own memory."""

    duckdb: int
    arrow: int
    scorer: int

    @property
    def chunk(self) -> int:
        """The most bytes of a chunk of features."""
        return chunk_bytes(self.arrow)


@dataclass(frozen=True)
class MemoryBudget:
    """What a process of a night may use, in bytes; `at_once` is how many pieces it scores together.

    `sql` is DuckDB's limit for features, proof and decisions, `beside` that of a second connection which is
    open meanwhile (the day before, for drift), `arrow` what is under way between DuckDB and a file.
    """

    memory: int
    at_once: int
    piece: PieceMemory
    sql: int
    beside: int
    arrow: int

    @property
    def process(self) -> int:
        """Bytes of a process that scores one piece and does nothing else."""
        return LIBRARIES + self.piece.duckdb + self.piece.arrow + self.piece.scorer

    @property
    def proof(self) -> int:
        """DuckDB's limit while it proves: what it can't hold of a large day it spills."""
        return min(MOST_PROOF, self.sql)


def split(memory: int, cores: int) -> MemoryBudget:
    """The parts of a number of bytes. More memory never makes a part, or the pieces at once, smaller.

    That is why a piece's parts follow from what one of `cores` pieces would have, and not from `at_once`.
    """
    left = max(memory, LEAST) - LIBRARIES
    at_once = max(1, min(cores, left // PIECE))
    share = min(left, max(PIECE, left // cores))
    piece = PieceMemory(duckdb=min(MOST_DUCKDB, share // 2), arrow=share // 4, scorer=share // 4)
    return MemoryBudget(memory, at_once, piece, sql=left * 6 // 10, beside=left * 15 // 100, arrow=left // 4)


def job_memory_budget(job: Job) -> MemoryBudget:
    """What a job may use of this machine.

    Raises:
        Broken: it asks for more than there is, or for too little; names the line of job.yaml.
    """
    if job.spec.memory == "auto":
        return machine_budget()
    machine = read_hardware()
    requested = parse_size(job.spec.memory)
    if requested > machine.memory:
        job.raise_broken(
            ("memory",),
            f"{job.spec.memory} is more than the {byte_size(machine.memory)} that this process may use "
            "(of the machine, or of its control group)",
        )
    if requested < LEAST:
        job.raise_broken(
            ("memory",), f"{job.spec.memory} is not allowed: a night needs {byte_size(LEAST)} at the least"
        )
    return split(requested, machine.cores)


def machine_budget() -> MemoryBudget:
    """The default: 60 % of what the machine or the control group has."""
    machine = read_hardware()
    return split(min(machine.memory, max(LEAST, int(machine.memory * SHARE))), machine.cores)
