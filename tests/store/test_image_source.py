"""Images of thousands of folders are read by as few readers as their paths allow."""

import time
from pathlib import Path

import duckdb

from nightscore.store.sql.image_files import ImageFiles, image_source

MANY = 3_000
SECONDS = 1.0  # a reader a folder took four, and grew with the square of them


def test_thousands_of_folders_are_read_at_once(tmp_path: Path) -> None:
    """A folder a customer, some of them of hive's; each row has its own file's bytes."""
    names = [f"{'k=1/' if i % 2 else ''}c{i}/a.png" for i in range(MANY)]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(name.encode())
    files = [tmp_path / name for name in names]
    sql = image_source(files, ImageFiles(str(tmp_path), {file: {} for file in files}), {})
    started = time.process_time()
    with duckdb.connect() as connection:
        found = connection.sql(f"SELECT file, content FROM {sql}").fetchall()
    assert sorted(found) == sorted((name, name.encode()) for name in names)
    assert sql.count("read_blob") == 2 and time.process_time() - started < SECONDS
