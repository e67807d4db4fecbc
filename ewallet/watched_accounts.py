"""The accounts of a subscription: where each goes on, and which message is news.

Knows what was asked for and told, over any number of connections; knows no connection. Every
connection that asks for all accounts begins with `begin_connection`.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Final, TypeVar, assert_never

import msgspec

from contracts.identifiers import is_identifier
from ewallet.client_faults import NoAnswerError, RefusedError
from ewallet.live_documents import (
    AccountChanged,
    AccountStands,
    LiveError,
    LiveMessage,
    News,
    Pong,
    Unsubscribed,
)
from ewallet.repeating import TryAgain

MESSAGE_ACCOUNTS_MAX: Final = 200
"""Accounts in one message, a bound of the API."""

NO_ROOM: Final = "no_room_to_watch"
NOT_REACHED: Final = "sequence_not_reached"

Item = TypeVar("Item")


class _Watched:
    """One account: where to go on, and what the program knows."""

    __slots__ = ("_shown", "place")

    def __init__(self, place: int | None) -> None:
        self.place = place
        """Up to here it was told; None: it wants no past."""
        self._shown: tuple[str, str] | None = None
        """Balance and held as last given; None before the first state."""

    @property
    def has_begun(self) -> bool:
        """Whether the wallet has told how it stands."""
        return self._shown is not None

    def take(self, news: News) -> bool:
        """Note what was told. False if it only repeats what the program knows.

        The wallet ends every catching up with a state.
        """
        shown = (news.balance, news.held)
        match news:
            case AccountStands():
                is_new = news.conflated or shown != self._shown or news.sequence < (self.place or 0)
                self._shown = shown
            case AccountChanged():
                is_new = True
                self._shown = shown if self.has_begun else None
            case _:
                assert_never(news)
        self.place = news.sequence
        return is_new


class WatchedAccounts:
    """What a program wants to watch, and what it was told."""

    def __init__(self) -> None:
        self._watched: dict[str, _Watched] = {}
        self._unheard: set[str] = set()
        """Accounts of which the connection has told nothing yet."""
        self._leaving: Counter[str] = Counter()
        """Accounts whose removal is not confirmed: until then, what comes is from before it."""

    @property
    def are_all_heard(self) -> bool:
        """Whether the connection has told of every account."""
        return not self._unheard

    def add(self, account_ids: Iterable[str], places: Mapping[str, int]) -> list[str]:
        """Note accounts, behind their places if they have some, and return those that are new."""
        added = [each for each in dict.fromkeys(account_ids) if each not in self._watched]
        for account_id in added:
            if not is_identifier(account_id):
                raise RefusedError(f"{account_id!r} is not the id of an account")
        for account_id in added:
            self._watched[account_id] = _Watched(places.get(account_id))
        return added

    def remove(self, account_ids: Iterable[str]) -> list[str]:
        """Forget accounts, and return those that were watched."""
        removed = [each for each in account_ids if self._watched.pop(each, None)]
        self._unheard.difference_update(removed)
        return removed

    # --- what to say ---

    def begin_connection(self) -> list[str]:
        """Return all accounts, each of which has to be asked for."""
        self._unheard.clear()
        self._leaving.clear()
        return list(self._watched)

    def ask(self, account_ids: list[str]) -> Iterator[str]:
        """Yield the messages that ask for accounts, behind what was told of them."""
        self._unheard.update(account_ids)
        for some in _portions(account_ids):
            places = {each: self._watched[each].place for each in some}
            known = {each: place for each, place in places.items() if place is not None}
            yield _message({"op": "subscribe", "accounts": some, "from_sequence": known})

    def take_leave(self, account_ids: list[str]) -> Iterator[str]:
        """Yield the messages that end the watching of accounts."""
        self._leaving.update(account_ids)
        for some in _portions(account_ids):
            yield _message({"op": "unsubscribe", "accounts": some})

    # --- what is heard ---

    def take(self, message: LiveMessage) -> News | None:
        """Return what is news to the program. Raises RefusedError or TryAgain."""
        match message:
            case AccountStands() | AccountChanged():
                if not self._is_current(message.account_id):
                    return None
                self._unheard.discard(message.account_id)
                return message if self._watched[message.account_id].take(message) else None
            case Unsubscribed():
                self._leaving.subtract(message.accounts)
                return None
            case LiveError():
                self._refuse(message)
                return None
            case Pong():
                return None
            case _:
                assert_never(message)

    def _is_current(self, account_id: str) -> bool:
        """Whether a message is about an account that is watched, and not from before it was."""
        return account_id in self._watched and self._leaving[account_id] <= 0

    def _refuse(self, error: LiveError) -> None:
        """Raise what was refused, if it still matters."""
        account_id = error.account_id
        if account_id is None:
            raise RefusedError(error.sentence())
        if not self._is_current(account_id):
            return
        sentence = f"{account_id} can't be watched: {error.sentence()}"
        if error.code == NO_ROOM:
            raise TryAgain(NoAnswerError(sentence))
        if error.code == NOT_REACHED and self._watched[account_id].has_begun:
            # Another reader may not be as far as the one that told it.
            raise TryAgain(RefusedError(sentence))
        self.remove([account_id])
        raise RefusedError(sentence)


def _message(document: dict[str, Any]) -> str:
    return msgspec.json.encode(document).decode()


def _portions(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Yield as many as a message may name at a time."""
    rest = iter(items)
    while portion := list(islice(rest, MESSAGE_ACCOUNTS_MAX)):
        yield portion
