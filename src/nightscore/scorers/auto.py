"""Kind `auto`: an .onnx file, by whichever kind of ours is the fastest that is right on this machine.

It opens nothing itself: its variants are of other kinds, and the plain one is ONNX Runtime's.
"""

from collections.abc import Iterable

from nightscore.scorers.hardware import find_installed_devices, read_hardware
from nightscore.scorers.onnx.scorer import ways as onnx_ways
from nightscore.scorers.variant import Variant


def variants(device: str) -> list[Variant]:
    """What an .onnx file may be computed by on a device of this machine, or on any (`auto`)."""
    return ways(device, find_installed_devices(), read_hardware().cores)


def ways(device: str, devices: Iterable[str], cores: int) -> list[Variant]:
    """The same of a machine with these devices and cores. A device that is named is the only one."""
    if device not in ("auto", "cpu"):
        return [Variant("onnx", device)]
    available = devices if device == "auto" else ["cpu"]
    first, *others = onnx_ways("auto", available, cores)
    return [first, Variant("trees"), Variant("networks"), *others]
