"""Appends in flight: a table of our own, because nats-py's neither time out nor fail.

Each append gets its number as the last token of its reply subject. It is settled by exactly one
of: the server's acknowledgement, the deadline, the loss of the connection, and the end of a grace
once the stream has another leader, which does not answer for the one before. Two may answer: who
led before it stood still goes on to, until it hears of the other, and refuses what it lacks.
"""

import asyncio
import logging
import re
from math import inf
from typing import Final, NamedTuple

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg

from broker.nats_streams import WRONG_LAST_SEQUENCE, unix_ns
from broker.port import AppendRefused, AppendUnknown, BrokerFault

_log = logging.getLogger(__name__)

EXPECTED_LAST_SEQUENCE: Final = "Nats-Expected-Last-Sequence"
_LAST_SEQUENCE: Final = re.compile(r"wrong last sequence: (\d+)")

_SUCCESSION_S: Final = 0.3
"""What the leader before answered may still be on its way."""
_NEWS_NS_MAX: Final = 1_000_000_000
"""Of an election. What seems older was stamped by another clock than ours."""


class _Open(NamedTuple):
    """An append in flight."""

    subject: str
    expected: int
    """The stream's last sequence, as it was sent."""
    sent_s: float
    """By the loop's clock."""
    future: asyncio.Future[int]
    timer: asyncio.TimerHandle


class _Election(msgspec.Struct):
    """What a stream's new leader tells everybody."""

    timestamp: str


class _Error(msgspec.Struct):
    code: int = 0
    err_code: int = 0
    description: str = ""


class _Acknowledgement(msgspec.Struct):
    seq: int = 0
    error: _Error | None = None


_DECODER: Final = msgspec.json.Decoder(_Acknowledgement)
_ELECTIONS: Final = msgspec.json.Decoder(_Election)


class Appends:
    """The table, and the one inbox that all acknowledgements come to."""

    def __init__(self, client: Client, *, timeout_s: float, has_copies: bool) -> None:
        """has_copies: of streams, so that two servers may each think that they lead one."""
        self._client = client
        self._timeout_s = timeout_s
        self._has_copies = has_copies
        self._loop = asyncio.get_running_loop()
        self._inbox = ""
        self._count = 0
        self._open: dict[int, _Open] = {}

    async def start(self) -> None:
        """Listen for acknowledgements; the client must be connected."""
        self._inbox = self._client.new_inbox()
        await self._client.subscribe(f"{self._inbox}.*", cb=self._acknowledged)

    async def send(
        self, subject: str, data: bytes, expected_last_sequence: int
    ) -> asyncio.Future[int]:
        """Send now; the future settles later."""
        self._count += 1
        number = self._count
        headers = {EXPECTED_LAST_SEQUENCE: str(expected_last_sequence)}
        reply = f"{self._inbox}.{number}"
        future: asyncio.Future[int] = self._loop.create_future()
        timer = self._loop.call_later(self._timeout_s, self._time_out, number)
        # Now, because an answer may come while it is sent.
        sent_s = self._loop.time()
        self._open[number] = _Open(subject, expected_last_sequence, sent_s, future, timer)
        try:
            await self._client.publish(subject, data, reply=reply, headers=headers)
        except BaseException:
            self._open.pop(number, None)
            timer.cancel()
            raise
        return future

    def note_new_leader(self, subject: str, elected_ago_s: float) -> None:
        """Another server takes appends: those sent before its election are answered soon or never.

        Those sent since may have reached it before the news came here, and keep their time.
        """
        elected_s = self._loop.time() - elected_ago_s
        for number, each in self._open.items():
            if each.subject == subject and each.sent_s < elected_s:
                each.timer.cancel()
                timer = self._loop.call_later(_SUCCESSION_S, self._lose, number)
                self._open[number] = each._replace(timer=timer)

    def fail_all(self, why: str) -> None:
        """The connection is gone: nobody will answer what is in flight."""
        for number in list(self._open):
            self._settle(number, AppendUnknown(why))

    def _time_out(self, number: int) -> None:
        self._settle(number, AppendUnknown(f"no acknowledgement within {self._timeout_s} s"))

    def _lose(self, number: int) -> None:
        self._settle(number, AppendUnknown("the stream's leader before did not acknowledge it"))

    async def _acknowledged(self, message: Msg) -> None:
        number = int(message.subject.rpartition(".")[2])
        outcome = _outcome(message)
        if isinstance(outcome, AppendRefused) and self._is_of_before(number, outcome):
            _log.info("not believed of a leader of before: %s", outcome)
        else:
            self._settle(number, outcome)

    def _is_of_before(self, number: int, refusal: AppendRefused) -> bool:
        """Whether it may lack what the append rests on, while the stream's present leader has that.

        Where nobody has it, what the append rests on was not stored, and that tells its sender.
        """
        sent, last_sequence = self._open.get(number), _last_sequence(refusal)
        return self._has_copies and sent is not None and last_sequence < sent.expected

    def _settle(self, number: int, outcome: int | Exception) -> None:
        settled = self._open.pop(number, None)
        if settled is None:
            return
        settled.timer.cancel()
        future = settled.future
        if future.cancelled():
            return
        if isinstance(outcome, int):
            future.set_result(outcome)
        else:
            future.set_exception(outcome)


def elected_ago_s(news: bytes, now_ns: int) -> float:
    """How long ago a new leader's news was sent, by its clock and ours.

    Clocks that differ cost time and nothing else: an append waits longer, or is given up sooner.
    """
    try:
        ago_ns = now_ns - unix_ns(_ELECTIONS.decode(news).timestamp)
    except ValueError:  # msgspec's are some too
        return 0.0
    return ago_ns / 1e9 if 0 <= ago_ns <= _NEWS_NS_MAX else 0.0


def stored_revision(subject: str, answer: bytes) -> int:
    """The sequence that a stream's answer names.

    Raise AppendRefused if the key's value is not the expected one, else what else went wrong.
    """
    try:
        decoded = _DECODER.decode(answer)
    except msgspec.DecodeError as error:
        raise AppendUnknown(f"{subject}: answer not understood: {error}") from error
    if decoded.error is None:
        return decoded.seq
    if decoded.error.err_code == WRONG_LAST_SEQUENCE:
        raise AppendRefused(f"{subject}: {decoded.error.description}")
    raise BrokerFault(f"{subject} can't be stored now: {decoded.error.description}")


def _outcome(message: Msg) -> int | Exception:
    if not message.data:
        status = (message.headers or {}).get("Status")
        return AppendRefused(f"no server takes it for its stream now (status {status})")
    return _settled(message.data)


def _last_sequence(refusal: AppendRefused) -> float:
    """Of the stream, as the server that refused has it; infinite if it does not say."""
    told = _LAST_SEQUENCE.match(str(refusal))
    return int(told[1]) if told else inf


def _settled(data: bytes) -> int | Exception:
    try:
        answer = _DECODER.decode(data)
    except msgspec.DecodeError as error:
        return AppendUnknown(f"acknowledgement not understood: {error}")
    if answer.error is not None:
        return AppendRefused(f"{answer.error.description} ({answer.error.err_code})")
    return answer.seq
