"""Smaller and quicker models out of a model: graphs, quantization, pruning, distillation."""

import importlib
from importlib.util import find_spec

from scorers.model import ModelFile
from scorers.optimize.recipe import Recipe

MODULES = ("graph", "quantize", "prune", "forests", "distil")  # the simplest technique first


def recipes(model: ModelFile) -> list[Recipe]:
    """Every recipe for an .onnx model, the simplest technique first; nothing is made yet."""
    named = [f"scorers.optimize.{name}" for name in MODULES if find_spec(f"scorers.optimize.{name}")]
    return [recipe for name in named for recipe in importlib.import_module(name).recipes(model)]
