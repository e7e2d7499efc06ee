"""The pieces of a day as tasks of a Ray cluster, and what such a task does there."""
