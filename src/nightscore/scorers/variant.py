"""Variants: the ways to compute one model on this machine."""

from dataclasses import dataclass
from typing import Literal, get_args

Technique = Literal["engine", "graph", "quantization", "pruning", "distillation"]
TECHNIQUES: tuple[Technique, ...] = get_args(Technique)  # by which a variant is made, the simplest first


@dataclass(frozen=True)
class Variant:
    """A kind of scorer on a device; `threads` is how many one call of `score` may use."""

    kind: str
    device: str = "cpu"
    threads: int = 1

    def __str__(self) -> str:
        threads = f", {self.threads} threads a piece" if self.threads > 1 else ""
        return f"{self.kind} on {self.device}{threads}"

    def at_once(self, cores: int) -> int:
        """Pieces that are scored at the same time, so that each core has one thread of this variant."""
        return max(1, cores // self.threads)


PLAIN_ONNX = Variant("onnx")  # what every other variant of an ONNX model is held to


def plain_variant_of(kind: str, device: str) -> Variant:
    """The variant that the others are held to.

    Args:
        kind: as the job says it; `auto` is an ONNX model's.
        device: as the job says it.
    """
    return Variant("onnx" if kind == "auto" else kind, "cpu" if device == "auto" else device)
