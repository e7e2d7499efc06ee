"""The documents of a run, and where they and the tables lie; the homes of DuckDB and Delta."""
