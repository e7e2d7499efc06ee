"""XGBoost's own files of a model, JSON and UBJ, as plain Python."""

import json
import re
from typing import Any

import numpy as np

from nightscore.scorers.errors import ModelError
from nightscore.scorers.files.model_file import ModelFile

HEAD = 4096
NUMBERS = {"i": ">i1", "U": ">u1", "I": ">i2", "l": ">i4", "L": ">i8", "d": ">f4", "D": ">f8"}
PLAIN = {"Z": None, "T": True, "F": False}


def is_xgboost(model: ModelFile) -> bool:
    """Whether a file is of XGBoost."""
    head = model.data[:HEAD]
    return bool(re.match(rb"\s*\{\s*\"learner\"|\{L.{7}\x07learner", head, re.DOTALL))


def read_xgboost_file(model: ModelFile) -> dict[str, Any]:
    """What a file holds; lists of numbers in UBJ are arrays.

    Raises:
        ModelError: it can't be read.
    """
    try:
        return dict(json.loads(model.data) if model.data[1:2] != b"L" else _Ubj(model.data).value())
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise ModelError(f"{model.name}: a model of xgboost that can't be read: {error!r:.200}") from error


class _Ubj:
    """Universal Binary JSON, as far as XGBoost writes it."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def value(self) -> Any:
        """The value that begins here."""
        return self._of(self._mark())

    def _of(self, mark: str) -> Any:
        if mark in PLAIN:
            return PLAIN[mark]
        if mark in NUMBERS:
            return self._numbers(mark, 1)[0].item()
        return {"S": self._text, "{": self._object, "[": self._list}[mark]()

    def _mark(self) -> str:
        self._at += 1
        return chr(self._data[self._at - 1])

    def _numbers(self, mark: str, count: int) -> Any:
        dtype = np.dtype(NUMBERS[mark])
        found = np.frombuffer(self._data, dtype, count, self._at)
        self._at += dtype.itemsize * count
        return found.astype(dtype.newbyteorder("="))

    def _count(self) -> int:
        return int(self._numbers(self._mark(), 1)[0])

    def _text(self) -> str:
        count = self._count()
        self._at += count
        return self._data[self._at - count : self._at].decode()

    def _object(self) -> dict[str, Any]:
        found = {}
        while chr(self._data[self._at]) != "}":
            key = self._text()
            found[key] = self.value()
        self._at += 1
        return found

    def _list(self) -> Any:
        ahead = chr(self._data[self._at])
        if ahead == "$":
            self._at += 1
            mark = self._mark()
            self._at += 1  # a '#'
            return self._numbers(mark, self._count())
        if ahead == "#":
            self._at += 1
            return [self.value() for _ in range(self._count())]
        found = []
        while chr(self._data[self._at]) != "]":
            found.append(self.value())
        self._at += 1
        return found
