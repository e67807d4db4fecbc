"""The form of account ids and transaction ids."""

import re
from typing import Final

from contracts.limits import ID_LENGTH_MAX

ID_PATTERN: Final = f"^[A-Za-z0-9_-]{{1,{ID_LENGTH_MAX}}}$"
"""For schemas. `is_identifier` is stricter than Python's `$`, which allows a final newline."""

_IDENTIFIER: Final = re.compile(f"[A-Za-z0-9_-]{{1,{ID_LENGTH_MAX}}}")


def is_identifier(text: str) -> bool:
    """Whether the text may name an account or a transaction: ASCII `[A-Za-z0-9_-]{1,64}`."""
    return _IDENTIFIER.fullmatch(text) is not None
