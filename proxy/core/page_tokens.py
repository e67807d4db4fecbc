"""Page tokens: where the next page of a statement starts, in a form clients don't look into.

A token holds the sequence before which to go on and a check of the account's id, so that a token
of another account, or one made up, is refused instead of giving a page of something else.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error, crc32
from struct import Struct
from typing import Final

_LAYOUT: Final = Struct(">QI")  # 12 bytes: base64 needs no padding


def encode_page_token(account_id: str, before_sequence: int) -> str:
    """The token of the page of entries below a sequence (1 … 2^63 - 1)."""
    return urlsafe_b64encode(_token(account_id, before_sequence)).decode("ascii")


def decode_page_token(account_id: str, text: str) -> int | None:
    """The sequence in a token of this account; None when it is not one."""
    try:
        data = urlsafe_b64decode(text.encode("ascii"))
    except (Error, UnicodeEncodeError):
        return None
    if len(data) != _LAYOUT.size:
        return None
    before_sequence: int = _LAYOUT.unpack(data)[0]
    if before_sequence >= 2**63 or encode_page_token(account_id, before_sequence) != text:
        return None
    return before_sequence


def _token(account_id: str, before_sequence: int) -> bytes:
    return _LAYOUT.pack(before_sequence, crc32(f"{account_id} {before_sequence}".encode("ascii")))
