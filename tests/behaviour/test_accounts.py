"""`accounts_for`: each row that comes in ends in one table, or nothing is published; and macros at night."""

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from nightscore import Broken, load, run
from nightscore.job import macros
from nightscore.pipeline.steps import check_job
from nightscore.review.text import print_receipt
from tests.support.workspace import DAYS, make_workspace

pytestmark = pytest.mark.disk_only(reason="what a day's SQL gives does not depend on where it is written")
FIRST, SECOND, _ = DAYS
MAIL = """\
job: mail
about: Who is written to, and why the others are not
owner: tests
inputs:
  members: {path: data/lake/members, partition: day, lookback: 3}
  off: {path: data/lake/off.parquet}
features: audience.sql
key: [id]
model: none
decide:
  mail_list: list.sql
  mail_funnel: funnel.sql
accounts_for: {input: members, tables: [mail_list, mail_funnel]}
"""
AUDIENCE = """\
SELECT id, first_reason(MAP {
    'suppressed': EXISTS (FROM off WHERE off.id = members.id AND holds_on(since, NULL, getvariable('day'))),
    'held out': in_hold_out(id, 'season', 0.2)
}) AS reason
FROM members
WHERE day = getvariable('day')
"""
LIST = "SELECT id, block FROM scores, (VALUES (1), (2)) AS blocks(block) WHERE reason IS NULL"
FUNNEL = "SELECT id, reason FROM scores WHERE reason IS NOT NULL"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A workspace with 200 members, other ones each day, and twenty that want no mail."""
    make_workspace(tmp_path, 10, days=())
    for number, day in enumerate(DAYS):
        folder = tmp_path / f"data/lake/members/day={day}"
        folder.mkdir(parents=True)
        pq.write_table(pa.table({"id": range(number * 10, number * 10 + 200)}), folder / "part.parquet")
    off = {"id": range(0, 200, 10), "since": pa.array([0] * 20, pa.date32())}
    pq.write_table(pa.table(off), tmp_path / "data/lake/off.parquet")
    write_job(tmp_path)
    return tmp_path


def write_job(
    root: Path, job: str = MAIL, audience: str = AUDIENCE, mails: str = LIST, funnel: str = FUNNEL
) -> None:
    folder = root / "jobs/mail"
    folder.mkdir(exist_ok=True)
    (folder / "job.yaml").write_text(job.replace("key: [id]", "key: [id]\nkeep: [reason]"))
    for name, text in (("audience", audience), ("list", mails), ("funnel", funnel)):
        (folder / f"{name}.sql").write_text(text)


def held_out(number: int) -> bool:
    lowest = int.from_bytes(hashlib.md5(f"hold out|season|{number}".encode()).digest(), "little") % 2**53  # noqa: S324
    return lowest / 2**53 < 0.2


def reason(number: int) -> str | None:
    if number % 10 == 0 and number < 200:
        return "suppressed"
    return "held out" if held_out(number) else None


def test_a_day_whose_rows_all_end_somewhere(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The counts are those of plain Python; only the rows of the day count, not those of the lookback."""
    receipt = [run(load("mail", root), day) for day in DAYS[:2]][-1]
    members = range(10, 210)
    reasons = {number: why for number in members if (why := reason(number))}
    funnel = DeltaTable(root / "data/tables/mail_funnel").to_pandas()
    assert dict(funnel[funnel["day"].astype(str) == SECOND][["id", "reason"]].values.tolist()) == reasons
    accounts = receipt.accounts
    assert accounts is not None and (accounts.input, accounts.key, accounts.rows) == ("members", ("id",), 200)
    assert accounts.tables == {"mail_list": 200 - len(reasons), "mail_funnel": len(reasons)}
    called = macros.macros_called("first_reason(in_hold_out(holds_on(")
    assert receipt.macros == {
        name: hashlib.sha256(text.encode()).hexdigest() for name, text in called.items()
    }
    assert set(receipt.macros) == {"draw_text", "hash_point", "in_hold_out", "holds_on", "first_reason"}
    print_receipt(receipt)
    shown = capsys.readouterr().out
    said = f"of 200 rows of members each ended in one table: {200 - len(reasons)} in mail_list"
    assert said in " ".join(shown.split())


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"mails": LIST + " AND id <> 7"}, r"1 end nowhere \(id=7\)"),
        ({"funnel": FUNNEL + " OR id = 7"}, r"1 end in more than one table \(id=7: mail_funnel, mail_list\)"),
        ({"funnel": FUNNEL + " UNION ALL SELECT 999, 'who'"},
         r"1 stand in a table, and not in members \(id=999: mail_funnel\)"),
        ({"funnel": FUNNEL + " UNION ALL SELECT NULL, 'who'"}, r"1 have a NULL in their id"),
    ],
)  # fmt: skip
def test_a_row_that_is_lost_or_there_twice_stops_the_night(
    root: Path, changed: dict[str, str], said: str
) -> None:
    write_job(root, **changed)
    with pytest.raises(Broken, match=rf"jobs/mail/job.yaml:\d+: accounts_for: .*{said}"):
        run(load("mail", root), FIRST)
    assert not (root / "data/tables/mail_list").exists()
    write_job(root)
    assert run(load("mail", root), FIRST).accounts


def test_rows_that_are_not_told_apart(root: Path) -> None:
    """Rows of one key can't be accounted for: which of them ended where is not known."""
    folder = root / f"data/lake/members/day={FIRST}"
    pq.write_table(pa.table({"id": [5, 5, 6]}), folder / "part.parquet")
    write_job(root, audience=AUDIENCE.replace("SELECT id", "SELECT DISTINCT id"))
    with pytest.raises(Broken, match=r"1 stand twice or more in members: give accounts_for a key .*id=5"):
        run(load("mail", root), FIRST)


@pytest.mark.parametrize("key", ["ends", "rows_in", "stands"])
def test_a_key_may_have_any_name(root: Path, key: str) -> None:
    """A row that is lost is found, whatever its key is called, and one that is not is none."""
    for day in DAYS:
        pq.write_table(pa.table({key: [1]}), root / f"data/lake/members/day={day}/part.parquet")
    job, audience = MAIL.replace("key: [id]", f"key: [{key}]"), f"SELECT {key}, '' AS reason FROM members "
    audience += "WHERE day = getvariable('day')"
    folder = root / "jobs/mail"
    for mails, lost in (
        (f"SELECT {key} FROM scores", False),
        (f"SELECT {key} FROM scores WHERE false", True),
    ):
        write_job(root, audience=audience, mails=mails, funnel=f"SELECT {key} FROM scores WHERE false")
        (folder / "job.yaml").write_text(job.replace(f"key: [{key}]", f"key: [{key}]\nkeep: [reason]"))
        if lost:
            with pytest.raises(Broken, match=rf"1 end nowhere \({key}=1\)"):
                run(load("mail", root), SECOND)
        else:
            assert run(load("mail", root), FIRST).accounts


def test_a_key_of_another_type_that_is_not_exact_is_refused(root: Path) -> None:
    """2**53 + 1 is lost, and the table has 2**53, which is the same as a DOUBLE."""
    pq.write_table(pa.table({"id": [2**53 + 1]}), root / f"data/lake/members/day={FIRST}/part.parquet")
    write_job(root, mails=f"SELECT CAST({2**53} AS DOUBLE) AS id", funnel=FUNNEL + " AND false")
    with pytest.raises(Broken, match=r"tables: id is DOUBLE in mail_list and BIGINT in members.* cast it"):
        run(load("mail", root), FIRST)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (
            "{input: member, tables: [mail_list]}",
            "accounts_for.input: 'member' is none of members, off, scores",
        ),
        ("{input: members, tables: [mails]}", "accounts_for.tables.0: 'mails' is none of scores, mail_list"),
        ("{input: members, tables: [mail_list, mail_list]}", "'mail_list' stands twice"),
        ("{input: members, tables: []}", "accounts_for.tables"),
        ("{of: members, tables: [mail_list]}", "accounts_for.of"),
    ],
)
def test_mistakes_name_what_is_allowed(root: Path, said: str, message: str) -> None:
    write_job(root, MAIL[: MAIL.index("accounts_for")] + f"accounts_for: {said}\n")
    with pytest.raises(Broken, match=message):
        load("mail", root)


def test_a_key_that_a_table_has_not_is_found_before_a_row_is_read(root: Path) -> None:
    write_job(root, mails="SELECT id AS member FROM scores WHERE reason IS NULL")
    with pytest.raises(Broken, match=r"accounts_for.tables: mail_list has no column 'id'.* it has member"):
        check_job(load("mail", root))


def test_a_macro_is_part_of_the_job(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later version that writes one otherwise makes other days, and a plan sees it; other jobs stay."""
    first = run(load("mail", root), FIRST)
    assert run(load("mail", root), FIRST).status == "unchanged"
    others = {**macros.read_macros(), "holds_on": "CREATE MACRO holds_on(since, until, day) AS false;\n"}
    mini = load("mini", root).hash
    monkeypatch.setattr(macros, "read_macros", lambda: others)
    second = run(load("mail", root), FIRST)
    assert second.status == "published" and second.job_hash != first.job_hash
    assert second.accounts and first.accounts and second.accounts.tables != first.accounts.tables
    assert load("mini", root).hash == mini
