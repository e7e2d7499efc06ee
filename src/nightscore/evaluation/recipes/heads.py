"""Heads of attention in a graph of plain operators, as PyTorch's exporter writes them.

query, key, value = Transpose(Reshape(x W + b, [.., .., heads, size]))
MatMul(Reshape(Transpose(MatMul(Softmax(MatMul(query, key) / c + mask), value))), W)
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import onnx

from nightscore.evaluation.recipes.layers import Dense, Narrowing, Place, dense
from nightscore.evaluation.recipes.network import Array, Wiring, constants, wiring

SCALES = ("Mul", "Div")
MASKS = ("Add", "Sub", "Mul", "Div", "Softmax", "Cast", "Clip")


@dataclass(frozen=True)
class Projection:
    """What one of query, key and value is made by."""

    cuts: tuple[Place, ...]
    reshape: str
    heads: int
    size: int


def find_heads(proto: onnx.ModelProto) -> Iterator[Narrowing]:
    """Each attention whose heads can be taken out one by one; others are passed over."""
    finder = _Finder(proto)
    for node in proto.graph.node:
        if (heads := finder.attention(node)) is not None:
            yield heads


class _Finder:
    """Follows a graph backwards from an attention's output layer."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        self.arrays: Mapping[str, Array] = constants(proto)
        self.wires: Wiring = wiring(proto)
        inferred = onnx.shape_inference.infer_shapes(proto).graph
        self.shapes = {
            info.name: [dim.dim_value or None for dim in info.type.tensor_type.shape.dim]
            for info in [*inferred.value_info, *inferred.input]
        }

    def attention(self, node: onnx.NodeProto) -> Narrowing | None:
        """The heads before a linear layer."""
        layer = dense(node, self.arrays)
        joined = self._only(node.input[0], "Reshape") if layer else None
        turned = self._only(joined.input[0], "Transpose") if joined else None
        mixed = self._only(turned.input[0], "MatMul") if turned else None
        if layer is None or joined is None or mixed is None:
            return None
        product = self._scores(mixed.input[0])
        ends = [mixed.input[1], *(product.input if product else ())]
        parts = [part for name in ends if (part := self._projection(name))]
        return self._narrowing(layer, joined, parts) if len(parts) == 3 else None

    def _narrowing(self, layer: Dense, joined: onnx.NodeProto, parts: list[Projection]) -> Narrowing | None:
        shape, first = self.arrays.get(joined.input[1]), parts[0]
        alike = {(part.heads, part.size) for part in parts} == {(first.heads, first.size)}
        if (
            shape is None
            or len(shape) != 3
            or not alike
            or layer.rows != first.heads * first.size
            or first.heads < 2
        ):
            return None
        return Narrowing(
            joined.output[0],
            first.size,
            first.heads,
            (layer.node.name,),
            tuple(cut for part in parts for cut in part.cuts),
            counts=tuple(Place(part.reshape, 1, 2) for part in parts),
            widths=(Place(joined.name, 1, 2),),
        )

    def _scores(self, name: str) -> onnx.NodeProto | None:
        """The product of query and key that the shares `name` are made of."""
        node = self._only(name, *MASKS, "MatMul")
        if node is None or node.op_type == "MatMul":
            return node
        inner = [
            tensor
            for tensor in node.input
            if self._maker(tensor, *MASKS, "MatMul") and not self._for_all(tensor)
        ]
        others = [tensor for tensor in node.input if tensor and tensor not in inner]
        return self._scores(inner[0]) if len(inner) == 1 and all(map(self._for_all, others)) else None

    def _for_all(self, name: str) -> bool:
        """Whether a tensor is the same for all heads: its third axis from the end, if any, is 1."""
        shape = list(self.arrays[name].shape) if name in self.arrays else self.shapes.get(name)
        return shape is not None and (len(shape) < 3 or shape[-3] == 1)

    def _projection(self, name: str) -> Projection | None:
        node = self._only(name, "Transpose", "Reshape", *SCALES)
        while node is not None and node.op_type != "Reshape":
            inner = [tensor for tensor in node.input if tensor not in self.arrays]
            others = [tensor for tensor in node.input if tensor in self.arrays]
            plain = len(inner) == 1 and all(self.arrays[tensor].size == 1 for tensor in others)
            node = self._only(inner[0], "Transpose", "Reshape", *SCALES) if plain else None
        return self._split(node) if node is not None else None

    def _split(self, reshape: onnx.NodeProto) -> Projection | None:
        """A linear layer whose outputs are cut into heads."""
        shape = self.arrays.get(reshape.input[1])
        node = self._only(reshape.input[0], "Add", "MatMul", "Gemm")
        cuts = []
        if node is not None and node.op_type == "Add":
            places = [i for i, name in enumerate(node.input) if name in self.arrays]
            cuts = [Place(node.name, i, -1) for i in places]
            node = self._only(node.input[1 - places[0]], "MatMul", "Gemm") if len(places) == 1 else None
        layer = dense(node, self.arrays) if node is not None else None
        if layer is None or shape is None or len(shape) != 4 or shape[2] < 1 or layer.width % shape[2]:
            return None
        cuts.append(Place(layer.node.name, 1, 0 if layer.transposed else 1))
        if len(layer.node.input) > 2:
            cuts.append(Place(layer.node.name, 2, -1))
        whole = all(self._length(cut) == layer.width for cut in cuts)
        count = int(shape[2])
        return Projection(tuple(cuts), reshape.name, count, layer.width // count) if whole else None

    def _length(self, place: Place) -> int:
        node = next(node for node in self.wires.maker.values() if node.name == place.node)
        return int(self.arrays[node.input[place.input]].shape[place.axis])

    def _maker(self, name: str, *kinds: str) -> onnx.NodeProto | None:
        node = self.wires.maker.get(name)
        return node if node is not None and node.op_type in kinds else None

    def _only(self, name: str, *kinds: str) -> onnx.NodeProto | None:
        """The node of one of these kinds that makes a tensor which nobody else takes."""
        alone = len(self.wires.takers.get(name, ())) == 1 and name not in self.wires.outputs
        return self._maker(name, *kinds) if alone else None
