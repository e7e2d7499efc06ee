"""What a job.yaml may say. Strict: an unknown key or a wrong type is an error that names its line.

Light to import (no duckdb, pyarrow, numpy, onnxruntime): a scheduler reads every job's spec often.
"""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from nightscore.common import Size
from nightscore.job.consistency import PART_VARIABLES, check_consistency
from nightscore.job.days.deadline import Deadline, read_deadline_word
from nightscore.job.days.schedule import BY_HAND, Schedule
from nightscore.job.fields import (
    Column,
    Name,
    Number,
    SqlFile,
    StrictModel,
    Text,
    shaped,
)
from nightscore.job.parts.accounts import AccountsFor
from nightscore.job.parts.accuracy_budget import AccuracyBudget
from nightscore.job.parts.airflow_settings import AirflowSettings
from nightscore.job.parts.audits import Audit
from nightscore.job.parts.deliver import Delivery
from nightscore.job.parts.features import Features, read_features_word
from nightscore.job.parts.highlights import SHOWN_HIGHLIGHTS, Highlight
from nightscore.job.parts.judge import Judge
from nightscore.job.parts.model import Model, read_model_word
from nightscore.job.parts.notify import Notify
from nightscore.job.parts.overdue import Rung
from nightscore.job.parts.params import Param
from nightscore.job.parts.policy import Domain, Limits, Period, Policy
from nightscore.job.parts.retain import Retain, read_retain_word
from nightscore.job.sources.inputs import Input, PathInput

NOT_SAID = ""  # of texts that nothing follows from


class Scoring(StrictModel):
    """Where and in what portions rows are scored, and what happens to values that are missing."""

    device: Annotated[
        str,
        shaped(r"^[a-z][a-z0-9]*$", "a word of small letters and digits, a letter first"),
        Field(description="auto, cpu, cuda, …; one that is named is never replaced"),
    ] = "auto"
    chunk_rows: Annotated[
        Annotated[int, Field(ge=1, le=1_000_000)] | Literal["auto"],
        Field(description="rows that are scored at once"),
    ] = "auto"
    piece_rows: Annotated[
        Annotated[int, Field(ge=1000, le=100_000_000)] | Literal["auto"],
        Field(
            description="rows of a piece, which one core scores and stages as one file; auto: an eighth of "
            "the day, 32,768 to 1,000,000 rows of up to 256 MB"
        ),
    ] = "auto"
    tasks: Annotated[
        int, Field(ge=1, le=1000, description="tasks that share the pieces in Airflow, on any of its workers")
    ] = 1
    tolerance: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="by how much scores of a faster way may differ from the plain one's: relative to a "
            "score's size, absolute below 1; what is no float is the same, or the way is not taken",
        ),
    ] = 1e-5
    features_null: Annotated[
        dict[Column, Literal["fail", "nan"] | Number],
        Field(
            description="a feature's null or NaN: fail, nan, or a number instead of it; default: nan for "
            "floats, fail for the rest"
        ),
    ] = {}
    nan_output: Annotated[
        Literal["fail", "reject"] | None,
        Field(
            description="the model gives NaN, an infinite number or null: as policy.bad_row; default: what "
            "that says of other rows"
        ),
    ] = None
    sql_threads: Annotated[
        Annotated[int, Field(ge=1, le=1024)] | Literal["auto"],
        Field(
            description="threads of the features and decisions; more change no byte, but with sql: "
            "approximate, and need more memory; auto: as many as there are cores"
        ),
    ] = 1


class JobSpec(StrictModel):
    """One job: SQL in, a model in the middle (or none), SQL out."""

    job: Annotated[Name, Field(description="the DAG's id and the prefix of its tables")]
    about: Annotated[Text, Field(description="what the job is for, in a sentence")] = NOT_SAID
    owner: Annotated[Text, Field(description="who is called when it is broken")] = NOT_SAID
    schedule: Annotated[Schedule, Field(description="when a day is run; default: by hand")] = BY_HAND
    inputs: Annotated[
        dict[Name, Input], Field(min_length=1, description="what SQL may read: view name -> files or table")
    ]
    verify_inputs: Annotated[
        Literal["footer", "checksum", "sha256"],
        Field(
            description="how input files are held to what was written: by size, time and footer; by each "
            "page's checksum, too; or by the sha256 in a SHA256SUMS beside them, before and after"
        ),
    ] = "footer"
    features: Annotated[
        Features,
        BeforeValidator(read_features_word, json_schema_input_type=str | Features),
        Field(description="a .sql file of this folder, or an input's name; or SQL that is run in parts"),
    ]
    key: Annotated[list[Column], Field(min_length=1, description="unique per day; checked")]
    keep: Annotated[
        list[Column], Field(description="columns of the features carried along into the scores table")
    ] = []
    model: Annotated[
        Model,
        BeforeValidator(read_model_word, json_schema_input_type=Model | Literal["none"]),
        Field(description="the model file, and how its inputs and outputs are named; or none: SQL alone"),
    ]
    scoring: Annotated[Scoring, Field(description="where and in what portions rows are scored")] = Scoring()
    memory: Annotated[
        Size, Field(description="what a process of a night may use, such as 4GB; auto: 60 % of what there is")
    ] = "auto"
    sql: Annotated[
        Literal["exact", "approximate"],
        Field(
            description="exact: no byte depends on memory, threads or the layout of files, and what depends "
            "on the order of rows is refused; approximate: as DuckDB computes it, said in each receipt"
        ),
    ] = "exact"
    decide: Annotated[
        dict[Name, SqlFile],
        Field(description="output table -> .sql file of this folder, one SELECT over scores"),
    ] = {}
    params: Annotated[
        dict[Name, Param], Field(description="values that SQL reads with getvariable('name')")
    ] = {}
    audit: Annotated[
        list[Audit], Field(description="questions that must be answered with yes before a day is published")
    ] = []
    accounts_for: Annotated[
        AccountsFor | None,
        Field(description="where each row that comes in ends; a day on which one is lost is not published"),
    ] = None
    highlights: Annotated[
        list[Highlight],
        Field(
            max_length=SHOWN_HIGHLIGHTS,
            description="what stands first in a report: a few rows of a SELECT each; no cause of any row",
        ),
    ] = []
    domain: Annotated[
        dict[Column, Domain],
        Field(description="what values a column may have, of the features or of the model's outputs"),
    ] = {}
    limits: Annotated[Limits, Field(description="the most that a day may be")] = Limits()
    policy: Annotated[
        Policy, Field(description="what to do on a day without data, and with rows that can't be scored")
    ] = Policy()

    budget: Annotated[
        AccuracyBudget | None,
        Field(description="what a faster way to compute the model may change; `nightscore bakeoff` keeps it"),
    ] = None
    judge: Annotated[Judge, Field(description="when a challenger is promoted (`nightscore judge`)")] = Judge()
    on_schema_change: Annotated[
        Literal["fail", "evolve"],
        Field(
            description="where the job gives other columns than a published table has: fail; or evolve: a "
            "new one is null for days before, one that goes is null from then on, and a type narrower "
            "than the table's is stored as the table's"
        ),
    ] = "fail"
    close: Annotated[
        bool,
        Field(description="a day that is published is closed: only a restatement publishes it again"),
    ] = False
    retain: Annotated[
        Retain | None,
        BeforeValidator(read_retain_word, json_schema_input_type=Retain | str | None),
        Field(description="how long what is published is kept, such as 90 days; default: for ever"),
    ] = None
    deliver: Annotated[
        list[Delivery], Field(description="where a published day goes onward; no cause of any row")
    ] = []
    deadline: Annotated[
        Deadline | None,
        BeforeValidator(read_deadline_word, json_schema_input_type=Deadline | str | None),
        Field(description="by when a day is to be published: the first such time after it is complete"),
    ] = None
    notify: Annotated[list[Notify], Field(description="who is told what of the job's days")] = []
    overdue: Annotated[
        list[Rung],
        Field(description="what a night goes on with when it is late, rung by rung; default: it is late"),
    ] = []
    timeout: Annotated[
        Period | None, Field(description="how long the run of a day may take, all of it: 2h; default: any")
    ] = None
    airflow: Annotated[
        AirflowSettings | None,
        Field(description="pool, queue, priority and access of its DAG, above those of workspace.yaml"),
    ] = None

    @property
    def scores_table(self) -> str:
        """The name of the table that holds every scored row."""
        return f"{self.job}_scores"

    @property
    def source(self) -> str:
        """What makes the rows: the name of a .sql file, or of an input."""
        return self.features.sql

    @property
    def variables(self) -> tuple[str, ...]:
        """What SQL may read with getvariable: the scored day and the parameters."""
        return ("day", *self.params)

    @property
    def features_variables(self) -> tuple[str, ...]:
        """What the SQL of the features may read with getvariable: which part it makes, too."""
        return (*self.variables, *(PART_VARIABLES if self.features.asks_part else ()))

    @property
    def missing(self) -> Literal["fail", "wait", "skip"]:
        """What a day without a partition is: as the policy says; where one may be carried forward, wait."""
        is_carried = any(rung.carry_forward for rung in self.overdue)
        return "wait" if is_carried else self.policy.missing

    @property
    def tables(self) -> tuple[str, ...]:
        """The output tables in the fixed order in which a day of them is committed."""
        rejects = (self.rejects_table,) if self.rejecting else ()
        lines = (self.bad_lines_table,) if self.leaves_lines_out else ()
        return (self.scores_table, *self.decide, *rejects, *lines)

    @property
    def rejects_table(self) -> str:
        """The name of the table that holds the rows that were set aside."""
        return f"{self.job}_rejects"

    @property
    def rejecting(self) -> bool:
        """Whether rows may be set aside at all."""
        return "reject" in (self.policy.bad_row, self.scoring.nan_output, self.policy.value_lost)

    @property
    def bad_lines_table(self) -> str:
        """The name of the table that holds the lines of text inputs that were left out."""
        return f"{self.job}_bad_lines"

    @property
    def leaves_lines_out(self) -> bool:
        """Whether lines of an input may be left out at all."""
        return any(isinstance(one, PathInput) and one.bad_lines is not None for one in self.inputs.values())

    def sets_aside(self, reason: str) -> bool:
        """Whether a row with this fault goes to the table of rejects, and does not stop the run."""
        if reason == "value_lost":
            return self.policy.value_lost == "reject"
        rule = self.scoring.nan_output if reason == "nan_output" else None
        return (rule or self.policy.bad_row) == "reject"

    def delivered_table(self, delivery: Delivery) -> str:
        """The table that a delivery is of: by default the job's first decision, else its scores."""
        return delivery.from_ or next(iter(self.decide), self.scores_table)

    @model_validator(mode="after")
    def _parts_fit(self) -> "JobSpec":
        check_consistency(self)
        return self
