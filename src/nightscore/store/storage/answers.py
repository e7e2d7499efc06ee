"""What a storage has answered to a request that failed, without its text: that quotes the request.

An address may bear a signature, and an answer a key. Light to import: of obstore and deltalake alike.
"""

import re
from http import HTTPStatus

# The status as obstore writes it in a line, and deltalake over lines with arrows in colour.
STATUS = re.compile(r"non-2xx status code(?:[:\s↳]|\x1b\[\d+m)*(\d{3})\b")

SILENT = "does not answer"


def answer_of(error: BaseException | None) -> str:
    """What a storage does instead of what was asked, behind its name: `answers 503 Service Unavailable`."""
    found = STATUS.search(str(error))
    if found is None:
        return SILENT
    known = {status.value: status.phrase for status in HTTPStatus}
    phrase = known.get(int(found[1]), "")
    return f"answers {found[1]}{phrase and f' {phrase}'}, not what was asked"
