"""The console's files, read once when a process starts. `proxy/console/` is what is served."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from msgspec import Struct

FOLDER: Final = Path(__file__).parent.parent / "console"

PAGE: Final = "/console"

_CONTENT_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    "": "text/plain; charset=utf-8",
}

CONSOLE_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Scripts, styles and pictures of this host alone, and no other host is ever asked for anything."""


class ConsoleFile(Struct, frozen=True):
    """One file and its kind."""

    content_type: str
    body: bytes


def read_console_files() -> Mapping[str, ConsoleFile]:
    """All files by the path of their address. A file of an unknown kind is a mistake of ours."""
    found = {
        f"{PAGE}/{path.relative_to(FOLDER).as_posix()}": ConsoleFile(
            _CONTENT_TYPES[path.suffix], path.read_bytes()
        )
        for path in sorted(FOLDER.rglob("*"))
        if path.is_file()
    }
    found[PAGE] = found.pop(f"{PAGE}/index.html")
    return found
