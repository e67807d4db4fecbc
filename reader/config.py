"""Where the reader keeps what it projects: `EWALLET_READ_STORE`."""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, unquote

from msgspec import Struct

from runtime.process import Unfit

VARIABLE: Final = "EWALLET_READ_STORE"
PORT_DEFAULT: Final = 5_432

_FORM: Final = re.compile(
    r"postgres(?:ql)?://"
    r"(?P<user>[^:@/?#\s]+)(?::(?P<password>[^:@/?#\s]*))?"
    r"@(?P<host>\[[0-9A-Fa-f:.]+\]|[^:@/?#\[\]\s]+)(?::(?P<port>[0-9]{1,5}))?"
    r"/(?P<database>[^/?#\s]+)"
)


class DatabaseAddress(Struct, frozen=True):
    """A PostgreSQL database. Its text form has no password, so it may be logged."""

    user: str
    password: str
    """Empty: none, or where libpq finds it (PGPASSWORD, a password file)."""
    host: str
    """A name, an address, or the absolute path of a socket's folder."""
    port: int
    database: str

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else quote(self.host, safe="")
        return f"postgresql://{quote(self.user)}@{host}:{self.port}/{quote(self.database)}"


def read_database_address(environment: Mapping[str, str]) -> DatabaseAddress | None:
    """The database that the settings name; None for SQLite. Raise Unfit, without the password."""
    text = environment.get(VARIABLE, "")
    if text in ("", "sqlite"):
        return None
    address = _parsed(text)
    if address is None:
        raise Unfit(
            f"{VARIABLE} must be `sqlite` or postgresql://user:password@host:port/database, with "
            "special characters percent-encoded and nothing behind the database; it is neither."
        )
    return address


def _parsed(text: str) -> DatabaseAddress | None:
    form = _FORM.fullmatch(text)
    if form is None or "%00" in text:
        return None
    port = int(form["port"] or PORT_DEFAULT)
    if not 0 < port < 1 << 16:
        return None
    return DatabaseAddress(
        user=unquote(form["user"]),
        password=unquote(form["password"] or ""),
        host=unquote(form["host"]).strip("[]"),
        port=port,
        database=unquote(form["database"]),
    )
