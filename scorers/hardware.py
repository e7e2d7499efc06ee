"""What this process may use of the machine: cores and memory, within its container's limits."""

import math
import os
import platform
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
PROVIDER_FILES = {
    "cuda": "libonnxruntime_providers_cuda.so",
    "tensorrt": "libonnxruntime_providers_tensorrt.so",
    "openvino": "libonnxruntime_providers_openvino.so",
}


@dataclass(frozen=True)
class Hardware:
    """Cores and bytes that this process may use, and the processor's name."""

    cores: int
    memory: int
    processor: str


def hardware() -> Hardware:
    """The smaller of what the machine has and what affinity and the control group (v1, v2) allow."""
    return Hardware(_cores(), _memory(), _processor())


def installed_devices() -> list[str]:
    """The devices that the ONNX Runtime of this environment comes with, by its files; `cpu` first.

    Whether a device works is found out when a model is opened on it. Nothing heavy is imported here.
    """
    spec = find_spec("onnxruntime")
    folders = [Path(folder) / "capi" for folder in (spec.submodule_search_locations or [])] if spec else []
    shipped = [name for name in PROVIDER_FILES if any((f / PROVIDER_FILES[name]).is_file() for f in folders)]
    return ["cpu", *shipped]


def _cores() -> int:
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(affinity, math.ceil(_quota() or affinity)))


def _quota() -> float | None:
    """Cores' worth of time that the control group grants, where it limits them."""
    quota, _, period = _read("cpu.max").partition(" ")
    if quota.isdigit():
        return int(quota) / int(period)
    quota, period = _read("cpu/cpu.cfs_quota_us"), _read("cpu/cpu.cfs_period_us")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else None


def _memory() -> int:
    limits = [_read("memory.max"), _read("memory/memory.limit_in_bytes")]
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *(int(limit) for limit in limits if limit.isdigit())])


def _read(name: str) -> str:
    try:
        return (CGROUP / name).read_text().strip()
    except OSError:
        return ""


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
