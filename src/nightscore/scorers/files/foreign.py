"""What a file is that is no ONNX model: how it begins says it. And the line that makes a model of it."""

from collections.abc import Callable

SKLEARN = 'onnx.save(skl2onnx.to_onnx(model, X[:1].astype("float32")), "m.onnx")'
BOOSTED = (
    'onnx.save(onnxmltools.convert_{}(model, initial_types=[("X", FloatTensorType([None, n]))]), "m.onnx")'
)
XGBOOST, LIGHTGBM = BOOSTED.format("xgboost"), BOOSTED.format("lightgbm")
CATBOOST = 'model.save_model("m.onnx", format="onnx")'
TORCH = 'torch.onnx.export(model, (x,), "m.onnx")'
KERAS = 'model.export("m.onnx", format="onnx")'
TFLITE = "python -m tf2onnx.convert --tflite m.tflite --output m.onnx"
KINDS = {"XGBoost's": "xgboost", "LightGBM's": "lightgbm", "CatBoost's": "catboost"}
HEAD = 4096  # bytes in which a file says what it is
COMPRESSED = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda", b"\x1f\x8b", b"BZh", b"\xfd7zXZ")

Begins = Callable[[bytes], bool]


def _with(*starts: bytes) -> Begins:
    return lambda head: head.startswith(starts)


def _json_of(word: bytes) -> Begins:
    return lambda head: head.lstrip()[:1] in (b"{", b"[") and word in head


def _zip_of(word: bytes) -> Begins:
    return lambda head: head[:2] == b"PK" and word in head


def _pickle_of(word: bytes) -> Begins:
    return lambda head: head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05" and word in head


# How it begins, what it is, and what to run: the first that fits.
FORMATS: tuple[tuple[Begins, str, str], ...] = (
    (_with(b"version https://git-lfs"), "a pointer of Git LFS, not the file itself", "git lfs pull"),
    (_json_of(b"learner"), "a model in XGBoost's own format", XGBOOST),
    (_with(b"tree\nversion", b"tree\r\nversion"), "a model in LightGBM's own format", LIGHTGBM),
    (_with(b"CBM1"), "a model in CatBoost's own format", CATBOOST),
    (_zip_of(b"data.pkl"), "a model in PyTorch's own format", TORCH),
    (_zip_of(b"config.json"), "a model in Keras's own format", KERAS),
    (_with(b"\x89HDF"), "a model in Keras's own format, in HDF5", KERAS),
    (lambda head: head[4:8] == b"TFL3", "a model in TensorFlow Lite's own format", TFLITE),
    (
        lambda head: head[8:9] == b"{" and b'"dtype"' in head,
        "weights alone (safetensors)",
        TORCH,
    ),
    (_pickle_of(b"xgboost"), "a Python pickle of an XGBoost model", XGBOOST),
    (_pickle_of(b"lightgbm"), "a Python pickle of a LightGBM model", LIGHTGBM),
    (_pickle_of(b"catboost"), "a Python pickle of a CatBoost model", CATBOOST),
    (_pickle_of(b"torch"), "a Python pickle of a PyTorch model", TORCH),
    (_pickle_of(b""), "a Python pickle, as joblib and pickle write models", SKLEARN),
    (_with(*COMPRESSED), "a compressed file, as joblib writes models", SKLEARN),
    (_with(b"PAR1"), "a Parquet file", ""),
    (_with(b"PK"), "a ZIP archive", ""),
    (_with(b"<"), "a page of HTML or XML", ""),
    (_json_of(b""), "JSON", ""),
)


def looks_like(data: bytes) -> str:
    """What the bytes of a file look like, in words; empty if nothing is known."""
    return _what(data)[0]


def what_it_is(data: bytes) -> str:
    """What the bytes of a file look like that are no ONNX model, and what to run; empty if nothing is known.

    Such as `it looks like a model in CatBoost's own format; kind: catboost scores it, or an .onnx file:
    model.save_model(…)`.
    """
    what, line, kind = _what(data)
    if not what:
        return ""
    if kind:
        return f"it looks like {what}; kind: {kind} scores it as it is, kind: auto an .onnx file: {line}"
    return f"it looks like {what}; an .onnx file is needed{f': {line}' if line else ''}"


def _what(data: bytes) -> tuple[str, str, str]:
    """What it is, the line that makes an .onnx file, and the kind that takes it as it is."""
    head = data[:HEAD]
    what, line = next(((what, line) for begins, what, line in FORMATS if begins(head)), ("", ""))
    return (
        what,
        line,
        next((kind for own, kind in KINDS.items() if what == f"a model in {own} own format"), ""),
    )
