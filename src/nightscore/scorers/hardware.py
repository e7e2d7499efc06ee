"""What this process may use of the machine: cores and memory, within its container's limits."""

import functools
import math
import os
import platform
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")
WIDE = (
    "avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_int8",
    "amx_bf16", "asimd", "asimddp", "sve", "sve2", "i8mm", "bf16",
)  # fmt: skip
PLUGIN = "onnxruntime_ep_"  # what the names of their modules begin with
PROVIDER_FILES = {
    "cuda": "libonnxruntime_providers_cuda.so",
    "tensorrt": "libonnxruntime_providers_tensorrt.so",
    "openvino": "libonnxruntime_providers_openvino.so",
}


@dataclass(frozen=True)
class Hardware:
    """Cores and bytes that this process may use, the processor's name, and its wider instruction sets."""

    cores: int
    memory: int
    processor: str
    instructions: tuple[str, ...] = ()


def read_hardware() -> Hardware:
    """The smaller of what the machine has and what affinity and the control group (v1, v2) allow."""
    return Hardware(_cores(), _memory(), _processor(), _instructions())


def find_installed_devices() -> list[str]:
    """The devices that the ONNX Runtime of this environment comes with, by its files; `cpu` first.

    Whether a device works is found out when a model is opened on it. Nothing heavy is imported here.
    """
    spec = find_spec("onnxruntime")
    folders = [Path(folder) / "capi" for folder in (spec.submodule_search_locations or [])] if spec else []
    shipped = [name for name in PROVIDER_FILES if any((f / PROVIDER_FILES[name]).is_file() for f in folders)]
    return list(dict.fromkeys(["cpu", *shipped, *find_plugins()]))


@functools.cache
def find_plugins() -> dict[str, str]:
    """The plug-in execution providers that are installed: device -> module.

    By the names of files: pkgutil.iter_modules looks into every folder of the environment, a third of what a
    small night takes.
    """
    files = (file for folder in sys.path for file in Path(folder).glob(f"{PLUGIN}*"))
    names = sorted({file.name.partition(".")[0] for file in files})
    return {name.removeprefix(PLUGIN): name for name in names if _is_module(name)}


def _is_module(name: str) -> bool:
    """Whether it can be imported; a folder with no code in it, or one of a package's metadata, can't."""
    spec = find_spec(name)
    return spec is not None and spec.origin is not None


def _cores() -> int:
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(affinity, math.ceil(_quota() or affinity)))


def _quota() -> float | None:
    """Cores' worth of time that the control groups grant, where they limit them."""
    quotas = []
    for group in _groups("cpu"):
        quota, _, period = _read(group / "cpu.max").partition(" ")
        if not quota:
            quota, period = _read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit():
            quotas.append(int(quota) / int(period))
    return min(quotas, default=None)


def _memory() -> int:
    names = ("memory.max", "memory.limit_in_bytes")
    limits = [_read(group / name) for group in _groups("memory") for name in names]
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *(int(limit) for limit in limits if limit.isdigit())])


def _groups(controller: str) -> tuple[Path, ...]:
    """The folders of this process's control group and of those that it lies in, of v2 and of v1.

    A container usually sees its own group as the root; a service or a test lies below it.
    """
    return _folders_of(controller, CGROUP, _read(OWN_GROUPS))


@functools.cache
def _folders_of(controller: str, mounted: Path, own_groups: str) -> tuple[Path, ...]:
    """The folders that /proc/self/cgroup names, if there, each once: a night asks for them often."""
    folders = [mounted, mounted / controller]
    for line in own_groups.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = mounted / controller if controllers else mounted
        own = root / path.lstrip("/")
        folders += [group for group in (own, *own.parents) if group.is_relative_to(root)]
    return tuple(folder for folder in dict.fromkeys(folders) if folder.is_dir())


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _processor() -> str:
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _instructions() -> tuple[str, ...]:
    """Of the sets that matter to scoring, those that the processor has (x86's flags, ARM's Features)."""
    flags = set((_cpuinfo("flags") or _cpuinfo("Features")).split())
    return tuple(name for name in WIDE if name in flags)


@functools.cache
def _cpuinfo(key: str) -> str:
    """A line of /proc/cpuinfo, whose processor stays the same; cores and memory may be taken away."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    entries = (line.partition(":") for line in lines)
    return next((value.strip() for name, _, value in entries if name.strip() == key), "")
