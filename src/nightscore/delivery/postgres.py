"""A table of a PostgreSQL: each day there is one transaction, and a row of `nightscore_receipts` with it.

1. The rows go by COPY into a temporary table, which nobody else sees.
2. One transaction takes the day's lock, looks which run the day is of, replaces the day (or, with `upsert`,
   each key's row that is not of a later day), counts rows and key hash of what is there now, holds them to
   what was published, and writes the receipt's row. Readers see the day before, and then this one.
3. It is committed. A process that is killed before has done nothing; after, the next one finds the run there.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa
from psycopg import sql

from nightscore.common import Broken, NotYet
from nightscore.delivery.connections import POSTGRES, address_of, unset
from nightscore.delivery.contract import Parcel, Sent
from nightscore.delivery.key_hash import postgres_sum, refuse_no_key
from nightscore.delivery.postgres_session import Session, open_session
from nightscore.delivery.postgres_tables import TargetTable
from nightscore.delivery.postgres_types import csv_rows, type_of
from nightscore.job import Postgres


@dataclass(frozen=True)
class _There:
    """What `nightscore_receipts` says of a day: the run that stands there, and the newest that ever did."""

    job: str
    source: str
    run_id: str
    run_number: int
    newest: int


@dataclass(frozen=True)
class PostgresChannel:
    """A delivery of the kind `postgres`; see `Channel` for what each method promises."""

    settings: Postgres
    knows_runs = True  # by nightscore_receipts

    @property
    def target(self) -> str:
        """The connection's name and the table's."""
        return self.settings.target

    @cached_property
    def key(self) -> tuple[str, ...]:
        """The delivery's key."""
        return tuple(self.settings.key)

    def check(self, schema: pa.Schema) -> str:
        """Hold columns and key to each other; gives that the connection is not known here."""
        for name in self.key:
            if name not in schema.names:
                allowed = ", ".join(schema.names)
                raise Broken(f"key: {name!r} is no column of the table; allowed: {allowed}")
            refuse_no_key(schema.field(name))
        for column in schema:
            type_of(column)
        return unset(self.settings.connection)

    def deliver(self, parcel: Parcel, *, again: bool = False) -> Sent:
        """COPY, and one transaction."""
        self.check(parcel.schema)
        table = TargetTable(self.settings, parcel.schema)
        with self._session() as session:
            if table.is_there(session) and table.has_receipts(session):
                table.hold_columns(session)
                if self._is_done(self._there(session, table, parcel.day), parcel, again):
                    return self._recounted(session, table, parcel)
            stage(session, parcel)
            with session.transaction():
                table.lock(session, parcel.day)
                table.make(session)
                table.hold_columns(session)
                there = self._there(session, table, parcel.day)
                if self._is_done(there, parcel, again):
                    return self._recounted(session, table, parcel)
                table.put(session, parcel.day)
                sent = self._recounted(session, table, parcel, staged=True)
                newest = max(parcel.run_number, there.newest if there else 0)
                self._note(session, table, parcel, sent, newest)
            return sent

    def withdraw(self, parcel: Parcel, before: Parcel | None) -> Sent:
        """The day of the run goes, and that of an earlier run stands again, in one transaction."""
        if self.settings.mode == "upsert":
            raise Broken(
                f"{self.target}: with mode upsert a row takes the place of its key's row of a day before, "
                "which is there no more; run the day again with what is right, and it is delivered again"
            )
        table = TargetTable(self.settings, parcel.schema)
        with self._session() as session:
            if before is not None:
                stage(session, before)
            with session.transaction():
                table.lock(session, parcel.day)
                table.make(session)
                there = self._there(session, table, parcel.day)
                if there is not None:
                    self._refuse_others(there, parcel)
                newest = max(parcel.run_number, there.newest if there else 0)
                if before is None:
                    table.clear(session, parcel.day)
                    sent = Sent(0, "0")
                else:
                    table.put(session, parcel.day)
                    sent = self._recounted(session, table, before, staged=True)
                self._note(session, table, before or parcel, sent, newest, withdrawn=before is None)
            return sent

    def _session(self) -> AbstractContextManager[Session]:
        name = self.settings.connection
        return open_session(name, address_of(name, POSTGRES))

    def _there(self, session: Session, table: TargetTable, day: dt.date) -> _There | None:
        found = session.execute(
            sql.SQL(
                "SELECT job, source, run_id, run_number, newest FROM {} WHERE table_name = %s AND day = %s"
            ).format(table.receipts),
            [table.name, day],
        ).fetchone()
        return _There(*found) if found else None

    def _is_done(self, there: _There | None, parcel: Parcel, again: bool) -> bool:
        """Whether the run is there already.

        Raises:
            NotYet: a newer one is.
            Broken: it is another job's.
        """
        if there is None:
            return False
        self._refuse_others(there, parcel)
        if parcel.run_number < (there.run_number if again else there.newest):
            raise NotYet(
                f"{self.target}: {parcel.day} is there of a newer run, or was withdrawn; run "
                f"{parcel.run_id} is superseded there"
            )
        return there.run_id == parcel.run_id and not again

    def _refuse_others(self, there: _There, parcel: Parcel) -> None:
        if not parcel.is_of(there.job, there.source):
            raise Broken(
                f"{self.target}: {parcel.day} is there of table {there.source} of job {there.job}; name "
                "another table, or remove its row from nightscore_receipts"
            )

    def _recounted(
        self, session: Session, table: TargetTable, parcel: Parcel, *, staged: bool = False
    ) -> Sent:
        """Rows and key hash at the target. Broken where they are not those that were published."""
        hash_ = postgres_sum(parcel.schema, self.key, "t.")
        rows, found = table.count(session, parcel.day, hash_, staged=staged)
        expected = parcel.key_hash(self.key)
        if table.is_upsert and not staged:  # later days have taken keys over since
            return Sent(rows, found)
        if (rows, found) != (parcel.rows, expected):
            since = "; it was changed there since: `nightscore redeliver` sends it again"
            raise Broken(
                f"{self.target}: {parcel.day} has {rows:,} rows there, key hash {found}, and {parcel.rows:,} "
                f"were published, {expected}{'; nothing is delivered' if staged else since}"
            )
        return Sent(rows, found)

    def _note(
        self, session: Session, table: TargetTable, parcel: Parcel, sent: Sent, newest: int,
        *, withdrawn: bool = False,
    ) -> None:  # fmt: skip
        row: Mapping[str, object] = {
            "job": parcel.job, "table_name": table.name, "source": parcel.table, "day": parcel.day,
            "run_id": "" if withdrawn else parcel.run_id, "run_number": 0 if withdrawn else parcel.run_number,
            "newest": newest, "rows": sent.rows, "key_hash": sent.key_hash,
        }  # fmt: skip
        columns: Sequence[str] = tuple(row)
        session.execute(
            sql.SQL(
                "INSERT INTO {} ({}, delivered_at) VALUES ({}, now()) ON CONFLICT (table_name, day) "
                "DO UPDATE SET ({}, delivered_at) = ({}, now())"
            ).format(
                table.receipts,
                sql.SQL(", ").join(map(sql.Identifier, columns)),
                sql.SQL(", ").join(sql.Placeholder() * len(columns)),
                sql.SQL(", ").join(map(sql.Identifier, columns)),
                sql.SQL(", ").join(sql.SQL("excluded.{}").format(sql.Identifier(c)) for c in columns),
            ),
            list(row.values()),
        )


def stage(session: Session, parcel: Parcel) -> None:
    """The rows of a day in a temporary table of the session, `pg_temp.nightscore_day`."""
    columns = sql.SQL(", ").join(
        sql.SQL("{} {}").format(sql.Identifier(column.name), sql.SQL(type_of(column)))
        for column in parcel.schema
    )
    session.execute("DROP TABLE IF EXISTS pg_temp.nightscore_day")
    session.execute(sql.SQL("CREATE TEMP TABLE nightscore_day ({})").format(columns))
    with session.cursor() as cursor:
        with cursor.copy("COPY pg_temp.nightscore_day FROM STDIN (FORMAT csv)") as copy:
            for batch in parcel.batches():
                copy.write(csv_rows(batch))
    session.execute("ANALYZE pg_temp.nightscore_day")
