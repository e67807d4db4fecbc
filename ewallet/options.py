"""Options of the command line that are also settings, and the form of ids."""

from collections.abc import Callable
from typing import Any, Final

import click

from contracts.coordination import COORDINATION_NAMES, Coordination
from contracts.identifiers import is_identifier
from contracts.limits import ID_LENGTH_MAX

Command = Callable[..., Any]


class Identifier(click.ParamType[str]):
    """An account id or transaction id."""

    name = "id"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the id. Wrong ones fail here, before they could change a URL's meaning."""
        if not is_identifier(value):
            self.fail(
                f"{value!r} is not an id: 1 to {ID_LENGTH_MAX} of A-Z, a-z, 0-9, _ and -",
                param,
                ctx,
            )
        return value


IDENTIFIER: Final = Identifier()

COORDINATION: Final = click.Choice(
    [name for way, name in COORDINATION_NAMES.items() if way is not Coordination.NONE],
    case_sensitive=False,
)
"""How a transfer between partitions is made all-or-nothing. As in the API's header, case does not
matter; commands get the name as it stands here."""


def setting(flag: str, **attributes: Any) -> Callable[[Command], Command]:
    """Return an option whose value may also come from the variable EWALLET_<FLAG>."""
    variable = "EWALLET_" + flag.removeprefix("--").upper().replace("-", "_")
    return click.option(flag, envvar=variable, show_envvar=True, show_default=True, **attributes)
