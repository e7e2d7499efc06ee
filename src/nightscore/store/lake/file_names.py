"""What a file in an input's folders is, by its name: data of a format, known beside data, half written."""

SUMS = "SHA256SUMS"  # as `sha256sum *.parquet > SHA256SUMS` writes it
CHECKSUM = ".crc"  # Hadoop's, beside a file
UNFINISHED = (".tmp", ".temp", ".part", ".partial", ".filepart", ".inprogress", "._copying_", ".writing")
COMPRESSED = ("", ".gz", ".zst")
ENDINGS = {  # of the files of each format, in any case
    "parquet": (".parquet", ".parq", ".pq"),
    "csv": tuple(f".csv{end}" for end in COMPRESSED),
    "json": tuple(f"{name}{end}" for name in (".json", ".jsonl", ".ndjson") for end in COMPRESSED),
    "image": (".png", ".jpg", ".jpeg"),
}


def is_data(name: str, data: str) -> bool:
    """Whether a file is data of a format."""
    return name.lower().endswith(ENDINGS[data])


def allowed(data: str) -> str:
    """What may lie in the folders of an input of a format, and the way on for all else."""
    endings = ", ".join(f"*{ending}" for ending in ENDINGS[data])
    return (
        f"allowed are {endings}, {SUMS}, *{CHECKSUM}, and names that begin with . or _, which are left out; "
        "move it, or name it in the input's ignore"
    )


def hint(name: str, data: str) -> str:
    """The way on where a file is data of another format than the input's; else nothing."""
    other = next((other for other in ENDINGS if is_data(name, other)), data)
    if other == data:
        return ""
    columns = "" if other in ("parquet", "image") else " and its columns"
    return f". It is {other}, and the input's format is {data}: write format: {other}{columns}"


def is_hidden(name: str) -> bool:
    """Whether a name does not count; `_region=eu`, a partition, does."""
    return name.startswith(".") or (name.startswith("_") and "=" not in name)
