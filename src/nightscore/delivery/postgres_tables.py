"""The table at the target, and that of receipts beside it: made where not there, held where they are."""

import datetime as dt
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa
from psycopg import sql

from nightscore.common import Broken
from nightscore.delivery.postgres_session import Session
from nightscore.delivery.postgres_types import type_of
from nightscore.job import Postgres

RECEIPTS = "nightscore_receipts"
STAGED = sql.SQL("pg_temp.nightscore_day")
COLUMNS = """
    SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull AND NOT a.atthasdef
    FROM pg_attribute AS a WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped
"""
UNIQUE = """
    SELECT array_agg(a.attname::text ORDER BY a.attname::text COLLATE "C")
    FROM pg_index AS i JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
    WHERE i.indrelid = to_regclass(%s) AND i.indisunique AND i.indisvalid AND i.indpred IS NULL
    GROUP BY i.indexrelid
"""


@dataclass(frozen=True)
class TargetTable:
    """The table of a delivery with the columns of a parcel, and `day`."""

    settings: Postgres
    schema: pa.Schema

    @property
    def name(self) -> str:
        """As job.yaml has it."""
        return self.settings.table

    @property
    def is_upsert(self) -> bool:
        """Whether a key has one row, the newest day's."""
        return self.settings.mode == "upsert"

    @cached_property
    def itself(self) -> sql.Identifier:
        """The table, for SQL."""
        return sql.Identifier(*self.name.split("."))

    @cached_property
    def receipts(self) -> sql.Identifier:
        """The table of receipts, in the same schema."""
        return sql.Identifier(*self.name.split(".")[:-1], RECEIPTS)

    @property
    def key(self) -> list[str]:
        """The columns that are unique: first those that are looked up."""
        return [*self.settings.key, *([] if self.is_upsert else ["day"])]

    def is_there(self, session: Session) -> bool:
        """Whether the table is."""
        return self._exists(session, self.itself)

    def has_receipts(self, session: Session) -> bool:
        """Whether the table of receipts is there."""
        return self._exists(session, self.receipts)

    def _exists(self, session: Session, table: sql.Identifier) -> bool:
        found = session.execute("SELECT to_regclass(%s)", [table.as_string(session)]).fetchone()
        return found is not None and found[0] is not None

    def lock(self, session: Session, day: dt.date) -> None:
        """Be alone with the day until the transaction ends; with upsert, with the table."""
        what = f"nightscore {self.name} {'' if self.is_upsert else day}"
        session.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [what])

    def make(self, session: Session) -> None:
        """Make what is not there: the table, its key, an index by day, and the table of receipts."""
        if self.is_there(session) and self.has_receipts(session):
            return
        session.execute("SELECT pg_advisory_xact_lock(hashtextextended('nightscore makes tables', 0))")
        session.execute(
            sql.SQL(
                "CREATE TABLE IF NOT EXISTS {} (job text NOT NULL, table_name text NOT NULL, "
                "source text NOT NULL, day date NOT NULL, run_id text NOT NULL, "
                "run_number bigint NOT NULL, newest bigint NOT NULL, "
                "rows bigint NOT NULL, key_hash text NOT NULL, delivered_at timestamptz NOT NULL, "
                "PRIMARY KEY (table_name, day))"
            ).format(self.receipts)
        )
        if not self.is_there(session):
            columns = [(column.name, type_of(column)) for column in self.schema] + [("day", "date NOT NULL")]
            defined = sql.SQL(", ").join(
                sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(kind)) for name, kind in columns
            )
            session.execute(
                sql.SQL("CREATE TABLE {} ({}, PRIMARY KEY ({}))").format(
                    self.itself, defined, _names(self.key)
                )
            )
            session.execute(sql.SQL("CREATE INDEX ON {} (day)").format(self.itself))

    def hold_columns(self, session: Session) -> None:
        """Hold the table's columns and its key to ours.

        Raises:
            Broken: names what differs, and the statement that mends it.
        """
        asked = [self.itself.as_string(session)]
        found = {name: (kind, needed) for name, kind, needed in session.execute(COLUMNS, asked)}
        ours = {**{column.name: type_of(column) for column in self.schema}, "day": "date"}
        wrong = [
            f"has no column {name} (ALTER TABLE {self.name} ADD {name} {kind})"
            if name not in found
            else f"has {name} as {found[name][0]}, and it is {kind}"
            for name, kind in ours.items()
            if name not in found or found[name][0] != kind
        ]
        wrong += [
            f"has a column {name} that must not be null, and is not sent"
            for name, (_, needed) in found.items()
            if needed and name not in ours
        ]
        if not any(columns == sorted(self.key) for (columns,) in session.execute(UNIQUE, asked)):
            key = ", ".join(self.key)
            wrong.append(f"has no unique index of ({key}) (CREATE UNIQUE INDEX ON {self.name} ({key}))")
        if wrong:
            raise Broken(f"table {self.name} at the target {'; '.join(wrong)}; nothing is delivered")

    def clear(self, session: Session, day: dt.date) -> None:
        """Take the day's rows away."""
        session.execute(sql.SQL("DELETE FROM {} WHERE day = %s").format(self.itself), [day])

    def put(self, session: Session, day: dt.date) -> None:
        """Have what is staged as the day's rows."""
        names = self.schema.names
        insert = sql.SQL("INSERT INTO {} AS t ({}, day) SELECT {}, %s FROM {}").format(
            self.itself, _names(names), _names(names), STAGED
        )
        if not self.is_upsert:
            self.clear(session, day)
            session.execute(insert, [day])
            return
        session.execute(
            sql.SQL(
                "DELETE FROM {} AS t WHERE day = %s AND NOT EXISTS (SELECT FROM {} AS s WHERE {})"
            ).format(self.itself, STAGED, self._same_key()),
            [day],
        )
        columns = [*names, "day"]
        conflict = sql.SQL(
            " ON CONFLICT ({}) DO UPDATE SET ({}) = ROW ({}) WHERE t.day <= excluded.day"
        ).format(
            _names(self.key),
            _names(columns),
            sql.SQL(", ").join(sql.SQL("excluded.{}").format(sql.Identifier(c)) for c in columns),
        )
        session.execute(insert + conflict, [day])

    def count(self, session: Session, day: dt.date, hash_: str, *, staged: bool) -> tuple[int, str]:
        """Rows and key hash of the day; with upsert, when staged, of its keys, whose day may be later."""
        if self.is_upsert and staged:
            where = sql.SQL("WHERE EXISTS (SELECT FROM {} AS s WHERE {})").format(STAGED, self._same_key())
            asked = sql.SQL("SELECT count(*), {} FROM {} AS t {}").format(sql.SQL(hash_), self.itself, where)
            found = session.execute(asked).fetchone()
        else:
            asked = sql.SQL("SELECT count(*), {} FROM {} AS t WHERE day = %s").format(
                sql.SQL(hash_), self.itself
            )
            found = session.execute(asked, [day]).fetchone()
        return (int(found[0]), str(found[1])) if found else (0, "0")

    def _same_key(self) -> sql.Composed:
        return sql.SQL(" AND ").join(
            sql.SQL("s.{0} = t.{0}").format(sql.Identifier(name)) for name in self.settings.key
        )


def _names(names: list[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))
