"""What highlights of receipts tell of somebody who is erased: the numbers go, of both days that they are of.

They are sums of rows, theirs among them: what is left of the rows and the sum with them would tell theirs.
"""

from collections.abc import Collection, Mapping
from typing import Any

from nightscore.lifecycle.erasure_keys import InTexts
from nightscore.store import HighlightResult, Receipt


def tells_of(receipt: Receipt, texts: InTexts, lost: Collection[str], *, loses: bool) -> bool:
    """Whether highlights of a receipt have a key in them, or numbers of rows that go.

    `loses` says that the run itself loses a row; `lost` are the runs that do, of the day before, too.
    """
    return any(_tells(one, texts, lost, loses=loses) for one in receipt.highlights)


def without_highlights(receipt: Receipt, note: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The highlights of a receipt without their rows, as JSON, and why."""
    reason = f"rows were erased on {note['at']:%Y-%m-%d}, of which these numbers told, too"
    return [one.without_rows(reason).model_dump(mode="json") for one in receipt.highlights]


def _tells(one: HighlightResult, texts: InTexts, lost: Collection[str], *, loses: bool) -> bool:
    before = one.before.rows if one.before else ()
    if (loses and one.rows) or (before and one.before and one.before.run_id in lost):
        return True
    cells = [cell for row in (*one.rows, *before) for cell in row if cell is not None]
    return texts.are_in("\n".join([*cells, one.reason]))
