"""What goes before and after a model of texts: what its own files say, and what the job says.

The files are those of a Hugging Face folder, read as `transformers` and `sentence-transformers` read them.
Where two of them, or one and the job, say different things, the model is refused with both: each would give
another embedding.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nightscore.scorers.contract import Options
from nightscore.scorers.errors import ModelError
from nightscore.scorers.files.model_file import ModelFile

TOKENIZER, TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"
MODULES, POOLING = "modules.json", "1_Pooling/config.json"
MOST_TOKENS = 1_000_000  # what is longer stands for "not said" in files of transformers (1e30)
MODES = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
COMPUTED = ("Transformer", "Pooling", "Normalize")  # modules of sentence-transformers


@dataclass(frozen=True)
class TextSettings:
    """How texts become token ids, and tokens become one row a text; None where nothing says it.

    `pooling` is mean, cls or none; `prompt` stands before each text; `lower` makes it small letters.
    """

    pooling: str | None = None
    normalize: bool | None = None
    max_length: int | None = None
    lower: bool = False
    prompt: str = ""


def text_settings(model: ModelFile, options: Options) -> TextSettings:
    """What a model's files and the job say together.

    Raises:
        ModelError: they contradict each other, or ask for what is not computed here.
    """
    own, job = _of_files(model), options.settings
    own_length = own.max_length
    if not options.max_length_override:
        _refuse_other(model.name, "max_length", job.get("max_length"), own_length)
    for key in ("pooling", "normalize"):
        _refuse_other(model.name, key, job.get(key), getattr(own, key))
    return TextSettings(
        job.get("pooling", own.pooling), job.get("normalize", own.normalize),
        job.get("max_length", own_length), own.lower, own.prompt,
    )  # fmt: skip


def _refuse_other(name: str, key: str, said: Any, own: Any) -> None:
    if said is None or own is None or said == own:
        return
    remedy = ", or say model.max_length_override: true if the job's is meant" if key == "max_length" else ""
    raise ModelError(
        f"{name}: the job's model.text.{key} is {_shown(said)}, and the model's own files say {_shown(own)}; "
        f"leave it out{remedy}",
        "text",
    )


def _shown(value: Any) -> str:
    return json.dumps(value) if isinstance(value, bool) else str(value)


def _of_files(model: ModelFile) -> TextSettings:
    if not model.about:
        return TextSettings()
    modules = _modules(model)
    return TextSettings(
        _pooling(model, modules), "Normalize" in modules if modules else None, _max_length(model),
        read_json(model, "sentence_bert_config.json").get("do_lower_case") is True, _prompt(model),
    )  # fmt: skip


def read_json(model: ModelFile, file: str) -> Mapping[str, Any]:
    """The mapping in one of a model's files; empty where there is no such file.

    Raises:
        ModelError: it holds another thing.
    """
    found: Mapping[str, Any] = _json(model, file, dict)
    return found


def _json(model: ModelFile, file: str, kind: type) -> Any:
    if file not in model.about:
        return kind()
    try:
        found = json.loads(model.about[file])
    except ValueError as error:
        raise ModelError(f"{model.name}: {file} is no JSON: {error}") from error
    if not isinstance(found, kind):
        raise ModelError(f"{model.name}: {file} holds no {kind.__name__}")
    return found


def _modules(model: ModelFile) -> list[str]:
    """The modules of sentence-transformers, by their classes; empty where there is no list of them."""
    listed = [module for module in _json(model, MODULES, list) if isinstance(module, dict)]
    names = [str(module.get("type")).rpartition(".")[2] for module in listed]
    if others := [name for name in names if name not in COMPUTED]:
        raise ModelError(
            f"{model.name}: {MODULES} has {', '.join(others)}; computed here are {', '.join(COMPUTED)}: "
            "export the model with the others in its graph, in a folder without modules.json"
        )
    places = [module.get("path") for module, name in zip(listed, names, strict=True) if name == "Pooling"]
    if places and (places != ["1_Pooling"] or POOLING not in model.about):
        raise ModelError(f"{model.name}: {MODULES} has its pooling in {places}; allowed: {POOLING}, once")
    return names


def _pooling(model: ModelFile, modules: list[str]) -> str | None:
    config = read_json(model, POOLING)
    if not config or (modules and "Pooling" not in modules):
        return None
    modes = [key for key, value in config.items() if key.startswith("pooling_mode_") and value is True]
    if "pooling_mode" in config:
        modes = [config["pooling_mode"]]
    found = [MODES.get(mode, mode) for mode in modes]
    if found not in (["mean"], ["cls"]):
        raise ModelError(f"{model.name}: {POOLING} says {', '.join(map(str, modes))}; allowed: mean, cls")
    return str(found[0])


def _max_length(model: ModelFile) -> int | None:
    """As sentence-transformers has it; without its file, the fewest tokens that model and tokenizer allow."""
    said = read_json(model, "sentence_bert_config.json").get("max_seq_length")
    if said is None:
        lengths = (
            read_json(model, TOKENIZER_CONFIG).get("model_max_length"),
            read_json(model, "config.json").get("max_position_embeddings"),
        )
        said = min((n for n in lengths if isinstance(n, int | float) and n < MOST_TOKENS), default=None)
    if said is not None and (not isinstance(said, int) or isinstance(said, bool) or said < 1):
        raise ModelError(f"{model.name}: its files say that a text has at most {said!r} tokens")
    return said


def _prompt(model: ModelFile) -> str:
    """What sentence-transformers puts before each text that is encoded without a prompt of its own."""
    config = read_json(model, "config_sentence_transformers.json")
    name = config.get("default_prompt_name")
    prompt = str((config.get("prompts") or {}).get(name, "")) if name else ""
    if prompt and read_json(model, POOLING).get("include_prompt") is False:
        raise ModelError(f"{model.name}: its pooling leaves out the prompt {prompt!r}, which is not computed")
    return prompt
