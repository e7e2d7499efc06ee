"""Texts -> embeddings, or the scores of classes: an ONNX model behind the tokenizer that it was trained with.

One .onnx file is the whole model, or a Hugging Face folder is (files/graph_folder.py, settings.py). The graph
takes `input_ids` and `attention_mask`, and `token_type_ids` if it needs them, int64 [batch, sequence]; in its
metadata lie, where no folder says them,

    tokenizer    the tokenizer, in the JSON of Hugging Face's `tokenizers`
    max_length   the most tokens of a text, special ones included; what is longer is cut
    columns      a JSON list with the name of the column of texts

A text is cut on the tokenizer's own side, and with its stride; a `tokenizer_config` in the metadata (the text
of tokenizer_config.json) may say the side where the tokenizer does not. Two that differ are refused.

Each different text of a chunk is computed once. Texts with the same number of tokens make a batch, so no
batch holds padding, and a text gives the same whatever the others are, but for the last bits (4.5e-8 of an
embedding of length 1, measured: a product of matrices is not added up alike for few rows and for many).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nightscore.scorers.contract import Options, Signature
from nightscore.scorers.errors import MissingValueError, ModelError
from nightscore.scorers.files.model_file import ModelFile
from nightscore.scorers.onnx.session import Session
from nightscore.scorers.texts.pooling import with_pooling
from nightscore.scorers.texts.settings import (
    TOKENIZER,
    TOKENIZER_CONFIG,
    TextSettings,
    read_json,
    text_settings,
)

BATCH_TOKENS = 1024  # of a batch: what a layer gives stays in the cache; 8,192 cost an eighth more (measured)
NEEDED = ("input_ids", "attention_mask")
ALLOWED = {*NEEDED, "token_type_ids"}
ONE_COLUMN = (
    "kind text takes one column of texts: name it in the job's model.columns, or as a JSON list in the "
    "model's metadata, key 'columns'"
)
SAY_LENGTH = ": say model.text.max_length, as the model was trained"
METADATA, FOLDER = "its metadata", "its folder"  # where a model says how texts become tokens

Ints = npt.NDArray[np.int64]


class TextScorer:
    """One model of texts on one device."""

    def __init__(self, model: ModelFile, options: Options) -> None:
        """Open `model`, and the tokenizer in it.

        Raises:
            ModelError: not an ONNX model of this kind, an output that it does not give, a device that is not
                there, or the package tokenizers is missing.
        """
        settings = text_settings(model, options)
        model = with_pooling(model, options, settings)
        self._session = Session(model, options)
        check_inputs(self._session)
        self._column = self._session.one_column(options, ONE_COLUMN)
        self._lower, self._prompt = settings.lower, settings.prompt
        self._tokenizer = _tokenizer(self._session, said_of(self._session, model, settings), options)
        self._session.try_out(self._feeds(np.zeros((2, 1), np.int64)), model)
        self._signature = Signature(pa.schema([(self._column, pa.string())]), self._session.outputs)

    @property
    def signature(self) -> Signature:
        """The column of texts, and the columns given."""
        return self._signature

    def score(self, chunk: pa.RecordBatch) -> pa.RecordBatch:
        """What the model gives for each text."""
        texts, which = self._texts(chunk)
        batches = self._batches(texts)
        if not batches:
            return pa.RecordBatch.from_pylist([], self._signature.outputs)
        parts = [self._session.run(self._feeds(tokens)) for _, tokens in batches]
        place = np.empty(len(texts), np.int64)  # of a text's row among the batches
        place[np.concatenate([rows for rows, _ in batches])] = np.arange(len(texts))
        return pa.concat_batches(parts).take(pa.array(place[which]))

    def feeds(self, chunk: pa.RecordBatch) -> Iterator[dict[str, Ints]]:
        """What ONNX Runtime is fed for a chunk: a batch after the other, the shortest texts first.

        Raises:
            ChunkError: a text is missing.
        """
        for _, tokens in self._batches(self._texts(chunk)[0]):
            yield self._feeds(tokens)

    def _texts(self, chunk: pa.RecordBatch) -> tuple[list[str], Ints]:
        """The different texts of a chunk, and which of them is each row's."""
        column = chunk.column(self._column)
        if column.null_count:
            raise MissingValueError(
                f"column {self._column!r} (string) has {column.null_count} null values; a text that says "
                "nothing is '': coalesce(…, '') in the features SQL"
            )
        encoded = column.dictionary_encode()
        return encoded.dictionary.to_pylist(), encoded.indices.to_numpy().astype(np.int64)

    def _batches(self, texts: Sequence[str]) -> list[tuple[Ints, Ints]]:
        """Batches of texts of the same length: which texts, and their tokens [texts, sequence]."""
        given = [self._prompt + text for text in texts]
        given = [text.lower() for text in given] if self._lower else given  # the prompt, too
        ids = [encoding.ids for encoding in self._tokenizer.encode_batch_fast(given)]
        lengths = np.array([len(tokens) for tokens in ids], np.int64)
        batches = []
        for length in np.unique(lengths).tolist():
            alike, rows = np.flatnonzero(lengths == length), max(1, BATCH_TOKENS // max(length, 1))
            for start in range(0, len(alike), rows):
                part = alike[start : start + rows]
                batches.append((part, np.array([ids[i] for i in part], np.int64)))
        return batches

    def _feeds(self, tokens: Ints) -> dict[str, Ints]:
        feeds = {"input_ids": tokens, "attention_mask": np.ones_like(tokens)}
        if not tokens.shape[1]:  # no special tokens, and a text of none: one of padding, which is masked
            feeds = dict.fromkeys(NEEDED, np.zeros((len(tokens), 1), np.int64))
        feeds["token_type_ids"] = np.zeros_like(feeds["input_ids"])
        return {meta.name: feeds[meta.name] for meta in self._session.inputs}


def open_text(model: ModelFile, options: Options) -> TextScorer:
    """A scorer for a model of texts. Errors as `TextScorer`'s."""
    return TextScorer(model, options)


def check_inputs(session: Session) -> None:
    """Raise unless the model takes tokens as this kind gives them.

    Raises:
        ModelError: it does not; names its inputs.
    """
    kinds = {meta.name: (meta.type, len(meta.shape)) for meta in session.inputs}
    fixed = [size for meta in session.inputs for size in meta.shape if isinstance(size, int)]
    right = set(NEEDED) <= set(kinds) <= ALLOWED and set(kinds.values()) == {("tensor(int64)", 2)}
    if not right or fixed:
        raise ModelError(
            f"{session.name}: its inputs are {session.shown_inputs}; kind text needs input_ids and "
            "attention_mask, and allows token_type_ids, each tensor(int64) [batch, sequence] of sizes that "
            "are not fixed"
        )


class Said(NamedTuple):
    """A tokenizer, its configuration, and the most tokens of a text; `place` is where they stand."""

    tokenizer: str
    config: Mapping[str, Any]
    max_length: str
    place: str

    @property
    def key(self) -> str:
        """What the tokenizer is called there."""
        return f"name {TOKENIZER}" if self.place == FOLDER else "key 'tokenizer'"


def said_of(session: Session, model: ModelFile, settings: TextSettings) -> Said:
    """What says how texts are cut into tokens: the files of the model's folder, or its metadata."""
    length = str(settings.max_length or "")
    if TOKENIZER in model.about:
        text = model.about[TOKENIZER].decode("utf-8", "replace")
        return Said(text, read_json(model, TOKENIZER_CONFIG), length, FOLDER)
    own = session.metadata.get("max_length", "")
    if length and own and length != own:
        raise ModelError(
            f"{model.name}: the job's model.text.max_length is {length}, and its metadata has max_length "
            f"{own}; leave it out",
            "text",
        )
    return Said(session.metadata.get("tokenizer", ""), _configured(session), own or length, METADATA)


def refuse_no_length(session: Session, said: Said) -> None:
    """Raise unless something says how long a text may be.

    Raises:
        ModelError: nothing does, or no number.
    """
    if not (said.max_length.isdecimal() and int(said.max_length) > 0):
        raise ModelError(
            f"{session.name}: {said.place} has max_length {said.max_length!r}; kind text needs the most "
            f"tokens that a text may have{SAY_LENGTH if said.place == FOLDER else ''}"
        )


def _tokenizer(session: Session, said: Said, options: Options) -> Any:
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise ModelError(
            f"{session.name}: kind text needs the package tokenizers: run  pip install 'nightscore[text]'"
        ) from error
    refuse_no_length(session, said)
    try:
        tokenizer = Tokenizer.from_str(said.tokenizer)
        tokenizer.no_padding()
    except Exception as error:  # the library raises Exception itself
        raise ModelError(
            f"{session.name}: {said.place} has no tokenizer under the {said.key}, in the JSON of the "
            f"package tokenizers: {error}"
        ) from error
    if any(tokenizer.encode("a").type_ids):
        raise ModelError(
            f"{session.name}: its tokenizer gives tokens of a single text other token_type_ids than 0, which "
            "kind text does not compute"
        )
    own = tokenizer.truncation or {}
    _refuse_other_cuts(session, said, own, options)
    _refuse_other_case(session, said)
    side = own.get("direction") or said.config.get("truncation_side", "right")
    kept = {name: own[name] for name in ("stride", "strategy") if name in own}
    try:
        tokenizer.enable_truncation(int(said.max_length), direction=side, **kept)
    except Exception as error:
        raise ModelError(f"{session.name}: its tokenizer can't cut texts so: {error}") from error
    return tokenizer


def _refuse_other_cuts(session: Session, said: Said, own: Mapping[str, Any], options: Options) -> None:
    """Raise unless the tokenizer, its configuration and the metadata agree on where a text is cut.

    In a folder the length of tokenizer.json counts for nothing: transformers cuts by the other files.

    Raises:
        ModelError: they do not; names both.
    """
    length = int(said.max_length)
    cut = own.get("max_length", length)
    if cut != length and said.place == METADATA and not options.max_length_override:
        raise ModelError(
            f"{session.name}: its metadata has max_length {length}, and its tokenizer cuts at {cut}; export "
            "it with the same in both, or say model.max_length_override: true if the metadata's is meant"
        )
    side, configured = own.get("direction"), said.config.get("truncation_side")
    if side and configured and side != configured:
        raise ModelError(
            f"{session.name}: its tokenizer cuts texts on the {side}, and its tokenizer_config says "
            f"truncation_side {configured!r}; export it with the same in both"
        )


def _refuse_other_case(session: Session, said: Said) -> None:
    """Raise where tokenizer and configuration differ in whether a text becomes small letters."""
    normalizer = json.loads(said.tokenizer).get("normalizer") or {}
    own, configured = normalizer.get("lowercase"), said.config.get("do_lower_case")
    if isinstance(own, bool) and isinstance(configured, bool) and own != configured:
        raise ModelError(
            f"{session.name}: its tokenizer has lowercase {json.dumps(own)}, and its tokenizer_config says "
            f"do_lower_case {json.dumps(configured)}; save it with the same in both"
        )


def _configured(session: Session) -> Mapping[str, Any]:
    """The tokenizer_config.json in the metadata, where an exporter put it; else nothing."""
    try:
        config = json.loads(session.metadata.get("tokenizer_config", "{}"))
    except json.JSONDecodeError as error:
        raise ModelError(f"{session.name}: its metadata's tokenizer_config is no JSON: {error}") from error
    return config if isinstance(config, dict) else {}
