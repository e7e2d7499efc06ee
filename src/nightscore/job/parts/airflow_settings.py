"""What Airflow does with a job's tasks, and who may: `airflow:` of a job.yaml, or of workspace.yaml for all.

    airflow:                      # each key of a job's stands above its workspace's
      pool: gpu                   # slots that its tasks take
      queue: gpu                  # workers that take them, where the executor has queues
      priority: 5                 # before tasks of a lower one, within tonight's and within the past's
      access: {Risk: [can_read, can_edit]}    # roles of an auth manager that has them, such as FAB's

No cause of any row. Light to import, as all of a job's spec.
"""

from typing import Annotated, Literal

from pydantic import Field

from nightscore.job.fields import StrictModel, shaped

Right = Literal["can_read", "can_edit", "can_delete"]
Word = Annotated[
    str,
    shaped(
        r"^[^\s,;]([^,;\n]*[^\s,;])?$",
        "a name of at most 200 characters, without comma, semicolon, or blanks around it",
        max_length=200,
    ),
]


class AirflowSettings(StrictModel):
    """How Airflow runs a job's tasks. What is not said is Airflow's own default."""

    pool: Annotated[Word | None, Field(description="the pool that its tasks take slots of")] = None
    queue: Annotated[
        Word | None, Field(description="the queue of workers that take its tasks, such as those with a GPU")
    ] = None
    priority: Annotated[
        Annotated[int, Field(ge=1, le=1000)] | None,
        Field(description="1 to 1000: tasks of a higher one come first; default: 1"),
    ] = None
    access: Annotated[
        dict[Word, Annotated[list[Right], Field(min_length=1)]] | None,
        Field(description="role -> what it may do with the DAG: can_read, can_edit, can_delete"),
    ] = None

    def over(self, other: "AirflowSettings") -> "AirflowSettings":
        """These, and what they do not say as `other` says it."""
        return other.model_copy(update=self.model_dump(exclude_unset=True))
