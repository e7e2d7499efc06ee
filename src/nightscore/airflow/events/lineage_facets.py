"""Datasets and facets of OpenLineage, made of a job, its plan and its receipt. Needs the client installed."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import attr
from airflow.providers.openlineage.extractors import OperatorLineage
from openlineage.client.event_v2 import InputDataset, OutputDataset
from openlineage.client.facet_v2 import (
    RunFacet,
    column_lineage_dataset,
    data_quality_assertions_dataset,
    dataset_version_dataset,
    input_statistics_input_dataset,
    output_statistics_output_dataset,
    schema_dataset,
    symlinks_dataset,
)

from nightscore.airflow.events.lineage import totals
from nightscore.common import NightscoreError, Workspace
from nightscore.job import SCORES, Job, SqlAudit, TableInput
from nightscore.pipeline import Lineage, hold, read_lineage
from nightscore.store import (
    HELD,
    How,
    Plan,
    Receipt,
    RunFolder,
    Sources,
    bucket_of,
    named_views,
    renames,
    run_folder,
)  # fmt: skip

DIRECT = {How.IDENTITY: ("DIRECT", "IDENTITY"), How.TRANSFORMATION: ("DIRECT", "TRANSFORMATION"),
          How.CONDITIONAL: ("INDIRECT", "CONDITIONAL")}  # fmt: skip
SCHEMA = "https://github.com/OpenLineage/OpenLineage/blob/main/spec/OpenLineage.json#/$defs/RunFacet"


@attr.define
class NightscoreRunFacet(RunFacet):
    """Which day was scored, by which run, and what became of it."""

    job: str
    day: str
    runId: str  # noqa: N815 - as OpenLineage writes names
    status: str
    rows: dict[str, int] = attr.field(factory=dict)
    rejects: list[dict[str, Any]] = attr.field(factory=list)
    audits: list[dict[str, Any]] = attr.field(factory=list)
    seconds: dict[str, float] = attr.field(factory=dict)

    @staticmethod
    def _get_schema() -> str:
        return SCHEMA


def facets_of_plan(job: Job, plan: Plan | None) -> "OperatorLineage[Any, Any]":
    """What is read for a day, also where it is not published: then with the audits that hold it."""
    held = _read_held(job, plan) if plan else None
    status = "held" if held else plan.status if plan else "failed"
    facets = _run_facets(held, status) if held else _facet_of(plan, status) if plan else {}
    return OperatorLineage(inputs=_inputs(job, plan, None), run_facets=facets)


def facets_of_receipt(job: Job, receipt: Receipt) -> "OperatorLineage[Any, Any]":
    """What was read and published; of a day that was unchanged nothing was written."""
    folder = RunFolder(renames.runs_home(job.workspace, job.name) / receipt.day / receipt.run_id)
    plan = _read_plan(folder)
    lineage = _read_lineage(job, plan)
    outputs = list(_outputs(job, receipt, lineage)) if receipt.status == "published" else []
    return OperatorLineage(
        inputs=_inputs(job, plan, lineage), outputs=outputs, run_facets=_run_facets(receipt, receipt.status)
    )


def address_of(workspace: Workspace, path: str) -> tuple[str, str]:
    """Namespace and name of what a path of a plan or job.yaml names, as OpenLineage names files."""
    place = workspace.locate(path)
    root = bucket_of(workspace, place)
    if root is None:
        return "file", place.as_posix()
    url = urlsplit(f"{root.at.rstrip('/')}/{place.relative_to(root.folder).as_posix()}")
    return f"{url.scheme}://{url.netloc}", url.path.strip("/")


def _read_plan(folder: RunFolder) -> Plan | None:
    with contextlib.suppress(FileNotFoundError):
        return run_folder.read_plan(folder.plan)
    return None


def _read_lineage(job: Job, plan: Plan | None) -> Lineage | None:
    try:
        return read_lineage(job, plan) if plan and plan.status != "carry" else None
    except NightscoreError:  # the job, or its model, is another one by now
        return None


def _read_held(job: Job, plan: Plan) -> Receipt | None:
    folder = run_folder.folder_of_plan(job.workspace, plan)
    if not plan.run_id or not (folder.path / HELD).exists():
        return None
    held = (day.receipt for day in hold.read_held_days(job.workspace, job.name))
    return next((receipt for receipt in held if receipt.run_id == plan.run_id), None)


def _inputs(job: Job, plan: Plan | None, lineage: Lineage | None) -> list[InputDataset]:
    found: dict[tuple[str, str], InputDataset] = {}
    if plan and plan.status == "carry":  # what it published of the day before
        homes = (
            renames.table_home(job.workspace, name) for name in (job.spec.scores_table, *job.spec.decide)
        )
        return [InputDataset(*address_of(job.workspace, home.key)) for home in homes]
    for name in job.spec.inputs:
        place = _input_place(job, name)
        facets: dict[str, Any] = {}
        if lineage:
            facets["schema"] = _schema(lineage.inputs[name].items())
        if plan and name in plan.snapshots:
            facets["version"] = _version(plan.snapshots[name])
        counted = input_statistics_input_dataset.InputStatisticsInputDatasetFacet(*totals(plan, name))
        found.setdefault(place, InputDataset(*place, inputFacets={"inputStatistics": counted}, facets=facets))
    if plan and plan.model_path and not job.spec.model.is_none:
        place = address_of(job.workspace, plan.model_path)
        found.setdefault(place, InputDataset(*place, facets={"version": _version(plan.model_sha256)}))
    return list(found.values())


def _input_place(job: Job, name: str) -> tuple[str, str]:
    source = job.spec.inputs[name]
    if isinstance(source, TableInput):
        return address_of(job.workspace, renames.table_home(job.workspace, source.table).key)
    catalog = getattr(source, "catalog", None)
    return (f"iceberg://{catalog}", source.address) if catalog else address_of(job.workspace, source.address)


def _outputs(job: Job, receipt: Receipt, lineage: Lineage | None) -> Iterator[OutputDataset]:
    assertions = dict(_assertions(job, receipt))
    for table, told in receipt.tables.items():
        place = address_of(job.workspace, renames.table_home(job.workspace, table).key)
        name = symlinks_dataset.Identifier("nightscore", table, "TABLE")
        facets: dict[str, Any] = {"symlinks": symlinks_dataset.SymlinksDatasetFacet([name])}
        if told.version is not None:
            facets["version"] = _version(str(told.version))
        if lineage and table in lineage.tables:
            schema = lineage.tables[table]
            facets["schema"] = _schema([(f.name, str(f.type)) for f in schema])
            facets |= _columns(job, lineage.sources.get(table, {}))
        if table in assertions:
            facets["dataQualityAssertions"] = assertions[table]
        counted = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
            rowCount=told.rows, size=told.bytes, fileCount=told.files
        )
        yield OutputDataset(*place, outputFacets={"outputStatistics": counted}, facets=facets)


def _columns(job: Job, sources: Mapping[str, Sources]) -> dict[str, Any]:
    """Which columns of which dataset a table's columns come from, as far as they could be followed."""
    facet = column_lineage_dataset
    fields = {}
    for column, origins in sources.items():
        read = [
            facet.InputField(*_input_place(job, name), field, [facet.Transformation(*DIRECT[how])])
            for (name, field), how in sorted(origins.items())
        ]
        if read:
            fields[column] = facet.Fields(inputFields=read)
    return {"columnLineage": facet.ColumnLineageDatasetFacet(fields=fields)} if fields else {}


def _assertions(job: Job, receipt: Receipt) -> Iterator[tuple[str, Any]]:
    """Each audit at the tables of the job that its SQL reads; a built-in one at the scores."""
    asked = {str(audit): audit for audit in job.spec.audit}
    found: dict[str, list[Any]] = {}
    for result in receipt.audits:
        audit = asked.get(result.name)
        sql = job.audit_sql.get(audit.sql, audit.sql) if isinstance(audit, SqlAudit) else None
        assertion = data_quality_assertions_dataset.Assertion(
            assertion="custom_sql" if sql else result.name, success=result.passed, name=result.name,
            severity="error" if result.severity == "fail" else "warn", description=result.detail or None,
            content=sql, contentType="sql" if sql else None,
        )  # fmt: skip
        for table in _audited(job, sql):
            found.setdefault(table, []).append(assertion)
    for table, assertions in found.items():
        yield table, data_quality_assertions_dataset.DataQualityAssertionsDatasetFacet(assertions=assertions)


def _audited(job: Job, sql: str | None) -> Sequence[str]:
    views = named_views(sql, job.shown) if sql else frozenset({SCORES})
    tables = [job.spec.scores_table if view == SCORES else view for view in views]
    named = [table for table in job.spec.tables if table.lower() in {name.lower() for name in tables}]
    return named or [job.spec.scores_table]


def _run_facets(receipt: Receipt, status: str) -> dict[str, RunFacet]:
    return {
        "nightscore": NightscoreRunFacet(
            receipt.job, receipt.day, receipt.run_id, status, receipt.rows.model_dump(),
            [reject.model_dump() for reject in receipt.rejects],
            [audit.model_dump() for audit in receipt.audits], dict(receipt.seconds),
        )
    }  # fmt: skip


def _facet_of(plan: Plan, status: str) -> dict[str, RunFacet]:
    return {"nightscore": NightscoreRunFacet(plan.job, plan.day, plan.run_id, status)}


def _schema(columns: Any) -> schema_dataset.SchemaDatasetFacet:
    fields = [schema_dataset.SchemaDatasetFacetFields(name, kind) for name, kind in columns]
    return schema_dataset.SchemaDatasetFacet(fields)


def _version(text: str) -> dataset_version_dataset.DatasetVersionDatasetFacet:
    return dataset_version_dataset.DatasetVersionDatasetFacet(text)
