"""Ensembles of trees of an .onnx file, run by a kernel of our own."""

from nightscore.scorers.trees.scorer import TOLERANCE, TreesScorer, open_trees

__all__ = ["TOLERANCE", "TreesScorer", "open_trees"]
