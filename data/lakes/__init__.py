"""The sample lakes of this workspace: real data, written as Parquet partitions by day."""
