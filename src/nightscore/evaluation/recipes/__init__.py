"""Smaller and quicker models out of a model: graphs, quantization, pruning, distillation."""

import importlib
from importlib.util import find_spec

from nightscore.evaluation.recipes.recipe import Recipe
from nightscore.scorers import ModelFile

MODULES = ("graph", "quantize", "prune", "forests", "distil")  # the simplest technique first


def list_recipes(model: ModelFile) -> list[Recipe]:
    """Every recipe for an .onnx model, the simplest technique first; nothing is made yet."""
    named = [
        f"nightscore.evaluation.recipes.{name}"
        for name in MODULES
        if find_spec(f"nightscore.evaluation.recipes.{name}")
    ]
    return [recipe for name in named for recipe in importlib.import_module(name).recipes(model)]
