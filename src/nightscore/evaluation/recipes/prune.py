"""Narrower networks: whole neurons and heads are taken out, so that matrices get smaller.

Single weights are not: a dense matrix with zeros costs what it cost before. Three products with matrices of
512 x 512 take as long with nine tenths of the weights at zero (test_zeros_alone_run_no_faster measures it).

There is no training here: what is left is fitted to the reference's own activations, by least squares.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import chain

import onnx

from nightscore.evaluation.recipes.calibration import calibration_batches
from nightscore.evaluation.recipes.graph_surgery import narrow
from nightscore.evaluation.recipes.heads import find_heads
from nightscore.evaluation.recipes.layers import Narrowing, neurons
from nightscore.evaluation.recipes.network import (
    LINEAR,
    check_graph,
    observe_tensors,
    operators,
    parse_model,
    run_model,
    serialize_like,
    trimmed,
)
from nightscore.evaluation.recipes.recipe import Feeds, Material, NoCandidate, Recipe
from nightscore.evaluation.recipes.weight_update import Floats, gram
from nightscore.scorers import ModelFile

PIECES = 32  # of rows to fit with
SHARES = (75, 50, 25)  # per cent that stay
Find = Callable[[onnx.ModelProto], Iterable[Narrowing]]
KINDS: dict[str, Find] = {"neurons": neurons, "heads": find_heads}


def recipes(model: ModelFile) -> list[Recipe]:
    """Recipes that take out neurons and heads, a ladder each; none for a model without linear layers."""
    proto = parse_model(model)
    if not any(operators(proto)[name] for name in LINEAR):
        return []
    zeros = Recipe(
        "zeros", "pruning", "the smallest weights set to zero, matrices as large as before", _zeros
    )
    kinds: dict[str, list[Find]] = {
        name: [find] for name, find in KINDS.items() if any(True for _ in find(proto))
    }
    if len(kinds) > 1:
        kinds["neurons and heads"] = list(KINDS.values())
    moments = _Moments()
    ladders = [
        Recipe(
            f"{share} % of {name}",
            "pruning",
            f"in each layer the {name} that the next layer misses least are taken out, "
            "and its weights fitted again to what it gave before",
            partial(_narrowed, finders=finders, share=share / 100, moments=moments),
            ladder=name,
        )
        for name, finders in kinds.items()
        for share in SHARES
    ]
    return [zeros, *(ladders or [Recipe("neurons", "pruning", "fewer hidden neurons", _none)])]


def _zeros(_: Material) -> bytes:
    raise NoCandidate("zeros alone don't run faster: a dense product multiplies them like any other number")


def _none(_: Material) -> bytes:
    raise NoCandidate(
        "there are no hidden neurons to take out: no linear layer that only another linear layer sees"
    )


def _narrowed(material: Material, finders: Sequence[Find], share: float, moments: "_Moments") -> bytes:
    """The reference with a share of the groups of each of its layers."""
    reference = parse_model(material.model)
    proto = onnx.ModelProto()
    proto.CopyFrom(reference)
    narrowings = list(chain.from_iterable(find(reference) for find in finders))
    by_tensor = moments.of(reference, [narrowing.source for narrowing in narrowings], material.feeds)
    for narrowing in narrowings:
        keep = max(1, round(share * narrowing.groups))
        if keep < narrowing.groups:
            narrow(proto, narrowing, by_tensor[narrowing.source], keep)
    outputs = [output.name for output in reference.graph.output]
    data = serialize_like(check_graph(trimmed(proto, outputs)), reference)
    run_model(
        data, calibration_batches(material.feeds, 1)
    )  # what does not fit together is found when it runs
    return data


class _Moments:
    """Moments of a network's inner tensors on the feeds; kept for the next rung of a ladder."""

    def __init__(self) -> None:
        self._feeds: Sequence[Feeds] = ()
        self._by_tensor: dict[str, Floats] = {}

    def of(self, proto: onnx.ModelProto, names: Iterable[str], feeds: Sequence[Feeds]) -> dict[str, Floats]:
        """The moments by tensor; batch by batch, since the values themselves would fill the memory."""
        if feeds is not self._feeds:
            self._feeds, self._by_tensor = feeds, {}
        missing = sorted(set(names) - set(self._by_tensor))
        pieces = calibration_batches(feeds, PIECES) if missing else []
        for values in observe_tensors(proto, pieces, missing):
            for name in missing:
                self._by_tensor[name] = self._by_tensor.get(name, 0.0) + gram(values[name])
        return self._by_tensor
