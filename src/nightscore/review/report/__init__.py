"""The report of a published day."""
