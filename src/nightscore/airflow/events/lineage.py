"""What a task read and published, as OpenLineage says it, for whoever has its provider installed.

The provider asks the operator when its task has ended (`get_openlineage_facets_on_complete`, `…_on_failure`),
and before that nothing of OpenLineage is imported. A dataset is the folder that a job.yaml names, or the
model's file, by the address at which others find it: `file` and its path, or the bucket and the key. A table
that one job publishes and another reads is therefore one dataset.
"""

import logging
from typing import TYPE_CHECKING, Any

from nightscore.common import NightscoreError
from nightscore.job import Job

if TYPE_CHECKING:
    from nightscore.store import Plan, Receipt

log = logging.getLogger(__name__)


class TellsLineage:
    """An operator that tells its lineage: of the plan that it made or had, or of the receipt that it gave."""

    told: "Plan | Receipt | None" = None

    if TYPE_CHECKING:  # the operator's own

        def read(self) -> Job:
            """The job, as it is now."""

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:  # noqa: ARG002 - the hook's
        """Datasets in and out, with columns, rows, versions, audits; None where the job can't be read."""
        from nightscore.airflow.events.lineage_facets import facets_of_plan, facets_of_receipt
        from nightscore.store import Plan, Receipt

        try:
            job = self.read()
            if isinstance(self.told, Receipt):
                return facets_of_receipt(job, self.told)
            return facets_of_plan(job, self.told if isinstance(self.told, Plan) else None)
        except NightscoreError as error:
            log.warning("no lineage is told: %s", error)
            return None

    get_openlineage_facets_on_failure = get_openlineage_facets_on_complete


def totals(plan: "Plan | None", name: str) -> tuple[int | None, int, int]:
    """Rows, bytes and files of an input; of text files nobody knows the rows before they are read."""
    files = plan.inputs.get(name, ()) if plan else ()
    known = bool(files) and all(file.groups or not file.bytes for file in files)
    return sum(file.rows for file in files) if known else None, sum(file.bytes for file in files), len(files)
