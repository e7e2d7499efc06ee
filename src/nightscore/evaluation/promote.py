"""`nightscore promote`: a challenger becomes the champion, by one line of job.yaml.

The text of the old champion's path is replaced where it stands, in block or flow style; comments and layout
stay. What comes of it is read before it is written: it has to be the same document but for that one value.
Who promoted which model, when and why goes to promotions.yaml first, and from there into every receipt of
that champion.
"""

import datetime as dt
import json
import re
from collections.abc import Mapping
from typing import Any

import yaml

from nightscore.common import Broken, NightscoreError, ProgressCallback, refuse_unsaid, replace_text, silent
from nightscore.evaluation.judge import judge_challengers, read_model_sha256
from nightscore.job import MODEL_NAME, Job, read_job
from nightscore.pipeline import OpenModel, hold_to_training, open_job_model
from nightscore.store import PROMOTIONS_FILE, Promotion, append_promotion

PLAIN = re.compile(r"[A-Za-z0-9_./-]+")  # characters that mean nothing to YAML, wherever they stand


def promote_model(
    job: Job,
    model: str,
    *,
    by: str,
    because: str = "",
    force: bool = False,
    report: ProgressCallback = silent,
) -> Promotion:
    """Make a model the champion of a job.

    A model that is no challenger, or whose verdict is not PROMOTE, needs `force` and `because`. One that does
    not give what its training expects (`model.expected`) is not promoted.

    Raises:
        Broken: that is not given; the model can't be read or does not fit; the job pins its model's sha256;
            or job.yaml can't be changed safely.
        NotYet: a registry that has the model can't be reached.
    """
    refuse_unsaid(by=by)
    job.refuse_no_model("promoted")
    old = job.spec.model
    model = old.rivals.get(model, model)
    if old.file is None:
        job.raise_broken(
            ("model", old.place), f"the model is code, {old.name}, and no file; promote takes a model file"
        )
    if model == old.file:
        job.raise_broken(("model", old.place), f"{model} is the champion already")
    opened = open_job_model(job, model, pinned=False)
    sha256 = opened.sha256
    if old.sha256 and old.sha256 != sha256:
        job.raise_broken(
            ("model", "sha256"),
            f"pins another file than {model}, which has sha256 {sha256}; a promotion changes one line, so "
            "remove the pin before it, and pin the new file after it",
        )
    _hold_to_training(job, opened, model)
    verdict = find_verdict(job, model, report)
    if verdict != "PROMOTE" and not (force and because.strip()):
        raise Broken(
            f"job {job.name}: the verdict on {model} is {verdict}; to promote it all the same, give --force "
            "and --because TEXT, which go into the receipt"
        )
    promotion = Promotion(
        model=model, sha256=sha256, instead_of=old.name, instead_of_sha256=_sha256_before(job), by=by.strip(),
        because=because.strip(), at=dt.datetime.now(dt.UTC), verdict=verdict,
    )  # fmt: skip
    _replace(job, model, promotion)
    return promotion


def _hold_to_training(job: Job, opened: OpenModel, model: str) -> None:
    """Hold the model to what its own training expects: else the first night by it would publish nothing."""
    expected, old = job.spec.model.expected, job.spec.model
    files = expected.named_files(model) if expected else {}
    try:
        hold_to_training(job, opened)
    except Broken as error:
        if files != (expected.named_files(old.name) if expected else {}):
            raise
        raise Broken(
            f"{error}\n  {', '.join(files.values())} may be what the training of {old.name} expects: write "
            f"{MODEL_NAME} in the files' names (model.expected), so that each model has files of its own"
        ) from error


def find_verdict(job: Job, model: str, report: ProgressCallback = silent) -> str:
    """What `judge` says of a model: PROMOTE, HOLD or REJECT; or why it says nothing."""
    if model not in job.spec.model.rivals.values():
        return "none: it is no challenger"
    try:
        return judge_challengers(job, report=report, only=model).verdicts[0].verdict
    except NightscoreError as error:  # the champion is gone, or labels can't be made
        return f"none: {error}"


def _sha256_before(job: Job) -> str:
    """The sha256 of the champion that goes; empty where its file is gone already."""
    try:
        return read_model_sha256(job, job.spec.model.name)
    except NightscoreError:
        return ""


def _replace(job: Job, model: str, promotion: Promotion) -> None:
    """Write job.yaml with another champion, and the promotion before it: alone it changes nothing."""
    raw = job.file.read_bytes()
    text = raw.decode("utf-8")
    changed = with_champion(text, job.spec.model.place, model, job.shown)
    promotions_file = job.file.with_name(PROMOTIONS_FILE)
    append_promotion(promotions_file, job.workspace.relative(promotions_file), promotion)
    if job.file.read_bytes() != raw:
        raise Broken(f"{job.shown}: was changed by somebody else in this moment; promote again")
    mode = job.file.stat().st_mode
    replace_text(job.file, changed)
    job.file.chmod(mode)
    try:
        read_job(job.file, job.workspace)
    except NightscoreError:
        replace_text(job.file, text)
        job.file.chmod(mode)
        raise


def with_champion(text: str, place: str, model: str, shown: str) -> str:
    """The text of a job.yaml with another model at model.<place>; one line differs.

    Raises:
        Broken: the value is not on one line, or the change would change more than it.
    """
    node = _node(text, place, shown)
    line = node.start_mark.line + 1
    if node.end_mark.line != node.start_mark.line:
        raise Broken(f"{shown}:{line}: model.{place}: stands on several lines; write it on one, then promote")
    bare = PLAIN.fullmatch(model) and yaml.safe_load(model) == model  # and no number, date or null
    value = model if bare else json.dumps(model, ensure_ascii=False)
    changed = text[: node.start_mark.index] + value + text[node.end_mark.index :]
    before, after = _document(text), _document(changed)
    if after != {**before, "model": {**before["model"], place: model}}:
        raise Broken(
            f"{shown}:{line}: model.{place}: can't be changed without changing more; edit it by hand"
        )
    return changed


def _node(text: str, place: str, shown: str) -> yaml.Node:
    """Where the value of model.<place> stands."""
    node: yaml.Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
    for key in ("model", place):
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        node = next((value for name, value in pairs if name.value == key), None)
    if node is None:
        raise Broken(f"{shown}: model.{place} is not there; promote changes that line")
    return node


def _document(text: str) -> Mapping[str, Any]:
    try:
        document: Mapping[str, Any] = yaml.safe_load(text)
    except yaml.YAMLError:
        return {"model": {}}
    return document
