"""Asks a NATS server at its monitoring address."""

import http.client
import urllib.request
from typing import Final

_TIMEOUT_S: Final = 2.0


def fetch(url: str) -> bytes:
    """What the server says there; blocks. Raise OSError if it does not answer, or not whole."""
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as response:  # noqa: S310  # http:// checked
            body: bytes = response.read()
            return body
    except http.client.HTTPException as error:  # as from a server that dies while it answers
        raise OSError(f"{url}: {error!r}") from error
