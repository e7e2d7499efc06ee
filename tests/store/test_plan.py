"""A plan crosses processes and versions as text; what it has in common with a receipt is one class."""

import json
from typing import Any

import pytest

from nightscore.scorers.variant import Variant
from nightscore.store.documents.plan import (
    Canary,
    Challenger,
    InputFile,
    Piece,
    Plan,
    Restate,
    RowRange,
    TriedVariant,
    TunedVariant,
    plan_from_json,
)
from nightscore.store.documents.receipt import Receipt, VariantResult

INFINITE = float("inf")
PLAN = Plan(
    "mini", "2020-01-01", "score", variant=Variant("trees", "cpu", 2), params={"n": [1, 2.5, None, "a"]},
    tried=(TriedVariant("onnx on cpu", 3, INFINITE, "too far"),), canary=Canary(9, INFINITE, 1.0, 0.5),
    tuned=TunedVariant("int8", "quantization", "data/variants/a.onnx", "0f"), limit=4,
    restate=Restate("why", "Ada"),
    challengers=(Challenger("next", "next.onnx"),), pieces=(Piece(0, (RowRange("p", 0, 3),), "f"),),
    inputs={"rows": (InputFile("p", 1, "1:2:3", "f", "2020-01-01", (1, 2)),)}, seen=("a",), key=("id",),
)  # fmt: skip
PLACES: list[tuple[str | int, ...]] = [(), ("variant",), ("tried", 0), ("inputs", "rows", 0), ("pieces", 0)]


def test_every_part_comes_back() -> None:
    """Infinities, lists among the parameters and what is None, too."""
    assert plan_from_json(PLAN.to_json()) == PLAN


def test_a_plan_of_an_earlier_version_lacks_what_came_later() -> None:
    """It is as if there were none of it."""
    raw = json.loads(PLAN.to_json())
    for name in ("challengers", "restate", "canary", "tuned"):
        del raw[name]
    found = plan_from_json(json.dumps(raw))
    assert (found.challengers, found.restate, found.canary, found.tuned) == ((), None, None, None)


@pytest.mark.parametrize("place", PLACES)
def test_a_plan_of_a_later_version_is_none(place: tuple[str | int, ...]) -> None:
    """What it says that is not known here could be what matters."""
    raw: Any = json.loads(PLAN.to_json())
    part = raw
    for name in place:
        part = part[name]
    part["later"] = 1
    with pytest.raises(ValueError, match="later"):
        plan_from_json(json.dumps(raw))


def test_a_receipt_of_a_later_version_is_read_without_what_is_not_known() -> None:
    """Of the parts that it shares with plans, too; they are written as they always were."""
    canary = {"rows": 9, "max_abs": 0.5, "rank_correlation": 1.0, "cosine": 0.5}
    raw = {"kind": "trees", "device": "cpu", "threads": 1, "chunk_rows": 2, "canary": {**canary, "later": 1}}
    variant = VariantResult.model_validate_json(json.dumps(raw))
    assert variant.canary == Canary(9, 0.5, 1.0, 0.5)
    assert json.loads(variant.model_dump_json())["canary"] == canary
    tried = {"variant": "onnx on cpu", "rows_per_second": 3, "difference": 0.5, "refused": ""}
    run = {"job": "mini", "day": "2020-01-01", "run_id": "r", "status": "published"}
    receipt = Receipt.model_validate({**run, "tried": [tried]})
    assert receipt.tried == (TriedVariant("onnx on cpu", 3, 0.5),)
    assert receipt.model_dump(mode="json")["tried"] == [tried]
