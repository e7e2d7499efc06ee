"""Ensembles of trees of an .onnx file, or of LightGBM's or XGBoost's own, run by a kernel of our own."""

from nightscore.scorers.contract import Options, Scorer
from nightscore.scorers.files.model_file import ModelFile
from nightscore.scorers.trees.boosted_file import BoostedFileScorer, boosted_reader
from nightscore.scorers.trees.scorer import TOLERANCE, TreesScorer

__all__ = ["TOLERANCE", "BoostedFileScorer", "TreesScorer", "open_trees"]


def open_trees(model: ModelFile, options: Options) -> Scorer:
    """A scorer for an ensemble of trees, by what its file is. Errors as those of its scorer."""
    read = boosted_reader(model)
    return BoostedFileScorer(model, options, read) if read else TreesScorer(model, options)
