"""Make the file of messages of `nightscore init --template text`, from the package apache-airflow-core.

    python data/sources/messages.py      # with the extra [airflow]

src/nightscore/start/templates/messages.parquet: what Airflow's pages say, as its translators wrote it in six
languages: `text`, and the `language` as ISO 639-1 has it. Kept is each sentence of three words or more that
names no value and is one language's alone, in the order of the texts' sha256, so that any stretch has all of
them. What was read (package, version, licence, sha256 of the files) stands in its metadata, under `source`.
"""

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

TARGET = Path(__file__).resolve().parents[2] / "src/nightscore/start/templates/messages.parquet"
PACKAGE, FOLDER = "apache-airflow-core", "airflow/ui/dist/i18n/locales"
LANGUAGES = ("de", "en", "es", "fr", "nl", "pl")
VALUE = re.compile(r"[{}<>]")  # of a text with a place for a value, or with marks of a page
LEAST_WORDS = 3


def main() -> None:
    """Write the file."""
    package = distribution(PACKAGE)
    found: dict[str, set[str]] = defaultdict(set)
    read = hashlib.sha256()
    for language in LANGUAGES:
        for file in sorted(Path(package.locate_file(f"{FOLDER}/{language}")).glob("*.json")):
            data = file.read_bytes()
            read.update(data)
            for text in texts(json.loads(data)):
                found[text].add(language)
    alone = sorted((text for text, said in found.items() if len(said) == 1), key=_sha256)
    source = {
        "package": PACKAGE, "version": package.version, "licence": "Apache-2.0",
        "file": f"{FOLDER}/{{{','.join(LANGUAGES)}}}/*.json", "sha256": read.hexdigest(),
    }  # fmt: skip
    table = pa.table({"text": alone, "language": [next(iter(found[text])) for text in alone]})
    pq.write_table(table.replace_schema_metadata({"source": json.dumps(source)}), TARGET, compression="zstd")
    print(f"{TARGET.name}: {table.num_rows:,} texts, {TARGET.stat().st_size:,} bytes")


def texts(said: Any) -> Iterator[str]:
    """The sentences of a file of translations, at whatever depth."""
    if isinstance(said, dict):
        for value in said.values():
            yield from texts(value)
    elif isinstance(said, str) and not VALUE.search(said) and len(said.split()) >= LEAST_WORDS:
        yield " ".join(said.split())


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


if __name__ == "__main__":
    main()
