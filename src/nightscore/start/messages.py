"""The sample rows of the text template: real sentences in six languages, as messages that come in.

They lie beside the templates in messages.parquet, which the repository's data/sources/messages.py writes from
Airflow's own translations; whose they are the workspace says in data/MESSAGES.md. The days are made: the
source has none.
"""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from nightscore.start.samples import cut_in_days, parquet, partition

MESSAGES = Path(__file__).parent / "templates/messages.parquet"
KNOWN = 1_002  # messages of which the language is known, for training
MESSAGES_A_DAY = 350  # of the three days after them: 2,052 in all


def messages_files() -> dict[str, bytes]:
    """The lake of messages, and the languages that are known of its oldest day: path -> Parquet.

    messages: message_id int32, text string. languages: message_id int32, language string, as ISO 639-1 has
    it. The last message of the last day has no text.
    """
    found = pq.read_table(MESSAGES)
    ids = pa.array(range(1, len(found) + 1), pa.int32())
    texts = [*found["text"].to_pylist()[:-1], None]
    messages = pa.table({"message_id": ids, "text": pa.array(texts, pa.string())})
    languages = pa.table({"message_id": ids, "language": found["language"]})
    days = cut_in_days(messages, KNOWN, MESSAGES_A_DAY)
    lake = {partition("messages", day): parquet(rows) for day, rows in days.items()}
    return lake | {"data/lake/languages.parquet": parquet(languages[:KNOWN])}
