"""Scorers of a workspace: a Python file of its own, named by its path, `kind: scorers/mine.py`.

    def open_scorer(model: ModelFile | None, options: Options) -> Scorer     what the file has to offer
    def variants(device: str) -> list[Variant]                               what it may offer

or, instead of `open_scorer`, one function that `@scorer(…)` decorates (function.py).

The bytes that are hashed are the bytes that run. They run as a module of a private name that nothing on
sys.path leads to, so that they and a package which a team calls `scorers` never meet. The name holds the
hash of the bytes and is in sys.modules before they run: what Numba keeps on disk names the module that it
belongs to, and has to find it in the next process, and in a copy of the workspace.

A scorer is one file. What it imported from beside itself would change predictions and be no cause of the day.
"""

import ast
import inspect
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from types import CodeType, FunctionType, ModuleType
from typing import Any

import pyarrow as pa

from nightscore.scorers.contract import Options, Scorer, Signature, refuse_unlike
from nightscore.scorers.errors import ChunkError, ContractError, ModelError, ScorerFileError
from nightscore.scorers.files.model_file import ModelFile, read_model
from nightscore.scorers.functions.function import FunctionScorer, declared_of, open_function
from nightscore.scorers.variant import Variant, plain_variant_of

OPEN, VARIANTS = "open_scorer", "variants"
ARGUMENTS = {OPEN: "model, options", VARIANTS: "device"}
_LOADING = threading.RLock()


@dataclass(frozen=True)
class ScorerFile:
    """A scorer's file as it was read; `name` is its path in the workspace, which is its kind in job.yaml."""

    name: str
    path: Path
    sha256: str
    data: bytes = field(repr=False)


def is_scorer_file(kind: str) -> bool:
    """Whether a kind of scorer is a file of the workspace."""
    return kind.endswith(".py")


def read_scorer_file(path: Path, name: str) -> ScorerFile:
    """The file at `path`, called `name`; nothing of it runs.

    Raises:
        ScorerFileError: it can't be read, or is empty.
    """
    try:
        file = read_model(path, name)
    except ModelError as error:
        raise ScorerFileError(str(error)) from error
    return ScorerFile(name, path, file.sha256, file.data)


def open_file(file: ScorerFile, model: ModelFile | None, options: Options) -> Scorer:
    """What a file's `open_scorer` gives, held to its signature at every call.

    Args:
        file: the scorer.
        model: the job's model file; None where it names none, because the scorer holds its formula.
        options: the job's outputs, and where to compute.

    Raises:
        ScorerFileError: the file can't be loaded, has no such function, offers no such device, or the
            function fails or gives no scorer of the job's outputs; names the line where one is to blame.
        ModelError: the scorer's own word that it can't serve the model or the options.
    """
    has_open = hasattr(load_scorer_module(file), OPEN)
    function = None if has_open else _declaring(file)
    _refuse_device(file, options.device)
    scorer = _called(file, OPEN, model, options) if has_open else _of_function(file, function, model, options)
    signature = getattr(scorer, "signature", None)
    if not isinstance(signature, Signature) or not callable(getattr(scorer, "score", None)):
        raise ScorerFileError(
            f"{file.name}: {OPEN} gives {type(scorer).__name__}, which is no scorer: a scorer has "
            "`signature`, a Signature, and score(chunk)"
        )
    if signature.outputs.names != list(options.outputs):
        raise ScorerFileError(
            f"{file.name}: its signature gives the columns {', '.join(signature.outputs.names) or 'none'}; "
            f"the job's outputs are {', '.join(options.outputs)}"
        )
    given = [name for name in signature.inputs.names if name in (options.columns or ())]
    if options.columns and given != list(options.columns) and not options.columns_override:
        raise ScorerFileError(
            f"{file.name}: its signature takes the columns {', '.join(signature.inputs.names)}, and the "
            f"job's model.columns are {', '.join(options.columns)}; leave columns out, name them as it does, "
            "or say model.columns_override: true"
        )
    return CheckedScorer(file, scorer)


def _declaring(file: ScorerFile) -> Callable[..., Any]:
    """The one function of a file that says by `@scorer(…)` what it takes and gives."""
    module = load_scorer_module(file)
    found = [name for name in _defined(module) if isinstance(vars(module)[name], FunctionType)]
    found = [name for name in found if declared_of(vars(module)[name])]
    if len(found) == 1:
        return vars(module)[found[0]]  # type: ignore[no-any-return]
    if found:
        raise ScorerFileError(
            f"{file.name}: has {len(found)} functions with @scorer ({', '.join(found)}); allowed: one"
        )
    offers = ", ".join(_defined(module)) or "nothing"
    raise ScorerFileError(
        f"{file.name}: has no function {OPEN}(model, options), and none with @scorer; it has: {offers}"
    )


def _of_function(
    file: ScorerFile, function: Any, model: ModelFile | None, options: Options
) -> FunctionScorer:
    declared = declared_of(function)
    assert declared is not None  # noqa: S101 - it was found by it
    return open_function(file.name, function, declared, model, options)


def _defined(module: ModuleType) -> list[str]:
    """The public functions and classes that a file defines itself."""
    found = [
        name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__
    ]
    return [name for name in found if not name.startswith("_")]


def _refuse_device(file: ScorerFile, device: str) -> None:
    """Raise ScorerFileError unless the file says that it computes there: a receipt names no other device."""
    offered = {"cpu", *(variant.device for variant in file_variants(file, "auto"))}
    if device not in ("auto", *offered):
        raise ScorerFileError(
            f"{file.name}: has no device {device!r} here; allowed: auto, {', '.join(sorted(offered))} "
            f"(a file offers others by {VARIANTS}('auto'))"
        )


def file_variants(file: ScorerFile, device: str) -> list[Variant]:
    """The ways in which a file says that it can compute, the plain one first; see `plain_variant_of`.

    Raises:
        ScorerFileError: as `open_file`, or it offers what is no variant of its own kind.
    """
    first = plain_variant_of(file.name, device)
    offered = _called(file, VARIANTS, device) if hasattr(load_scorer_module(file), VARIANTS) else []
    for variant in offered if isinstance(offered, list | tuple) else [offered]:
        if not isinstance(variant, Variant) or variant.kind != file.name or variant.threads < 1:
            allowed = f"a list of Variant({file.name!r}, device, threads)"
            raise ScorerFileError(
                f"{file.name}: {VARIANTS}({device!r}) gives {variant!r}; allowed: {allowed}"
            )
    return [first, *(variant for variant in offered if variant != first)]


def load_scorer_module(file: ScorerFile) -> ModuleType:
    """The module of a file, run once in a process for the same bytes.

    Raises:
        ScorerFileError: it is not Python, imports what lies beside it, or fails while it runs.
    """
    name = f"_nightscore_{file.path.stem}_{file.sha256[:16]}"
    with _LOADING:
        if name in sys.modules:
            return sys.modules[name]
        code = _code(file)
        module = ModuleType(name)
        module.__file__ = str(file.path)
        sys.modules[name] = module
        try:
            exec(code, module.__dict__)  # noqa: S102 - a workspace's author is trusted as an author of code
        except BaseException as error:
            del sys.modules[name]
            if isinstance(error, Exception | SystemExit):
                raise _blamed(file, error, "can't be loaded") from error
            raise
        return module


class CheckedScorer:
    """A scorer of a workspace: what it gives is held to its signature, and its errors name file and line."""

    def __init__(self, file: ScorerFile, inner: Any) -> None:
        self._file, self._inner = file, inner
        self._signature: Signature = inner.signature
        if hasattr(inner, "feeds"):  # what recipes of a bake-off look for
            self.feeds = inner.feeds

    @property
    def signature(self) -> Signature:
        """The columns needed and given."""
        return self._signature

    def score(self, chunk: pa.RecordBatch) -> pa.RecordBatch:
        """What the file's scorer gives for a chunk."""
        try:
            batch = self._inner.score(chunk)
        except (ChunkError, ContractError, MemoryError, OSError, ImportError):
            raise  # of files, devices and packages: no fault of these rows
        except (
            Exception,
            SystemExit,
        ) as error:  # other people's code; an exit would be silent
            raise ChunkError(f"{_place(self._file, error)}: {type(error).__name__}: {error}") from error
        refuse_unlike(batch, self._signature.outputs, chunk.num_rows, self._file.name)
        return batch


def _called(file: ScorerFile, name: str, *arguments: object) -> Any:
    """What a function of a file gives."""
    function = getattr(load_scorer_module(file), name)
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError as error:
        raise ScorerFileError(
            f"{file.name}: {name} is called as {name}({ARGUMENTS[name]}), which does not fit: {error}"
        ) from error
    try:
        return function(*arguments)
    except ModelError as error:
        raise ModelError(f"{file.name}: {error}", error.option) from error
    except MemoryError:
        raise
    except (Exception, SystemExit) as error:  # other people's code
        raise _blamed(file, error, f"{name} fails") from error


def _code(file: ScorerFile) -> CodeType:
    try:
        tree = ast.parse(file.data, str(file.path))
        code = compile(tree, str(file.path), "exec")
    except (SyntaxError, ValueError) as error:  # ValueError: a null byte
        line = getattr(error, "lineno", None) or 1
        raise ScorerFileError(f"{file.name}:{line}: is no Python: {error}") from error
    home = file.path.parents[len(PurePosixPath(file.name).parts) - 2]
    for line, module in _imports(tree):
        if module.startswith(".") or _lies_in(home, module.partition(".")[0]):
            raise ScorerFileError(
                f"{file.name}:{line}: imports {module!r} from beside itself; a scorer is one file, so that "
                "its sha256 says all that it does: put the code into it, or into an installed package"
            )
    return code


def _imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The line and the module of each import; a relative one begins with a dot."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, "." * node.level + (node.module or "")


def _lies_in(home: Path, top: str) -> bool:
    """Whether a module is a file of the folder of scorers, be it found there by sys.path or not at all."""
    try:
        spec = find_spec(top)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        return top == home.name or any((home / name).exists() for name in (top, f"{top}.py"))
    if spec.origin is None and top == home.name:  # a folder of that name, of whatever is on sys.path
        return True
    places = [spec.origin, *(spec.submodule_search_locations or ())]
    return any(Path(place).resolve().is_relative_to(home.resolve()) for place in places if place)


def _blamed(file: ScorerFile, error: BaseException, what: str) -> ScorerFileError:
    return ScorerFileError(f"{_place(file, error)}: {what}: {type(error).__name__}: {error}")


def _place(file: ScorerFile, error: BaseException) -> str:
    """The file, and the last of its lines that an error came through."""
    lines = [
        line for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_code.co_filename == str(file.path)
    ]  # fmt: skip
    return f"{file.name}:{lines[-1]}" if lines else file.name
