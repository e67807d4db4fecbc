"""What a death did to clients, by their answers, and to transfers, by the journals."""

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from bench.choice import PARTITIONS
from bench.clients import Answer
from bench.settings import BenchError
from broker.store_blocks import Record
from broker.store_files import read_stream, stream_folders
from contracts.chain import Chained, follow, genesis
from contracts.coordination import Step
from contracts.events import EpochOpened, Event, StepTaken, TransferFinished, TransferStarted
from contracts.parties import party_title
from contracts.subjects import journal_stream, journal_subject

BUCKET_S = 0.1
BEFORE_S = 1.0
"""How much of the time before the death the timeline shows."""
AFTER_S = 7.0

Name = tuple[str, str]
"""A transfer: payer and transaction id."""

Lock = tuple[str, str, Step]
"""A transfer, and the step that locked one of its accounts."""


@dataclass(frozen=True)
class Wait:
    """Milliseconds that answers took; 0 when there were none."""

    p50_ms: float
    p99_ms: float
    answers: int


@dataclass(frozen=True)
class Stall:
    """What clients saw of a death. Seconds count from it.

    `held` requests were out then; the last of them was answered after `held_answered_s`. Nobody
    got any answer for `silence_s`, and speed was back at half of what it was after `half_speed_s`
    (None: never while it was looked at). `timeline` has answers per BUCKET_S from -BEFORE_S on.
    """

    held: int
    held_answered_s: float
    longest_near_s: float
    longest_far_s: float
    silence_s: float
    half_speed_s: float | None
    timeline: list[int]


@dataclass(frozen=True)
class Unfinished:
    """What the journals say of the transfers that were started and not finished at the death.

    `locked` are accounts that a prepared 2PC held locked. `finished_s` is when the last of the
    transfers was finished, in seconds from the death; 0 when there were none.
    """

    transfers: int
    locked: int
    finished_s: float


def wait(answers: Iterable[Answer]) -> Wait:
    """Return how long these answers took."""
    held_ms = sorted(1000 * answer.held_s for answer in answers)
    return Wait(_rank(held_ms, 0.50), _rank(held_ms, 0.99), len(held_ms))


def _rank(rising: Sequence[float], part: float) -> float:
    """The smallest value that is not exceeded by that part of all."""
    return round(rising[math.ceil(part * len(rising)) - 1], 2) if rising else 0.0


def stall(answers: Sequence[Answer], died_s: float) -> Stall:
    """Return what the clients saw of a death at `died_s` of `time.monotonic`."""
    held = [answer for answer in answers if answer.asked_s <= died_s < answer.answered_s]
    touched = [answer for answer in answers if answer.answered_s > died_s]
    timeline = _timeline(answers, died_s)
    return Stall(
        held=len(held),
        held_answered_s=_latest(answer.answered_s - died_s for answer in held),
        longest_near_s=_latest(answer.held_s for answer in touched if not answer.crosses),
        longest_far_s=_latest(answer.held_s for answer in touched if answer.crosses),
        silence_s=_silence_s(answers, died_s),
        half_speed_s=_half_speed_s(timeline),
        timeline=timeline,
    )


def _latest(seconds: Iterable[float]) -> float:
    return round(max(seconds, default=0.0), 3)


def _silence_s(answers: Iterable[Answer], died_s: float) -> float:
    """The longest time without any answer that ended after the death."""
    moments = sorted(answer.answered_s for answer in answers)
    gaps = (later - earlier for earlier, later in pairwise(moments) if later > died_s)
    return _latest(gaps)


def _timeline(answers: Iterable[Answer], died_s: float) -> list[int]:
    counts = [0] * round((BEFORE_S + AFTER_S) / BUCKET_S)
    for answer in answers:
        bucket = math.floor((answer.answered_s - died_s + BEFORE_S) / BUCKET_S)
        if 0 <= bucket < len(counts):
            counts[bucket] += 1
    return counts


def _half_speed_s(timeline: Sequence[int]) -> float | None:
    """When, after the silence, a bucket first had half of what buckets had before the death."""
    death = round(BEFORE_S / BUCKET_S)
    half = sum(timeline[:death]) / death / 2
    # The bucket of the death itself holds answers that were on their way already.
    for number, count in enumerate(timeline[death + 1 :], 1):
        if count >= half:
            return round(number * BUCKET_S, 1)
    return None


class UnderWay:
    """Folds the events of all journals up to a moment into what is under way then."""

    def __init__(self) -> None:
        self.transfers: set[Name] = set()
        """Started and not finished."""
        self.locks: set[Lock] = set()

    def note(self, event: Event) -> None:
        """Take the next event of any journal."""
        match event:
            case TransferStarted():
                self.transfers.add((event.from_account_id, event.transaction_id))
            case TransferFinished():
                name = (event.from_account_id, event.transaction_id)
                self.transfers.discard(name)
                self.locks.discard((*name, Step.PREPARE_DEBIT))
            case StepTaken(step=Step.PREPARE_DEBIT | Step.PREPARE_CREDIT):
                self.locks.add((event.from_account_id, event.transaction_id, event.step))
            case StepTaken(step=Step.COMMIT_CREDIT | Step.ABORT_CREDIT):
                lock = (event.from_account_id, event.transaction_id, Step.PREPARE_CREDIT)
                self.locks.discard(lock)
            case _:
                pass


def unfinished(data: Path, died_ns: int) -> Unfinished:
    """Read a stopped wallet's journals; the death was at `died_ns`, Unix ns."""
    under_way = UnderWay()
    finished_ns: dict[Name, int] = {}
    for partition in range(PARTITIONS):
        for at_ns, event in journal_events(data, partition):
            if at_ns <= died_ns:
                under_way.note(event)
            elif isinstance(event, TransferFinished):
                finished_ns[event.from_account_id, event.transaction_id] = at_ns
    left = under_way.transfers - finished_ns.keys()
    if left:
        raise BenchError(f"{len(left)} transfers were never finished, such as {min(left)}")
    last_ns = max((finished_ns[name] for name in under_way.transfers), default=died_ns)
    return Unfinished(
        transfers=len(under_way.transfers),
        locked=len(under_way.locks),
        finished_s=round((last_ns - died_ns) / 1e9, 3),
    )


def epochs_ns(data: Path, party: int) -> list[int]:
    """When a party of a stopped wallet got another leader, in rising order, Unix ns."""
    journal = journal_events(data, party)
    return [at_ns for at_ns, event in journal if isinstance(event, EpochOpened)]


def takeover_s(epochs_ns: Sequence[int], died_ns: int) -> float:
    """When somebody led a party again after its leader's death, in seconds from that."""
    after = bisect_right(epochs_ns, died_ns)
    if after == len(epochs_ns):
        raise BenchError("nobody took over what a dead process led")
    return round((epochs_ns[after] - died_ns) / 1e9, 3)


def journal_events(data: Path, party: int) -> Iterable[tuple[int, Event]]:
    """The events of a journal, each with the moment at which its frame was stored, Unix ns."""
    (folder,) = stream_folders(data / "nats", journal_stream(party))
    tip = genesis(party)
    for record in read_stream(folder, journal_stream(party), journal_subject(party)):
        if not isinstance(record, Record):
            raise BenchError(f"the journal of {party_title(party)} is damaged: {record}")
        link = follow(tip, record.payload)
        if isinstance(link, Chained):
            tip = link.tip
            for event in link.frame.events:
                yield record.at_ns, event
