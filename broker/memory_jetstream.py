"""Streams in memory that behave as JetStream's do.

An append expects the last sequence at its arrival, counting appends that are not durable yet. It
is durable, then readable, then acknowledged. A crash loses memory streams, whole or their tail,
and of a journal at most what was never acknowledged.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from broker.memory_link import Lane, Weather
from broker.port import AppendRefused, BrokerFault, NotTaken, StoredMessage

Settle = Callable[[int | BrokerFault], None]


class Reading(Protocol):
    """Somebody whom a stream delivers to."""

    def deliver(self) -> None:
        """There are more messages."""
        ...

    def look_again(self) -> None:
        """Some messages are gone."""
        ...


@dataclass(eq=False)
class Stream:
    """One stream. Messages are numbered from 1 without gaps."""

    name: str
    subjects: tuple[str, ...]
    disk: Lane
    """Appends on their way to being durable, in order."""
    messages: list[StoredMessage] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def not_read(self, sequence: int) -> list[StoredMessage]:
        """What follows a sequence; of a bucket (it names no subjects) the last of each key."""
        messages = self.messages[sequence:]
        if self.subjects:
            return messages
        last = {message.subject: message for message in messages}
        return sorted(last.values(), key=lambda message: message.sequence)

    def notify(self) -> None:
        """Wake everybody who waits for a change: each waits on the event of its time."""
        self.changed.set()
        self.changed = asyncio.Event()

    def holds(self, message: StoredMessage) -> bool:
        """Whether the message is at its place: sequence and time identify it.

        A bucket holds no value but the last of each key.
        """
        there = self.messages[message.sequence - 1 : message.sequence]
        if not there or there[0].at_ns != message.at_ns:
            return False
        later = self.messages[message.sequence :]
        return bool(self.subjects) or all(each.subject != message.subject for each in later)


class JetStream:
    """All streams of a server."""

    def __init__(self, now_ns: Callable[[], int], weather: Weather | None) -> None:
        self.now_ns = now_ns
        self.weather = weather
        self.streams: dict[str, Stream] = {}
        self.on_stored: Callable[[Stream, StoredMessage], None] | None = None
        """Told of every message once a stream has it, before anybody else is."""
        self._subjects: dict[str, tuple[str, ...]] = {}
        self._by_subject: dict[str, Stream] = {}
        self._leaderless: set[str] = set()

    def add_stream(self, name: str, *subjects: str) -> None:
        """Make a stream that stores what is sent to its subjects, if it is not there yet."""
        self._subjects[name] = subjects
        if name not in self.streams:
            stream = self.streams[name] = Stream(name, subjects, Lane(self.weather))
            self._by_subject.update(dict.fromkeys(subjects, stream))

    def lose_stream(self, name: str) -> None:
        """Forget a stream altogether, as a server that is started again forgets one in memory."""
        stream = self.streams.pop(name)
        for subject in stream.subjects:
            del self._by_subject[subject]
        stream.notify()

    def restore(self, name: str) -> None:
        """Make a stream again that was there before."""
        if name not in self.streams:
            self.add_stream(name, *self._subjects[name])

    def lose_leader(self, name: str) -> None:
        """Let a queue take nothing until `elect`, as one whose copies have no leader."""
        self._leaderless.add(name)

    def has_leader(self, name: str) -> bool:
        """Whether it takes messages."""
        return name not in self._leaderless

    def elect(self, name: str) -> None:
        """Let it take messages again."""
        self._leaderless.discard(name)

    def lose_tail(self, name: str, count: int) -> None:
        """Forget the last messages of a stream; their sequences are handed out again."""
        stream = self.streams[name]
        del stream.messages[len(stream.messages) - count :]
        for reading in list(stream.readings):
            reading.look_again()
        stream.notify()

    def stream(self, name: str) -> Stream:
        """The stream, or BrokerFault if there is none."""
        if name not in self.streams:
            raise BrokerFault(f"{name}: stream not found")
        return self.streams[name]

    def crash(self, memory_streams: Iterable[str], weather: Weather) -> None:
        """Lose what the weather says that a dying server loses. Cut its connections first."""
        for stream in list(self.streams.values()):
            stream.disk.close(weather.survivors(len(stream.disk)))
            stream.disk.finish()
            stream.disk = Lane(self.weather)
        for name in memory_streams:
            if name in self.streams:
                self._lose_some(name, weather)

    def _lose_some(self, name: str, weather: Weather) -> None:
        count = len(self.streams[name].messages)
        left = weather.queue_survivors(count)
        if left is None:
            self.lose_stream(name)
        else:
            self.lose_tail(name, count - left)

    def store(self, subject: str, data: bytes) -> None:
        """Store a published message, if a stream takes it."""
        stream = self._taker(subject)
        if stream is not None:
            self._store(stream, subject, data)

    def _taker(self, subject: str) -> Stream | None:
        """The stream that takes what is published there, if any does now."""
        stream = self._by_subject.get(subject)
        return None if stream is None or stream.name in self._leaderless else stream

    def put(self, name: str, subject: str, data: bytes, expected: int | None) -> int:
        """Store the value of a bucket's key, if its present one is as expected; give its revision.

        Values before the last are kept here; nobody may rely on that.
        """
        stream = self.stream(name)
        if expected is not None:
            before = (
                each.sequence for each in reversed(stream.messages) if each.subject == subject
            )
            present = next(before, 0)
            if present != expected:
                raise AppendRefused(f"{subject}: revision {present}, not {expected}")
        return self._store(stream, subject, data).sequence

    def offer(self, subject: str, data: bytes) -> None:
        """Store a published message, or raise NotTaken."""
        if self._taker(subject) is None:
            raise NotTaken(f"no stream takes {subject}")
        self.store(subject, data)

    def append(self, subject: str, data: bytes, expected: int, settle: Settle) -> None:
        """Store a message if the stream is where its sender thinks, and settle with its sequence.

        What is refused is settled at once, what is stored when it is durable.
        """
        stream = self._by_subject.get(subject)
        if stream is None:
            settle(AppendRefused(f"no stream stores {subject}"))
            return
        last = len(stream.messages) + len(stream.disk)
        if last != expected:
            settle(AppendRefused(f"{subject}: last sequence {last}, not {expected}"))
            return
        disk_s = 0.0 if self.weather is None else self.weather.disk_s()
        stream.disk.push(disk_s, self._make_durable, stream, subject, data, settle)

    def _make_durable(self, stream: Stream, subject: str, data: bytes, settle: Settle) -> None:
        message = self._store(stream, subject, data)
        if self.weather is None or not self.weather.loses_acknowledgement():
            settle(message.sequence)

    def _store(self, stream: Stream, subject: str, data: bytes) -> StoredMessage:
        message = StoredMessage(len(stream.messages) + 1, self.now_ns(), subject, data)
        stream.messages.append(message)
        if self.on_stored is not None:
            self.on_stored(stream, message)
        for reading in list(stream.readings):
            reading.deliver()
        stream.notify()
        return message
