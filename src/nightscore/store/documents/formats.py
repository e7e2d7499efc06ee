"""The number of the format in which a run's documents are written: plans, receipts, fingerprints.

It rises when an older version would misread what this one writes, or when the recipe of fingerprints changes.
"""

from nightscore.common import Broken

FORMAT = 2  # 1: documents without a number, up to 0.1.0


class LaterFormat(Broken):
    """A later version has written it. It is named, and stops nothing but what needs it."""


def refuse_later_format(found: object) -> None:
    """Raise `LaterFormat` where a document's number is higher than what this version reads."""
    if isinstance(found, int) and found > FORMAT:
        raise LaterFormat(
            f"written by a later nightscore, format {found}; this one reads up to {FORMAT}; upgrade"
        )
