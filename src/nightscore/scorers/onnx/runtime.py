"""ONNX Runtime: the devices that it has here, and sessions on them. The only module that imports it.

A device is the short name of an execution provider: `cpu`; what the installed ONNX Runtime was built with
(`cuda`, `tensorrt`, …); and plug-in providers, wheels of their own called `onnxruntime-ep-<device>`.
"""

import functools
import importlib
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import onnxruntime as ort

from nightscore.scorers.errors import ModelError
from nightscore.scorers.files.exporters import mend
from nightscore.scorers.files.foreign import what_it_is
from nightscore.scorers.files.graph_file import producer_of
from nightscore.scorers.files.model_file import ModelFile
from nightscore.scorers.hardware import find_plugins
from nightscore.scorers.running import stoppable

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "migraphx": "MIGraphXExecutionProvider",
    "dml": "DmlExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "qnn": "QNNExecutionProvider",
}
QUIET = 4  # only what is fatal is logged: what fails is raised
_registering = threading.Lock()


@dataclass(frozen=True)
class Device:
    """A device that sessions can be asked for; that a model runs on it is not said yet."""

    name: str
    provider: str
    kind: str  # CPU, GPU or NPU
    description: str


def find_devices() -> list[Device]:
    """What there is, `cpu` first. A plug-in that can't be loaded is left out (`find_plugin_problems`)."""
    devices = [Device(name, p, _kind(name), p) for name, p in PROVIDERS.items() if p in _built_in()]
    for name in (name for name in find_plugins() if not _register(name)):
        for ep_device in _plugin_devices(name)[:1]:
            metadata = dict(ep_device.ep_metadata)
            described = metadata.get("FULL_DEVICE_NAME", ep_device.device.vendor)
            devices.append(
                Device(name, ep_device.ep_name, str(ep_device.device.type).rpartition(".")[2], described)
            )
    return devices


def find_plugin_problems() -> dict[str, str]:
    """Why installed plug-in providers can't be used, by device."""
    return {name: error for name in find_plugins() if (error := _register(name))}


def open_session(model: ModelFile, device: str, threads: int) -> ort.InferenceSession:
    """A session that runs a model's bytes on a device, which is never replaced by another.

    Raises:
        ModelError: there is no such device here, or it can't run the model.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # No file is read but what was hashed: else ONNX Runtime looks for weights in the current folder.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    if model.beside:
        names, files = list(model.beside), list(model.beside.values())
        options.add_external_initializers_from_files_in_memory(names, files, [len(file) for file in files])
    options.log_severity_level = QUIET
    providers = _prepared(device, options)
    try:
        session = ort.InferenceSession(model.data, options, providers=providers)
    except Exception as error:  # ONNX Runtime's errors share no base class of their own
        raise ModelError(f"{model.name}: {_why_not(model, device, error)}") from error
    if providers and providers[0] not in session.get_providers():
        raise ModelError(
            f"{model.name}: device {device!r} can't run it; a named device is never replaced", "device"
        )
    return session


def run_session(
    session: ort.InferenceSession, outputs: list[str], feeds: dict[str, Any], device: str
) -> list[Any]:
    """The outputs, as NumPy arrays. Other devices than the CPU get their inputs by I/O binding.

    So each array is copied to the device once, and only what is asked for is copied back. Several threads
    may call with one session. `stop_calls` ends a run between two of the graph's nodes, those of a loop's
    body included; one node is computed to its end.
    """
    options = ort.RunOptions()
    with stoppable(functools.partial(setattr, options, "terminate", True)):
        if device == "cpu" or any(array.dtype == object for array in feeds.values()):
            return list(session.run(outputs, feeds, options))
        return bound(session, outputs, feeds, options)


def bound(
    session: ort.InferenceSession,
    outputs: list[str],
    feeds: dict[str, Any],
    options: ort.RunOptions | None = None,
) -> list[Any]:
    """A run by I/O binding: inputs from, and outputs to, the memory of this process."""
    binding = session.io_binding()
    for name, array in feeds.items():
        binding.bind_cpu_input(name, array)
    for name in outputs:
        binding.bind_output(name, "cpu")
    session.run_with_iobinding(binding, options)
    return list(binding.copy_outputs_to_cpu())


def _why_not(model: ModelFile, device: str, error: Exception) -> str:
    """Why a model can't be loaded: what the file is, where it is none; else in the runtime's words."""
    if not (producer := producer_of(model.data)) and (what := what_it_is(model.data)):
        return f"no ONNX model: {what}"
    where = "" if device == "cpu" else f" on {device}"
    return f"ONNX Runtime can't load it{where}: {error}{mend('load', producer)}"


def _prepared(device: str, options: ort.SessionOptions) -> Sequence[str]:
    """The providers to ask for; a plug-in's are put into the options instead."""
    if PROVIDERS.get(device) in _built_in():
        return [PROVIDERS[device]]
    if device in find_plugins():
        if error := _register(device):
            raise ModelError(f"device {device!r}: its plug-in can't be loaded: {error}", "device")
        options.add_provider_for_devices(_plugin_devices(device)[:1], {})
        return []
    here = ", ".join(other.name for other in find_devices())
    is_known = device in PROVIDERS
    reason = (
        f"needs ONNX Runtime's {PROVIDERS[device]}, which is not installed" if is_known else "is not known"
    )
    raise ModelError(f"device {device!r} {reason}; devices here: {here}", "device")


@functools.cache
def _built_in() -> frozenset[str]:
    # At the first call: a plug-in that is registered later shows up among the available ones, too.
    return frozenset(ort.get_available_providers())


def _register(device: str) -> str:
    """Load a plug-in, once in a process, whichever threads ask. Empty, or why it can't be."""
    with _registering:
        return _registered(device)


@functools.cache
def _registered(device: str) -> str:
    _built_in()
    ort.set_default_logger_severity(QUIET)
    try:
        module = importlib.import_module(find_plugins()[device])
        ort.register_execution_provider_library(device, module.get_library_path())
    except Exception as error:  # a plug-in raises what it likes; it must not end a run
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    return "" if _plugin_devices(device) else "it registers no device of this machine"


def _plugin_devices(device: str) -> list[Any]:
    module = importlib.import_module(find_plugins()[device])
    names = set(module.get_ep_names())
    return [ep_device for ep_device in ort.get_ep_devices() if ep_device.ep_name in names]


def _kind(device: str) -> str:
    return "CPU" if device in ("cpu", "openvino") else "GPU"
