"""The surgery itself: constants of a graph made shorter, and the layers behind them fitted again."""

import numpy as np
import onnx

from nightscore.evaluation.recipes.layers import Narrowing, Place, bias_of, dense
from nightscore.evaluation.recipes.network import Array, constants, set_constant, wiring
from nightscore.evaluation.recipes.weight_update import Floats, prune_groups


def narrow(proto: onnx.ModelProto, narrowing: Narrowing, moments: Floats, keep: int) -> None:
    """Take all groups but `keep` out of a graph, in place.

    Args:
        proto: the graph; constants that nodes share stay as they are for the others.
        narrowing: what is to be narrowed.
        moments: of its source, from `gram`.
        keep: how many groups stay.
    """
    patient = _Patient(proto)
    stay, fitted = prune_groups(moments, patient.stacked(narrowing), narrowing.size, keep)
    patient.refit(narrowing, fitted, stay)
    for place in narrowing.cuts:
        patient.put(place, patient.array(place).take(stay, place.axis))
    for count, places in ((keep, narrowing.counts), (len(stay), narrowing.widths)):
        for place in places:
            shape = patient.array(place).copy()
            shape[place.axis] = count if shape[place.axis] > 0 else shape[place.axis]
            patient.put(place, shape)


class _Patient:
    """A graph whose constants are replaced one place at a time."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        self._proto, self._nodes = proto, {node.name: node for node in proto.graph.node}
        self._constants = constants(proto)

    def array(self, place: Place) -> Array:
        """The constant at a place."""
        return self._constants[self._nodes[place.node].input[place.input]]

    def put(self, place: Place, value: Array) -> None:
        """Another constant at a place, of that place alone."""
        name = f"{place.node}_{place.input}_narrowed"
        set_constant(self._proto, name, value)
        self._nodes[place.node].input[place.input] = name
        self._constants[name] = value

    def stacked(self, narrowing: Narrowing) -> Floats:
        """The weights of all layers behind, side by side, with their biases if they all have one."""
        weights = np.concatenate([self._weights(name) for name in narrowing.takers], axis=1).astype(
            np.float64
        )
        biases = [self._bias(name) for name in narrowing.takers]
        if any(place is None for place in biases):
            return weights
        return np.vstack([weights, np.concatenate([self.array(place).ravel() for place in biases if place])])

    def refit(self, narrowing: Narrowing, fitted: Floats, stay: Array) -> None:
        """The weights of those layers, of the inputs that stay; and their biases."""
        start, rows = 0, narrowing.groups * narrowing.size
        for name in narrowing.takers:
            place = self._place(name)
            width = self.array(place).shape[1 - place.axis]
            part = fitted[:, start : start + width].astype(np.float32)
            start += width
            bias = self._bias(name) if len(fitted) > rows else None
            if bias is not None:
                self.put(bias, part[rows].reshape(self.array(bias).shape))
            self.put(place, part[stay] if place.axis == 0 else part[stay].T)

    def _weights(self, name: str) -> Array:
        place = self._place(name)
        return self.array(place) if place.axis == 0 else self.array(place).T

    def _place(self, name: str) -> Place:
        layer = dense(self._nodes[name], self._constants)
        assert layer is not None, name  # noqa: S101 - a Narrowing names linear layers
        return Place(name, 1, 1 if layer.transposed else 0)

    def _bias(self, name: str) -> Place | None:
        layer = dense(self._nodes[name], self._constants)
        return bias_of(layer, self._constants, wiring(self._proto)) if layer else None
