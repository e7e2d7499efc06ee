"""A table held, row by row, to a second query: what is kept day by day to one query over all days.

The second query reads more than the night does, so it is asked on some of the days alone. Its rows are staged
before the audits are asked (`nightscore.pipeline.publish.full_rows`).
"""

import hashlib
from collections.abc import Mapping

from nightscore.common import key_text
from nightscore.job import ParityAudit, TableInput, sql_place
from nightscore.pipeline.audits.question import Answer, Question
from nightscore.pipeline.row_order import in_one_order
from nightscore.store import Engine, SqlMistakes, quote_identifier, repeatable_select

LONGEST_ROW = 300  # characters of a row that is shown


class ParityQuestion(Question[ParityAudit]):
    """Row by row what another query gives. Its rows are made before: the view `full_rows(index)`."""

    def check(self) -> None:
        """Raise `Broken` unless it is one SELECT, and each input with a lookback has days."""
        repeatable_select(self.sql, self.file, self.job.spec.variables)
        self.select()
        for name in self.audit.parity.lookback:
            source = self.job.spec.inputs[name]
            if not isinstance(source, TableInput) and not source.has_days:
                self.raise_broken(
                    ("parity", "lookback", name), "is a table without partitions, so it has no days"
                )

    @property
    def sql(self) -> str:
        """The query as it is written."""
        return self.job.audit_sql[self.audit.parity.full]

    @property
    def file(self) -> str:
        """The file that it stands in, as messages name it."""
        return sql_place(self.job, self.audit.parity.full)

    def select(self) -> str:
        """The query as it is run."""
        return in_one_order(self.job, self.sql, self.file)

    def is_due(self, day: str) -> bool:
        """Whether it is asked on a day (ISO 8601): by a hash, so that every run of the day asks, or none."""
        text = f"{self.job.name} {self.audit.parity.full} {self.audit.parity.of} {day}"
        return int(hashlib.sha256(text.encode()).hexdigest(), 16) % self.audit.parity.every == 0

    def bind(self, engine: Engine) -> None:
        """Raise `Broken` unless it gives the columns of the table, in their types."""
        with SqlMistakes(self.file):
            given, names = engine.types(self.sql), engine.schema(self.sql).names
        if len(names) > len(given):
            twice = next(name for name in names if names.count(name) > 1)
            self.raise_broken(("parity", "full"), f"{self.file} gives two columns {twice!r}; name them apart")
        wanted = engine.types(f"SELECT * FROM {quote_identifier(self.audit.parity.of)}")
        if given != wanted:
            both = given.items() ^ wanted.items()
            apart = ", ".join(dict.fromkeys(c for c in (*wanted, *given) if c in dict(both)))
            self.raise_broken(
                ("parity", "full"),
                f"{self.file} gives ({_columns(given)}); {self.audit.parity.of} has ({_columns(wanted)}): "
                f"other in {apart}. The rows can be the same only with the same columns and types; cast them",
            )

    def answer(self, engine: Engine) -> Answer:
        """How many rows are not among the other query's, and how many of those are not here."""
        columns = ", ".join(map(quote_identifier, engine.types(f"SELECT * FROM {self._of}")))
        full = quote_identifier(full_rows(self.index))
        here, there = (f"SELECT {columns} FROM {name}" for name in (self._of, full))
        apart = [f"({one} EXCEPT ALL {other})" for one, other in ((here, there), (there, here))]
        counts = ", ".join(f"(SELECT count(*) FROM {rows})" for rows in (f"({here})", f"({there})", *apart))
        [(rows, others, extra, lost)] = engine.rows(f"SELECT {counts}")
        if not (extra or lost):
            return Answer(True, f"{rows:,} rows, each as {self.audit.parity.full} gives it")
        shown = [f"{name} has {_example(engine, one)}" for name, one in zip(self._names, apart, strict=True)]
        return Answer(
            False,
            f"{extra:,} of {rows:,} rows are not among those of {self.audit.parity.full}, of whose "
            f"{others:,} {lost:,} are not here; {'; '.join(shown)}",
        )

    @property
    def _of(self) -> str:
        return quote_identifier(self.audit.parity.of)

    @property
    def _names(self) -> tuple[str, str]:
        return self.audit.parity.of, self.audit.parity.full


def full_rows(index: int) -> str:
    """The view of the rows that the query of a parity audit gives, and of their file."""
    return f"full-rows-{index}"


def _example(engine: Engine, rows: str) -> str:
    """The first of some rows, as a person reads it."""
    names = list(engine.types(f"SELECT * FROM {rows}"))
    first = engine.rows(f"SELECT * FROM {rows} ORDER BY ALL LIMIT 1")
    return key_text(names, first[0])[:LONGEST_ROW] if first else "no such row"


def _columns(types: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {kind}" for name, kind in types.items())
