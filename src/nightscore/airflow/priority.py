"""Tonight before the past: the tasks of a backfill wait where a nightly or a manual run has some to start."""

from typing import Any

from airflow.task.priority_strategy import PriorityWeightStrategy

TONIGHT = 10_000  # above what a job's `priority` may be


class TonightFirst(PriorityWeightStrategy):
    """Where slots are short, tasks of a backfill are the last to get one.

    Airflow has no other means: a backfill is not counted by max_active_runs, and a task's pool is the same in
    every run.
    """

    def get_weight(self, ti: Any) -> int:
        """By the run's kind, as its id begins with it, then by the job's `priority`; no query."""
        of_job = int(getattr(getattr(ti, "task", None), "priority_weight", 1))
        return of_job if str(ti.run_id).startswith("backfill") else TONIGHT + of_job
