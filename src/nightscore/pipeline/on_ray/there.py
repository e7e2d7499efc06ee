"""What a task does on a node of a cluster, whichever that is: a verb of ours, for a job and a plan as text.

A node reads and writes where the workspace's roots lie, by what the environment of the command says of them.
"""

import functools
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from nightscore.common import Broken, NightscoreError, read_root_variables
from nightscore.job import Job, load
from nightscore.pipeline.context import read_others_plan
from nightscore.pipeline.parts import room_for, stage_part
from nightscore.pipeline.publish.whole_query import compare_part
from nightscore.pipeline.read import inputs
from nightscore.pipeline.score.canary import CANARY_ROWS, choose_here
from nightscore.pipeline.score.first_opening import ROWS as FIRST_ROWS
from nightscore.pipeline.score.sample import sampled_files
from nightscore.pipeline.steps import score_piece
from nightscore.store import InputFile, Plan, StagedFile, run_folder

_read_plan = functools.lru_cache(maxsize=4)(read_others_plan)  # of 18 MB, for each of 40,000 pieces
SAMPLES = (CANARY_ROWS, FIRST_ROWS)  # rows from all over the day that a choice reads


def score_there(name: str, root: str, roots: Mapping[str, str], plan: str, index: int) -> StagedFile:
    """Score one piece in a task, on whichever node this is.

    Args:
        name: the job's name.
        root: the workspace's folder, the same on all nodes.
        roots: what the environment of the driver says of roots, which holds here too.
        plan: as JSON.
        index: the number of the piece in the plan.

    Raises:
        Broken: a row can't be scored, or this node has no such workspace or doesn't reach its data.
        NotYet: the job, a library or an input here is not that of the plan.
    """
    with _here(name, root, roots, plan) as (job, made):
        return score_piece(job, made, made.pieces[index])


def make_there(name: str, root: str, roots: Mapping[str, str], plan: str, asked: "Asked") -> StagedFile:
    """Make a part of the features in a task. The other arguments, and errors, are those of `score_there`."""
    with _here(name, root, roots, plan) as (job, made):
        return stage_part(job, made, asked.number, room_for(job, asked.at_once, cores=asked.cores))


def compare_there(name: str, root: str, roots: Mapping[str, str], plan: str, asked: "Asked") -> None:
    """Hold a part of the features to the whole query in a task. Arguments and errors as `make_there`'s."""
    with _here(name, root, roots, plan) as (job, made):
        compare_part(job, made, room_for(job, asked.at_once, cores=asked.cores))


def choose_there(
    name: str, root: str, roots: Mapping[str, str], plan: str, source: tuple[InputFile, ...]
) -> str:
    """The plan, as JSON, with the variant that is right and quick on this node, for the files to be scored.

    The other arguments, and errors, are those of `score_there`.
    """
    with _here(name, root, roots, plan) as (job, made):
        read = sampled_files(source, SAMPLES)
        with inputs.steady_files(job, made.inputs, read):
            return choose_here(job, made, source).to_json()


class Asked(NamedTuple):
    """Which part of the features; a node has room for `at_once` such tasks, on `cores` each."""

    number: int
    at_once: int
    cores: int


@contextmanager
def _here(name: str, root: str, roots: Mapping[str, str], plan: str) -> Iterator[tuple[Job, Plan]]:
    """The job and the plan of a task, on this node; what goes wrong names it."""
    for variable in read_root_variables().keys() - roots.keys():  # of this node alone: another data/ or lake
        del os.environ[variable]
    os.environ.update(roots)
    try:
        made, job = _read_plan(plan), load(name, root)
        folder = run_folder.folder_of_plan(job.workspace, made)
        if not folder.path.is_folder():
            raise Broken(
                f"{folder.path}: is not there: this node does not see the data of the machine that made the "
                "plan; put data/ where all nodes reach it: NIGHTSCORE_ROOT_DATA is a bucket or a mount"
            )
        yield job, made
    except NightscoreError as error:
        error.args = (f"on node {socket.gethostname()}: {error}",)
        raise
