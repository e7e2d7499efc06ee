"""Smaller ensembles of trees: late trees dropped, leaves merged.

Both are bisected with the budget, as many times as `PROBES` says, on the assumption that what keeps it still
keeps it with more trees, or with fewer leaves merged. Quantization is not among them: ONNX Runtime has no
quantized trees (onnxruntime#11436).
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import onnx

from nightscore.evaluation.recipes.ensemble import Bools, Ensemble, Matrix, in_use, leaves, onward, weights_of
from nightscore.evaluation.recipes.recipe import Material, NoCandidate, Recipe
from nightscore.scorers import ENSEMBLE_OPERATORS, LEAF_MODE, Forest, Ints, ModelFile

PROBES = 8
ALIKE = 0.8  # of a random forest of ten trees it is 0.9 or more
ROWS = 8192  # of the material, spread evenly, are sent down the trees

Weights = npt.NDArray[np.float64]


def recipes(model: ModelFile) -> list[Recipe]:
    """What may be made of a model with an ensemble of trees; nothing of any other model."""
    try:
        graph = onnx.load_model_from_string(model.data).graph
    except Exception:  # protobuf's errors have no base class that it documents
        return []
    if not any(node.op_type in ENSEMBLE_OPERATORS and node.domain == "ai.onnx.ml" for node in graph.node):
        return []
    return [
        Recipe("fewer trees", "pruning", "The last trees are dropped.", fewer_trees),
        Recipe("merged leaves", "pruning", "Leaves that differ little become one.", merged_leaves),
    ]


def fewer_trees(material: Material) -> bytes:
    """The first trees of the ensemble, as few as keep the budget.

    Of boosted trees a prefix is a model by itself, that of fewer rounds (Friedman, 2001). Where the trees are
    averaged, in that their weights have been divided by their number, those that stay are scaled up; which
    of the two it is the rows tell.

    Raises:
        NoCandidate: the budget takes every tree, or there is nothing to drop.
    """
    ensemble = Ensemble(material.model)
    forest = ensemble.forest
    if forest.aggregate in ("MIN", "MAX"):
        raise NoCandidate(
            f"the {forest.aggregate} over the trees is not a sum of which late ones are a small part"
        )
    rounds = _ends_of_rounds(forest)
    averaged = _is_average(forest, ensemble.matrix(material.feeds))

    def candidate(place: int) -> Forest:
        return first_trees(forest, int(rounds[place]), averaged)

    def keeps(place: int) -> bool:
        smaller = candidate(place)
        return _reads_alike(smaller, forest) and material.keeps(ensemble.with_forest(smaller))

    least = bisect(len(rounds) - 1, keeps)
    if least == len(rounds) - 1:
        raise NoCandidate(f"none of the {len(forest.roots)} trees can be dropped within the budget")
    return ensemble.with_forest(candidate(least))


def merged_leaves(material: Material) -> bytes:
    """Subtrees whose leaves differ by no more than a bound, each as one leaf; the largest such bound.

    A merged leaf is the mean over the rows that reach it. As in cost-complexity pruning (Breiman et al.,
    1984, ch. 3) one number says for all trees which subtrees go. Here it is the span of the leaves, so that
    no sum over the trees changes by more than the bound times their number. Roots stay.

    Raises:
        NoCandidate: the budget allows no leaves to be merged, or there are none to merge.
    """
    ensemble = Ensemble(material.model)
    forest = ensemble.forest
    span = spans(forest)
    bounds = np.unique(span[np.isfinite(span)])[::-1]  # the most merging first
    if not len(bounds):
        raise NoCandidate("no leaves can be merged: no subtree below a root whose leaves have weights alike")
    means = means_of(forest, ensemble.matrix(material.feeds))

    def candidate(place: int) -> Forest:
        return merge(forest, span <= bounds[place], means)

    def keeps(place: int) -> bool:
        smaller = candidate(place)
        return _reads_alike(smaller, forest) and material.keeps(ensemble.with_forest(smaller))

    least = bisect(len(bounds), keeps)
    if least == len(bounds):
        raise NoCandidate(f"none of {int(np.isfinite(span).sum())} subtrees can be merged within the budget")
    return ensemble.with_forest(candidate(least))


def bisect(count: int, keeps: Callable[[int], bool]) -> int:
    """The least number below `count` that keeps the budget, as near as `PROBES` come; else `count`."""
    low, high = 0, count
    for _ in range(PROBES):
        if low >= high:
            break
        middle = (low + high) // 2
        low, high = (low, middle) if keeps(middle) else (middle + 1, high)
    return high


def first_trees(forest: Forest, count: int, averaged: bool = False) -> Forest:
    """The first `count` trees; with `averaged`, weights grow by what the missing ones leave."""
    scale = len(forest.roots) / count if averaged else 1.0
    weights = (forest.weight_values * scale).astype(forest.dtype)
    return replace(forest, roots=forest.roots[:count], weight_values=weights)


def spans(forest: Forest) -> Weights:
    """How far the leaves below each inner node lie apart, the farthest of the targets, [nodes].

    Infinite for leaves, for roots, and where leaves have weights for different targets.
    """
    weights, has = weights_of(forest)
    low, high = _below(forest, weights, np.minimum), _below(forest, weights, np.maximum)
    alike = (_below(forest, has, np.logical_and) == _below(forest, has, np.logical_or)).all(axis=1)
    can = in_use(forest) & (forest.modes != LEAF_MODE) & alike
    can[forest.roots] = False  # ONNX's TreeEnsemble has no tree that is a leaf
    return np.where(can, (high - low).max(axis=1), np.inf)


def _below(forest: Forest, values: npt.NDArray, of_two: Callable) -> npt.NDArray:  # type: ignore[type-arg]
    """Of the leaves below each node the one that `of_two` comes to, [nodes, targets]."""
    inner = np.flatnonzero((forest.modes != LEAF_MODE) & in_use(forest))
    result = values.copy()
    done = forest.modes == LEAF_MODE
    while len(inner):
        ready = done[forest.true[inner]] & done[forest.false[inner]]
        now, inner = inner[ready], inner[~ready]
        if not len(now):
            raise NoCandidate("a node that is its own descendant")
        result[now] = of_two(result[forest.true[now]], result[forest.false[now]])
        done[now] = True
    return result


def means_of(forest: Forest, rows: Matrix) -> Weights:
    """The weights to which the rows that pass each node come in the end, on average, [nodes, targets].

    Where no row passes it is the middle between the least and the greatest leaf.
    """
    weights, _ = weights_of(forest)
    middle = (_below(forest, weights, np.minimum) + _below(forest, weights, np.maximum)) / 2
    total, count = np.zeros_like(weights), np.zeros(len(weights))
    rows = _spread(rows, ROWS)
    row = np.repeat(np.arange(len(rows)), len(forest.roots))
    at, end = np.tile(forest.roots, len(rows)), leaves(forest, rows).reshape(-1)
    while len(at):
        count += np.bincount(at, minlength=len(count))
        for target in range(forest.targets):
            total[:, target] += np.bincount(at, weights[end, target], len(count))
        moving = forest.modes[at] != LEAF_MODE
        at, end, row = at[moving], end[moving], row[moving]
        at = onward(forest, at, rows[row, forest.features[at]])
    return np.where(count[:, None] > 0, total / np.maximum(count, 1)[:, None], middle)


def merge(forest: Forest, which: Bools, means: Weights) -> Forest:
    """The same trees, where each node of `which` is a leaf with the weights `means`."""
    _, has = weights_of(forest)
    node, target = np.nonzero(_below(forest, has, np.logical_or) & which[:, None])
    owners = np.concatenate([np.repeat(np.arange(len(which)), np.diff(forest.weight_start)), node])
    targets = np.concatenate([forest.weight_targets, target])
    values = np.concatenate([forest.weight_values, means[node, target].astype(forest.dtype)])
    order = np.argsort(owners, kind="stable")
    counts = np.bincount(owners, minlength=len(which))
    return replace(
        forest,
        modes=np.where(which, LEAF_MODE, forest.modes).astype(forest.modes.dtype),
        weight_start=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        weight_targets=targets[order],
        weight_values=values[order],
    )


def _ends_of_rounds(forest: Forest) -> Ints:
    """After how many trees each target has had as many as the others: where boosting ends a round."""
    _, has = weights_of(forest)
    has_weight = _below(forest, has, np.logical_or)[forest.roots]
    counts = has_weight[:, has_weight.any(axis=0)].cumsum(axis=0)
    even = (counts == counts[:, :1]).all(axis=1)
    even[-1] = True
    ends: Ints = np.flatnonzero(even) + 1
    return ends


def _is_average(forest: Forest, rows: Matrix) -> bool:
    """Whether the weights are those of an average: the trees of one are alike, those of boosting fade.

    The later half has to spread the rows by at least `ALIKE` of what the earlier half does, tree by tree, and
    the half that stays, counted twice, to come nearer to all trees than by itself.
    """
    if forest.aggregate != "SUM" or len(forest.roots) < 2:
        return False
    weights, _ = weights_of(forest)
    each = weights[leaves(forest, _spread(rows, ROWS // 4))]  # [rows, trees, targets]
    middle = len(forest.roots) // 2
    spread = each.std(axis=0).max(axis=1)
    whole, half = each.sum(axis=1), each[:, :middle].sum(axis=1)
    is_near = np.abs(whole - 2 * half).mean() < np.abs(whole - half).mean()
    return bool(is_near and spread[middle:].mean() > ALIKE * spread[:middle].mean())


def _reads_alike(changed: Forest, forest: Forest) -> bool:
    """Whether ONNX Runtime takes the weights of two classes as it did.

    That there is a negative weight, or that one class alone has any, says there how a label is decided.
    """
    if forest.labels is None or forest.targets != 2:
        return True
    pairs = [(each, np.repeat(in_use(each), np.diff(each.weight_start))) for each in (changed, forest)]
    ours, theirs = ((each.weight_targets[used], each.weight_values[used]) for each, used in pairs)
    return set(ours[0]) == set(theirs[0]) and (ours[1] < 0).any() == (theirs[1] < 0).any()


def _spread(rows: Matrix, most: int) -> Matrix:
    return rows[:: -(-len(rows) // most)] if len(rows) > most else rows
