"""What a folder of MLflow's takes and gives: by the file that a kind of ours opens, or its signature."""

import dataclasses

import pyarrow as pa

from nightscore.scorers.boosted import PROBABILITIES, SCORE
from nightscore.scorers.contract import Options
from nightscore.scorers.described import DescribedModel
from nightscore.scorers.errors import ModelError
from nightscore.scorers.files.model_file import ModelFile
from nightscore.scorers.files.model_folder import MLMODEL, PYFUNC, About, read_about
from nightscore.scorers.mlflow import no_flavour, open_mlflow
from nightscore.scorers.mlflow.pyfunc import no_signature, refuse_untrusted
from nightscore.scorers.mlflow.signature import input_columns, output_columns
from nightscore.scorers.onnx.described import describe_onnx

KIND = "mlflow"


def describe_mlflow(model: ModelFile) -> DescribedModel | None:
    """What a model takes and gives; None of one that is no folder of MLflow's. No code of the folder runs.

    Raises:
        ModelError: nothing here scores it, its library is not there, or its signature does not say enough.
    """
    if MLMODEL not in model.folder:
        return None
    about = read_about(model.name, model.folder)
    if about.kind == "onnx":
        return dataclasses.replace(describe_onnx(model), kind=KIND)
    if about.kind:
        return _boosted(model)
    if PYFUNC not in about.flavours:
        raise no_flavour(model, about)
    return _python_function(model, about)


def _boosted(model: ModelFile) -> DescribedModel:
    """By what opens it: the second chance of a classifier, else the score."""
    try:
        output = f"{PROBABILITIES}[1]"
        scorer = open_mlflow(model, Options({"score": output}))
    except ModelError as error:
        if error.option != "outputs":
            raise
        output = SCORE
        scorer = open_mlflow(model, Options({"score": output}))
    name = output.partition("[")[0]
    return DescribedModel(scorer.signature.inputs, None, output, (name,), kind=KIND, names=(name,))


def _python_function(model: ModelFile, about: About) -> DescribedModel:
    """By its signature. Whether its code may run is a person's to say."""
    takes, gives = input_columns(model.name, about.signature), output_columns(model.name, about.signature)
    if takes is None or not gives:
        raise no_signature(model.name, "outputs" if takes else "inputs")
    first = gives[0]
    output = f"{first.name}[*]" if pa.types.is_list(first.type) else first.name
    shown = tuple(f"{one.name} ({one.type})" for one in gives)
    unnamed = None if takes.matrix is None else takes.width
    return DescribedModel(
        takes.schema, unnamed, output, shown, kind=KIND, asks=(_trust(model),), names=tuple(gives.names)
    )


def _trust(model: ModelFile) -> str:
    try:
        refuse_untrusted(model, Options({}))
    except ModelError as error:
        return str(error).removeprefix(f"{model.name}: ")
    return ""
