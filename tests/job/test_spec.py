"""What job.yaml may say: each mistake is named with its file, the right line, the value and what is allowed."""

# ruff: noqa: E501 - a row of the table of mistakes is one line

from pathlib import Path

import pytest

from nightscore.common.errors import Broken
from nightscore.common.workspace import Workspace
from nightscore.job.inputs import PathInput, TableInput
from nightscore.job.loader import Job, read_job

# One value a line, so that a message with a wrong line shows.
TEXT = """\
job: full                             # 1
about: Every key there is             # 2
owner: tests                          # 3
schedule:                             # 4
  daily: "02:00"                      # 5
  timezone: America/Chicago           # 6
inputs:                               # 7
  rows:                               # 8
    path: data/lake/rows              # 9
    partition: day                    # 10
    lookback: 400                     # 11
  products:                           # 12
    path: data/lake/products.parquet  # 13
  before:                             # 14
    table: full_scores                # 15
    lookback: 14                      # 16
    columns:                          # 17
      id: BIGINT                      # 18
features: features.sql                # 19
key:                                  # 20
  - id                                # 21
  - shop                              # 22
keep:                                 # 23
  - seen                              # 24
model:                                # 25
  path: data/models/m.onnx            # 26
  columns:                            # 27
    - a                               # 28
  outputs:                            # 29
    score: "probabilities[1]"         # 30
scoring:                              # 31
  device: cpu                         # 32
  chunk_rows: 1000                    # 33
decide:                               # 34
  full_top: top.sql                   # 35
params:                               # 36
  n:                                  # 37
    type: integer                     # 38
    default: 10                       # 39
    minimum: 1                        # 40
    maximum: 100                      # 41
audit:                                # 42
  - name: is well                     # 43
    sql: SELECT true                  # 44
    severity: warn                    # 45
policy:                               # 46
  missing: wait                       # 47
  empty: publish                      # 48
"""


def read(root: Path, text: str) -> Job:
    folder = root / "jobs" / "full"
    folder.mkdir(parents=True)
    for name in ("features.sql", "top.sql"):
        (folder / name).write_text("SELECT 1")
    (folder / "job.yaml").write_text(text)
    return read_job(folder / "job.yaml", Workspace(root))


def changed(old: str, new: str) -> str:
    assert TEXT.count(old) == 1, f"{old!r} stands {TEXT.count(old)} times"
    return TEXT.replace(old, new)


def without(*keys: str) -> str:
    """The text with the top-level keys, and what is below them, blanked; lines stay where they are."""
    kept, gone = [], False
    for line in TEXT.splitlines():
        if not line.startswith(" "):
            gone = line.partition(":")[0] in keys
        kept.append("" if gone else line)
    return "\n".join(kept)


def test_every_key_is_read(tmp_path: Path) -> None:
    """A job.yaml that uses every key is read as it stands."""
    spec = read(tmp_path, TEXT).spec
    assert (spec.job, spec.tables) == ("full", ("full_scores", "full_top"))
    assert str(spec.schedule) == "daily 02:00 America/Chicago"
    assert spec.inputs["rows"] == PathInput(path="data/lake/rows", partition="day", lookback=400)
    assert spec.inputs["before"] == TableInput(table="full_scores", lookback=14, columns={"id": "BIGINT"})
    assert (spec.key, spec.keep, spec.model.columns) == (["id", "shop"], ["seen"], ["a"])
    assert (spec.scoring.device, spec.scoring.chunk_rows) == ("cpu", 1000)
    assert (spec.params["n"].default, spec.audit[0].severity) == (10, "warn")
    assert (spec.policy.missing, spec.policy.empty) == ("wait", "publish")


def test_what_is_left_out_has_a_default(tmp_path: Path) -> None:
    """Only job, inputs, features, key and model have to be there."""
    spec = read(
        tmp_path,
        without("about", "owner", "schedule", "keep", "scoring", "decide", "params", "audit", "policy"),
    ).spec
    assert (spec.about, spec.owner) == ("", "")
    assert (spec.schedule, spec.keep, spec.decide, spec.params, spec.audit) == ("none", [], {}, {}, [])
    assert (spec.scoring.device, spec.scoring.chunk_rows) == ("auto", "auto")
    assert spec.memory == "auto"
    assert (spec.policy.missing, spec.policy.empty) == ("fail", "fail")


SCHEDULES = {
    "none": ("schedule: none", "none"),
    "daily in UTC": ('schedule: {daily: "23:59"}', "daily 23:59 UTC"),
    "daily with catchup": ('schedule: {daily: "23:59", catchup: 14 days}', "daily 23:59 UTC"),
    "exchange": ("schedule: {exchange: XNYS, after_close: 90m, catchup: all}", "XNYS close + 90m"),
    "exchange at the close": ("schedule: {exchange: XNYS}", "XNYS close + 0m"),
    "several exchanges": ("schedule: {exchange: [XNYS, XLON], after_close: 30m}", "XNYS + XLON close + 30m"),
    "cron": (
        'schedule: {cron: "0 2  * * 1", timezone: Europe/Berlin, day: -3, catchup: 2 days}',
        "cron 0 2 * * 1 Europe/Berlin, day -3",
    ),
    "cron in a word": ('schedule: {cron: "@monthly"}', "cron @monthly UTC, day -1"),
    "after": ("schedule: {after: [a, b]}", "after a, b"),
}


@pytest.mark.parametrize(("line", "shown"), SCHEDULES.values(), ids=SCHEDULES.keys())
def test_schedules(tmp_path: Path, line: str, shown: str) -> None:
    """Each kind of schedule is read, and says in words what it is."""
    assert str(read(tmp_path, without("schedule") + "\n" + line + "\n").spec.schedule) == shown


AUDITS = {
    "sql": ("{name: is well, sql: SELECT true}", "is well"),
    "rows": ("{rows: {between: [0.8, 1.25]}}", "the rows are 0.8 to 1.25 times those of the day before"),
    "rows of": (
        "{rows: {between: [1, 1], of: previous}, severity: warn}",
        "the rows are 1 to 1 times those of the day before",
    ),
    "rows by name": ("{name: enough rows, rows: {between: [0, 2]}}", "enough rows"),
    "drift": ("{drift: {columns: [seen]}}", "seen: psi of at most 0.2 against the day before"),
    "drift with all": (
        "{drift: {columns: [seen, score], psi: 0.1, confidence: 0.999, of: previous}}",
        "seen, score: psi of at most 0.1 against the day before",
    ),
    "scores": (
        "{scores: {column: score, min: 0, max: 1.5, distinct: 1000}}",
        "score: at least 0, at most 1.5, 1,000 different values or more",
    ),
    "scores, one value": ("{scores: {column: score, distinct: 2}}", "score: 2 different values or more"),
    "coverage": (
        "{coverage: {of: products, key: [id, shop], at_least: 0.995}}",
        "99.5 % of the id, shop of products are in scores",
    ),
    "coverage in": (
        "{coverage: {of: scores, key: [id], at_least: 1, in: full_top}}",
        "100 % of the id of scores are in full_top",
    ),
    "parity": (
        "{parity: {full: features.sql}}",
        "the rows of scores are those of features.sql, asked on one day in 30",
    ),
    "parity with all": (
        "{parity: {full: top.sql, of: full_top, every: 1, lookback: {rows: 400}}}",
        "the rows of full_top are those of top.sql",
    ),
}


def with_audit(*lines: str) -> str:
    """The text with one audit instead of its own: its first line is line 50."""
    return without("audit") + "\naudit:\n  - " + "\n    ".join(lines) + "\n"


@pytest.mark.parametrize(("audit", "shown"), AUDITS.values(), ids=AUDITS.keys())
def test_audits(tmp_path: Path, audit: str, shown: str) -> None:
    """Each kind of audit is read, and says in words what it asks."""
    [found] = read(tmp_path, with_audit(audit)).spec.audit
    assert str(found) == shown
    assert found.severity == ("warn" if "warn" in audit else "fail")


NAME = "it is a name of small letters, digits and _, a letter first, at most 63 characters"
COLUMN = "it is a name of letters, digits and _, no digit first, at most 63 characters"
QUOTES = "is not allowed: input should be a valid string; put it in quotes"
KINDS = "a schedule is {daily: …}, {exchange: …}, {cron: …}, {after: […]} or none"

MISTAKES = {
    # names
    "job in capitals": (changed("job: full ", "job: Full "), 1, "job", f"'Full' is not allowed: {NAME}"),
    "job too long": (changed("job: full ", f"job: {'a' * 64} "), 1, "job", f"{'a' * 64}' is not allowed"),
    "job is a YAML 1.1 no": (changed("job: full ", "job: no "), 1, "job", f"False {QUOTES}"),
    "job is empty": (changed("job: full ", "job: "), 1, "job", f"None {QUOTES}"),
    "owner is an octal": (changed("owner: tests", "owner: 010"), 3, "owner", f"8 {QUOTES}"),
    "owner is a float": (changed("owner: tests", "owner: 1.10"), 3, "owner", f"1.1 {QUOTES}"),
    "owner is a date": (changed("owner: tests", "owner: 2020-01-01"), 3, "owner", f"datetime.date(2020, 1, 1) {QUOTES}"),
    "owner is a list": (changed("owner: tests", "owner: [x]"), 3, "owner", f"['x'] {QUOTES}"),
    "about is empty": (changed("about: Every key there is", 'about: ""'), 2, "about", "'' is not allowed: string should have at least 1 character"),
    # schedule
    "time without quotes": (changed('"02:00"', "12:30"), 5, "schedule.daily", f"750 {QUOTES}"),
    "time with seconds": (changed('"02:00"', "12:30:00"), 5, "schedule.daily", f"45000 {QUOTES}"),
    "no such hour": (changed('"02:00"', '"25:00"'), 5, "schedule.daily", "'25:00' is not allowed: it is a time of day as HH:MM, 00:00 to 23:59"),
    "no such zone": (changed("America/Chicago", "Mars/Olympus"), 6, "schedule.timezone", "'Mars/Olympus' is no IANA time zone, such as America/Chicago or UTC"),
    "zone outside the database": (changed("America/Chicago", "../../etc/passwd"), 6, "schedule.timezone", "is no IANA time zone"),
    "two kinds of schedule": (changed("timezone: America/Chicago", "exchange: XNYS"), 6, "schedule.exchange", "unknown key; allowed: daily, timezone, catchup"),
    "schedule key misspelt": (changed("timezone: A", "timezon: A"), 6, "schedule.timezon", "unknown key; did you mean timezone?"),
    "no such kind of schedule": (changed("  daily:", "  hourly:"), 4, "schedule", f"{{'hourly': '02:00', 'timezone': 'America/Chicago'}} is not allowed: {KINDS}"),
    "schedule is a word": (without("schedule") + "\nschedule: never", 49, "schedule", f"'never' is not allowed: {KINDS}"),
    "schedule is a YAML 1.1 no": (without("schedule") + "\nschedule: no", 49, "schedule", f"False is not allowed: {KINDS}"),
    "exchange in lower case": (without("schedule") + "\nschedule: {exchange: xnys}", 49, "schedule.exchange", "'xnys' is not allowed"),
    "no exchange at all": (without("schedule") + "\nschedule: {exchange: []}", 49, "schedule.exchange", "[] is not allowed: list should have at least 1 item"),
    "one exchange of two in lower case": (without("schedule") + "\nschedule:\n  exchange:\n    - XNYS\n    - xlon", 52, "schedule.exchange.1", "'xlon' is not allowed"),
    "minutes without unit": (without("schedule") + "\nschedule:\n  exchange: XNYS\n  after_close: 90", 51, "schedule.after_close", f"90 {QUOTES}"),
    "after nothing": (without("schedule") + "\nschedule: {after: []}", 49, "schedule.after", "[] is not allowed: list should have at least 1 item"),
    "after, and catchup": (without("schedule") + "\nschedule: {after: [a], catchup: 7 days}", 49, "schedule.catchup", "a job that comes after others has none: it runs for each day that they publish"),
    "after a name that is none": (without("schedule") + "\nschedule:\n  after:\n    - a\n    - B-b", 52, "schedule.after.1", "'B-b' is not allowed"),
    "catchup without a unit": (changed("timezone: America/Chicago", "catchup: 7"), 6, "schedule.catchup", "7 is not allowed; allowed: a number of days, such as 7 days; all; or none"),
    "catchup is a word": (changed("timezone: America/Chicago", "catchup: yes"), 6, "schedule.catchup", "True is not allowed; allowed: a number of days"),
    "catchup of no day": (changed("timezone: America/Chicago", "catchup: 0 days"), 6, "schedule.catchup", "'0 days' is not allowed; allowed: a number of days"),
    "catchup beside after": (without("schedule") + "\nschedule: {after: [a], catchup: all}", 49, "schedule.catchup", "a job that comes after others has none"),
    "cron of hours": (without("schedule") + "\nschedule:\n  cron: 0 2,14 * * 1", 50, "schedule.cron", "'0 2,14 * * 1' has several times a day, such as 02:00 and 14:00, and both would score the same day; allowed: one minute and one hour"),
    "cron of a field too few": (without("schedule") + "\nschedule:\n  cron: 0 2 * *", 50, "schedule.cron", "'0 2 * *' is no cron expression; allowed: minute, hour, day of month, month and weekday, such as"),
    "cron that never comes": (without("schedule") + "\nschedule:\n  cron: 0 2 30 2 *", 50, "schedule.cron", "'0 2 30 2 *' never comes"),
    "cron of tomorrow": (without("schedule") + "\nschedule:\n  cron: 0 2 * * 1\n  day: 1", 51, "schedule.day", "1 is not allowed: input should be less than or equal to 0"),
    "cron of a year ago": (without("schedule") + "\nschedule:\n  cron: 0 2 * * 1\n  day: -367", 51, "schedule.day", "-367 is not allowed: input should be greater than or equal to -366"),
    "cron of a day that begins": (without("schedule") + "\nschedule:\n  cron: '@daily'\n  day: 0", 51, "schedule.day", "0 is not allowed at 00:00, when that day begins; allowed: -1, or a later time"),
    "cron in a zone that is none": (without("schedule") + "\nschedule:\n  cron: 0 2 * * 1\n  timezone: Berlin", 51, "schedule.timezone", "'Berlin' is no IANA time zone"),
    # inputs
    "no inputs": (without("inputs") + "\ninputs: {}", 49, "inputs", "{} is not allowed: dictionary should have at least 1 item"),
    "inputs are a list": (without("inputs") + "\ninputs: [a]", 49, "inputs", "['a'] is not allowed: a mapping of keys to values is"),
    "input of no kind": (changed("path: data/lake/products.parquet", "file: x"), 12, "inputs.products", "{'file': 'x'} is not allowed: an input is {path: …, partition: day, lookback: days}, {table: …}"),
    "input is a text": (without("inputs") + "\ninputs:\n  rows: data/x", 50, "inputs.rows", "'data/x' is not allowed: an input is {path"),
    "input is path and table": (changed("lookback: 400  ", "table: other   "), 11, "inputs.rows.table", "unknown key; allowed: path, partition, lookback"),
    "input's name in capitals": (changed("  products:", "  Products:"), 12, "inputs.Products", f"'Products' is not allowed: {NAME}"),
    "input key misspelt": (changed("lookback: 400", "lookbak: 400"), 11, "inputs.rows.lookbak", "unknown key; did you mean lookback?"),
    "lookback of no day": (changed("lookback: 400", "lookback: 0"), 11, "inputs.rows.lookback", "0 is not allowed: input should be greater than or equal to 1"),
    "lookback in quotes": (changed("lookback: 400", "lookback: '400'"), 11, "inputs.rows.lookback", "'400' is not allowed: input should be a valid integer"),
    "lookback is a float": (changed("lookback: 400", "lookback: 400.0"), 11, "inputs.rows.lookback", "400.0 is not allowed: input should be a valid integer"),
    "lookback is a boolean": (changed("lookback: 400", "lookback: yes"), 11, "inputs.rows.lookback", "True is not allowed: input should be a valid integer"),
    "lookback without partition": (changed("partition: day                    # 10", ""), 11, "inputs.rows.lookback", "needs partition: a table without partitions has no days"),
    "lookback of a table": (changed("lookback: 14", "lookback: -1"), 16, "inputs.before.lookback", "-1 is not allowed"),
    "table's name": (changed("table: full_scores", "table: Full"), 15, "inputs.before.table", f"'Full' is not allowed: {NAME}"),
    "type that is SQL": (changed("id: BIGINT", 'id: "BIGINT) AS x, (SELECT 1"'), 18, "inputs.before.columns.id", "'BIGINT) AS x, (SELECT 1' is not allowed: it is a type of SQL such as BIGINT"),
    "input called scores": (changed("  products:", "  scores:"), 12, "inputs.scores", "'scores' is a name that SQL already sees; rename it"),
    "input called like a table of the job": (changed("  products:", "  full_top:"), 12, "inputs.full_top", "'full_top' is a name that SQL already sees"),
    # features, key, keep
    "features name no input": (changed("features: features.sql", "features: row"), 19, "features", "'row' is no input; allowed: a .sql file, or one of rows, products, before"),
    "features name an input without partition": (changed("features: features.sql", "features: products"), 19, "features", "input 'products' has no partition, so no day to score; allowed: a .sql file, or"),
    "features leave the folder": (changed("features: features.sql", "features: ../features.sql"), 19, "features", "'../features.sql' is not allowed: a .sql file of this folder, or an input's name"),
    "features are not there": (changed("features: features.sql", "features: feature.sql"), 19, "features", "feature.sql can't be read beside job.yaml: No such file or directory"),
    "no key": (changed("key:                                  # 20\n  - id                                # 21\n  - shop", "key: []\n# 21\n#"), 20, "key", "[] is not allowed: list should have at least 1 item"),
    "model is null": (without("model") + "\nmodel:", 49, "model", "None is not allowed: a mapping of keys to values is, or the word none"),
    "model is no": (without("model") + "\nmodel: no", 49, "model", "False is not allowed: a mapping of keys to values is, or the word none"),
    "model of kind none": (without("model") + "\nmodel: {kind: none}", 49, "model", "a job without a model says model: none, and nothing below it"),
    "model of path none": (without("model") + "\nmodel: {path: none}", 49, "model", "a job without a model says model: none, and nothing below it"),
    "no model": (without("model"), 1, "model", "is missing; of a job without a model it is the word none"),
    "close is a text": (without("audit") + "\nclose: 'yes'", 49, "close", "'yes' is not allowed: input should be a valid boolean; write true or false"),
    "SQL where a file's name stands": (changed("top.sql", "SELECT 1"), 35, "decide.full_top", "'SELECT 1' is not allowed: it is the name of a .sql file beside job.yaml"),
    "key is a text": (changed("key:                                  # 20\n  - id                                # 21\n  - shop", "key: id\n# 21\n#"), 20, "key", "'id' is not allowed: input should be a valid list; write [id]"),
    "key is a YAML 1.1 no": (changed("  - shop", "  - no"), 22, "key.1", f"False {QUOTES}"),
    "key is no column's name": (changed("  - shop", "  - a b"), 22, "key.1", f"'a b' is not allowed: {COLUMN}"),
    "key twice in another case": (changed("  - shop", "  - ID"), 22, "key.1", "column 'ID' stands twice"),
    "key is the day": (changed("  - shop", "  - day"), 22, "key.1", "column 'day' is set by the framework"),
    "keep is a key": (changed("  - seen", "  - shop"), 24, "keep.0", "column 'shop' stands twice"),
    "keep is the run in another case": (changed("  - seen", "  - Run_ID"), 24, "keep.0", "column 'Run_ID' is set by the framework"),
    "keep is nothing": (changed("  - seen", "# -"), 23, "keep", "None is not allowed: input should be a valid list"),
    # model
    "model is a text": (without("model") + "\nmodel: m.onnx", 49, "model", "'m.onnx' is not allowed: a mapping of keys to values is"),
    "model key misspelt": (changed("  outputs:", "  columns_:"), 29, "model.columns_", "unknown key; did you mean columns?"),
    "model without outputs": (changed("  outputs:                            # 29\n    score: \"probabilities[1]\"", "# 29\n#"), 25, "model.outputs", "is missing"),
    "model without path": (changed("  path: data/models/m.onnx", "  #"), 25, "model", "kind auto takes path: a model file, and no entry"),
    "file without its function": (changed("  path: data/models/m.onnx", "  kind: python\n  path: m.onnx"), 25, "model", "kind python takes entry"),
    "function of another kind": (changed("  path: data/models/m.onnx", "  kind: onnx\n  path: m.onnx\n  entry: a.b:c"), 27, "model.path", "kind onnx takes path: a model file, and no entry"),
    "function that is a path": (changed("  path: data/models/m.onnx", "  kind: python\n  entry: a/b.py"), 27, "model.entry", "'a/b.py' is not allowed"),
    "kind outside of scorers": (changed("  path: data/models/m.onnx", "  kind: ../x.py\n  path: m.onnx"), 26, "model.kind", "'../x.py' is not allowed: the name of a kind, such as onnx, or a file of the workspace, such as scorers/mine.py"),
    "entry of a file": (changed("  path: data/models/m.onnx", "  kind: scorers/x.py\n  entry: a.b:c"), 27, "model.entry", "kind scorers/x.py is the function; leave entry out"),
    "missing values of no kind": (changed("  device: cpu", "  features_null: {a: skip}\n  device: cpu"), 32, "scoring.features_null.a", "'skip' is not allowed"),
    "tolerance of nothing": (changed("  device: cpu", "  tolerance: -1\n  device: cpu"), 32, "scoring.tolerance", "-1 is not allowed"),
    "memory without unit": (TEXT + "memory: 4000000000", 49, "memory", "'4000000000' is no size; allowed: a number and one of kB, MB, GB, KiB, MiB, GiB, such as 4GB; or auto"),
    "memory with another unit": (TEXT + "memory: 4G", 49, "memory", "'4G' is no size; allowed: a number"),
    "memory below zero": (TEXT + "memory: -4GB", 49, "memory", "'-4GB' is no size"),
    "memory of a list": (TEXT + "memory: [4GB]", 49, "memory", "is no size"),
    "sha256 too short": (changed("path: data/models/m.onnx            # 26", "path: m.onnx\n  sha256: abc"), 27, "model.sha256", "'abc' is not allowed: it is a sha256, 64 digits 0-9 a-f"),
    "output is a key": (changed("    score:", "    shop:"), 30, "model.outputs.shop", "column 'shop' stands twice"),
    "output is the day": (changed("    score:", "    Day:"), 30, "model.outputs.Day", "column 'Day' is set by the framework"),
    "output without source": (changed('"probabilities[1]"', "''"), 30, "model.outputs.score", "'' is not allowed"),
    "index that is none": (changed("probabilities[1]", "probabilities[x]"), 30, "model.outputs.score", "'probabilities[x]' is not allowed: it is an output of the model, such as y, probabilities[1]"),
    "column of the matrix": (changed("    - a", "    - 5"), 28, "model.columns.0", f"5 {QUOTES}"),
    # scoring, decide, params, audit, policy
    "device in capitals": (changed("device: cpu", "device: GPU"), 32, "scoring.device", "'GPU' is not allowed"),
    "chunk of no rows": (changed("chunk_rows: 1000", "chunk_rows: 0"), 33, "scoring.chunk_rows", "0 is not allowed: input should be greater than or equal to 1"),
    "chunk is a word": (changed("chunk_rows: 1000", "chunk_rows: all"), 33, "scoring.chunk_rows", "'all' is not allowed: input should be a valid integer"),
    "decision leaves the folder": (changed("top.sql", "../top.sql"), 35, "decide.full_top", "'../top.sql' is not allowed: it is the name of a .sql file"),
    "decision is not there": (changed("top.sql", "topp.sql"), 35, "decide.full_top", "topp.sql can't be read beside job.yaml"),
    "decision called scores": (changed("full_top:", "scores:"), 35, "decide.scores", "'scores' is a name of the framework's own; rename it"),
    "decision called like the scores table": (changed("full_top:", "full_scores:"), 35, "decide.full_scores", "'full_scores' is a name of the framework's own"),
    "decision called receipts": (changed("full_top:", "receipts:"), 35, "decide.receipts", "'receipts' is a name of the framework's own"),
    "decision called erasures": (changed("full_top:", "erasures:"), 35, "decide.erasures", "'erasures' is a name of the framework's own"),
    "parameter called day": (changed("  n:", "  day:"), 37, "params.day", "getvariable('day') is the scored day; choose another name"),
    "parameter in capitals": (changed("  n:", "  N:"), 37, "params.N", f"'N' is not allowed: {NAME}"),
    "parameter of no type": (changed("type: integer", "type: int"), 38, "params.n.type", "'int' is not allowed: input should be 'integer', 'number', 'string', 'boolean' or 'date'"),
    "default of another type": (changed("default: 10 ", "default: x "), 39, "params.n.default", "'x' is no integer; allowed: integer >= 1 and <= 100"),
    "default out of bounds": (changed("default: 10 ", "default: 101 "), 39, "params.n.default", "101 is not allowed; allowed: integer >= 1 and <= 100"),
    "default left out": (changed("    default: 10 ", "    # "), 37, "params.n.default", "is missing"),
    "bounds of a text": (changed("type: integer", "type: string"), 40, "params.n.minimum", "minimum and maximum are for integer and number, not string"),
    "audit without name": (changed("name: is well", "nam: is well"), 43, "audit.0.nam", "unknown key; did you mean name?"),
    "audit of no kind": (with_audit("name: is well", "sqll: SELECT true"), 50, "audit.0", "is not allowed: an audit is {name: …, sql: …}, {rows: {between: [low, high]}}, {drift: {columns: […]}}, {scores: {column: …}}, {coverage: {of: …, key: […], at_least: …}} or {parity: {full: …}}"),
    "audit is a text": (with_audit("SELECT true"), 50, "audit.0", "'SELECT true' is not allowed: an audit is"),
    "audit of two kinds": (with_audit("sql: SELECT true", "name: is well", "rows: {between: [0, 1]}"), 52, "audit.0.rows", "unknown key; allowed: name, sql, severity"),
    "SQL without a name": (with_audit("sql: SELECT true"), 50, "audit.0.name", "is missing"),
    "severity of a built-in": (with_audit("rows: {between: [0, 1]}", "severity: stop"), 51, "audit.0.severity", "'stop' is not allowed"),
    "key of an audit misspelt": (with_audit("rows: {between: [0, 1]}", "severty: warn"), 51, "audit.0.severty", "unknown key; did you mean severity?"),
    "key of rows misspelt": (with_audit("rows:", "  betwen: [0, 1]"), 51, "audit.0.rows.betwen", "unknown key; did you mean between?"),
    "rows between nothing": (with_audit("rows: {of: previous}"), 50, "audit.0.rows.between", "is missing"),
    "rows from above": (with_audit("rows:", "  between: [1.25, 0.8]"), 51, "audit.0.rows.between", "[1.25, 0.8] holds no share; allowed: [smallest, largest]"),
    "rows between three": (with_audit("rows:", "  between: [0, 1, 2]"), 51, "audit.0.rows.between", "[0, 1, 2] is not allowed: list should have at most 2 items"),
    "rows below zero": (with_audit("rows:", "  between: [-1, 1]"), 51, "audit.0.rows.between.0", "-1 is not allowed: input should be greater than or equal to 0"),
    "rows without end": (with_audit("rows:", "  between: [0, .inf]"), 51, "audit.0.rows.between.1", "inf is not allowed: input should be a finite number"),
    "rows of another day": (with_audit("rows:", "  between: [0, 1]", "  of: yesterday"), 52, "audit.0.rows.of", "'yesterday' is not allowed: input should be 'previous'"),
    "drift of nothing": (with_audit("drift: {columns: []}"), 50, "audit.0.drift.columns", "[] is not allowed: list should have at least 1 item"),
    "drift of a column that is none": (with_audit("drift:", "  columns:", "    - score", "    - scor"), 53, "audit.0.drift.columns.1", "'scor' is no column of the scores that can drift; allowed: seen, score"),
    "drift of a key": (with_audit("drift: {columns: [id]}"), 50, "audit.0.drift.columns.0", "'id' is no column of the scores that can drift; allowed: seen, score"),
    "drift of any size": (with_audit("drift:", "  columns: [score]", "  psi: 0"), 52, "audit.0.drift.psi", "0 is not allowed: input should be greater than 0"),
    "certainty": (with_audit("drift:", "  columns: [score]", "  confidence: 1"), 52, "audit.0.drift.confidence", "1 is not allowed: input should be less than 1"),
    "confidence in per cent": (with_audit("drift:", "  columns: [score]", "  confidence: 99"), 52, "audit.0.drift.confidence", "99 is not allowed"),
    "scores without a column": (with_audit("scores: {min: 0}"), 50, "audit.0.scores.column", "is missing"),
    "scores of no column": (with_audit("scores:", "  column: skore", "  min: 0"), 51, "audit.0.scores.column", "'skore' is no column of the scores that has bounds; allowed: seen, score"),
    "scores without a question": (with_audit("scores: {column: score}"), 50, "audit.0.scores", "asks nothing; give it min, max or distinct"),
    "bounds from above": (with_audit("scores:", "  column: score", "  min: 1", "  max: 0.5"), 53, "audit.0.scores.max", "0.5 is below min, 1"),
    "a bound that is no number": (with_audit("scores:", "  column: score", "  min: .nan"), 52, "audit.0.scores.min", "nan is not allowed: input should be a finite number"),
    "no values at all": (with_audit("scores:", "  column: score", "  distinct: 0"), 52, "audit.0.scores.distinct", "0 is not allowed"),
    "coverage of nothing known": (with_audit("coverage:", "  of: households", "  key: [id]", "  at_least: 1"), 51, "audit.0.coverage.of", "'households' is no input or table of the job; allowed: rows, products, before, scores, full_top"),
    "coverage in an input": (with_audit("coverage:", "  of: rows", "  key: [id]", "  at_least: 1", "  in: products"), 54, "audit.0.coverage.in", "'products' is no table that the job makes; allowed: scores, full_top"),
    "coverage misspelt": (with_audit("coverage:", "  of: rows", "  key: [id]", "  at_least: 1", "  inn: scores"), 54, "audit.0.coverage.inn", "unknown key; did you mean in?"),
    "coverage of more than all": (with_audit("coverage:", "  of: rows", "  key: [id]", "  at_least: 99"), 53, "audit.0.coverage.at_least", "99 is not allowed: input should be less than or equal to 1"),
    "coverage without a key": (with_audit("coverage:", "  of: rows", "  key: []", "  at_least: 1"), 52, "audit.0.coverage.key", "[] is not allowed"),
    "a parameter called like a kind": (changed("  n:", "  rows:").replace("default: 10 ", "defalt: 10 "), 39, "params.rows.defalt", "unknown key; did you mean default?"),
    "severity": (changed("severity: warn", "severity: warning"), 45, "audit.0.severity", "'warning' is not allowed: input should be 'fail' or 'warn'"),
    "policy for a missing day": (changed("missing: wait", "missing: ignore"), 47, "policy.missing", "'ignore' is not allowed: input should be 'fail', 'wait' or 'skip'"),
    "policy is a YAML 1.1 no": (changed("empty: publish", "empty: no"), 48, "policy.empty", "False is not allowed: input should be 'fail' or 'publish'"),
    "policy is a text": (without("policy") + "\npolicy: fail", 49, "policy", "'fail' is not allowed: a mapping of keys to values is"),
    # the top level
    "key misspelt": (changed("features: f", "feature: f"), 19, "feature", "unknown key; did you mean features?"),
    "key of no meaning": (TEXT + "colour: 3\n", 49, "colour", "unknown key; allowed: job, about, owner, schedule, inputs"),
    "key left out": (without("features"), 1, "features", "is missing"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "line", "at", "says"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_named(tmp_path: Path, text: str, line: int, at: str, says: str) -> None:
    """The message has the file, the line, the place, the value, and what is allowed there."""
    with pytest.raises(Broken) as caught:
        read(tmp_path, text)
    wanted = f"jobs/full/job.yaml:{line}: {at}: "
    messages = str(caught.value).splitlines()
    assert any(one.startswith(wanted) and says in one for one in messages), messages


def test_all_mistakes_are_named_at_once(tmp_path: Path) -> None:
    """Whoever writes a job.yaml sees every mistake in one go, a line each."""
    text = changed("owner: tests", "owner: 5").replace("lookback: 400", "lookback: 0").replace("warn", "wrn")
    with pytest.raises(Broken) as caught:
        read(tmp_path, text)
    lines = [message.split(": ")[0] for message in str(caught.value).splitlines()]
    assert lines == ["jobs/full/job.yaml:3", "jobs/full/job.yaml:11", "jobs/full/job.yaml:45"]


def test_a_long_value_is_clipped(tmp_path: Path) -> None:
    """A message stays a line or two, however long the offending value is."""
    with pytest.raises(Broken) as caught:
        read(tmp_path, changed("about: Every key there is", f"about: {'x' * 100_000}"))
    assert str(caught.value).startswith("jobs/full/job.yaml:2: about: 'xxx")
    assert len(str(caught.value)) < 300
