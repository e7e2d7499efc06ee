"""Files that are not alike, read as one table: their types, and what two of them disagree about."""
