"""The copies of one stream that were followed and left: another may be whole, until all were tried.

A consumer reads the copy of one server. After a flipped bit or a cut, nats-server 2.15 gives up the
damaged messages and what its block held behind them, gets back from the others only what is newer
than its Raft snapshot, and calls itself healthy. A journal loses nothing, so its stream sequences
have no gaps; where a copy has one, another copy is read.
"""

import logging
from typing import Final

from broker.port import BrokerUnfit

_log = logging.getLogger(__name__)

_COPIES_TRIED_MAX: Final = 20
"""Which server's copy a consumer reads is chance: all tries hit one of three once in 3^20."""
_SHORT_COPIES_TRIED_MAX: Final = 100
"""A copy that ends too early may be about to catch up: for over a minute, a try takes 0.7 s."""


class CopiesTried:
    """How often in a row, for either reason."""

    def __init__(self, stream: str) -> None:
        self._stream = stream
        self.has_several = True
        """Else another consumer reads the same files again. Not known before the server has told:
        what a consumer delivers may come before the news that it was made."""
        self._with_gap = 0
        """Those with a gap behind the last message."""
        self._short = 0
        """Those that end before the last message, or hold another in its place."""

    @property
    def is_trying(self) -> bool:
        """Whether the present copy is another one's substitute and not known to be better."""
        return bool(self._with_gap or self._short)

    def holds_next(self) -> None:
        """The present copy has the message behind the last one."""
        self._with_gap = 0

    def holds_last(self) -> None:
        """The present copy has the last message that was read."""
        self._short = 0

    def leave_with_gap(self, first: int, last: int) -> None:
        """A server lost what it had stored: nothing behind that is taken from it.

        Raise BrokerUnfit if so did all others.
        """
        self._with_gap += 1
        self._leave(
            f"messages {first} to {last} of {self._stream} are not in the copy that was read",
            self._with_gap,
            _COPIES_TRIED_MAX,
        )

    def leave_short(self, sequence: int) -> None:
        """It lacks the last message that was read, or has not got it yet. Raise likewise."""
        self._short += 1
        self._leave(
            f"message {sequence} of {self._stream}, which was read before, is not in the copy "
            "that is read now",
            self._short,
            _SHORT_COPIES_TRIED_MAX,
        )

    def _leave(self, lack: str, tried: int, tried_max: int) -> None:
        if tried >= (tried_max if self.has_several else 1):
            raise BrokerUnfit(
                f"{lack}, tried {tried} times: the server lost stored messages. "
                "Stop it and check its files."
            )
        if tried == 1:
            _log.error("%s: following another one", lack)
