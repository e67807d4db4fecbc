"""The check of all journals before their nats-server is started: files only, nothing changed.

A server that finds a damaged record cuts the file there and goes on as if that were the end.
So it must not be started before every record was seen intact, the frames were followed along
their own hash chain, and their end was compared with what was witnessed outside the store.

A frame that does not chain is no damage: a deposed writer may leave one, and nobody counts it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from broker.store_blocks import Record
from broker.store_files import Damage, DamageKind, read_stream, stream_folders
from broker.witness import WitnessDamaged, Witnessed, read_witness, witness_paths
from contracts.chain import Chained, MadeByAnotherVersion, advanced, follow, genesis
from contracts.frames import EVENT_FRAME, Undecodable
from contracts.parties import COORDINATOR, party_title
from contracts.subjects import journal_stream, journal_subject

_WHAT_TO_DO: Final = """\
Nothing has been changed and nothing was started. What to do:
  1. Start no nats-server on this store: it would cut the files at the damage, give out the
     same sequences again, and say nothing.
  2. Copy the whole data folder to a safe place, as it is.
  3. Restore each of these folders, whole, from a backup or from another copy that reaches the
     sequences in doubt:
{folders}
  4. Start again: the same check runs first. Keep the witness files, they say how far each
     journal must reach.
If no copy reaches that far, what is in doubt may be lost, although clients were told that it is
done. The check accepts an older, undamaged copy only once that journal's witness files are
moved away."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about one journal that its owner must know before a start."""

    party: int
    """Whose journal it is."""
    refuses: bool
    """Whether the server must not be started; otherwise this is only a warning."""
    first_sequence: int | None
    """First event in doubt; None if no event is."""
    last_sequence: int | None
    """Last event in doubt; None if nobody can tell (or none is)."""
    seen: str
    folder: Path
    """The journal's folder: what to restore from another copy."""


def check_journals(store_dir: Path, data_dir: Path, parties: Iterable[int]) -> list[Finding]:
    """Check the journals in the store of a stopped server; no finding means all is well.

    store_dir is the server's own setting of that name, data_dir holds the witnesses. A journal
    that does not exist is fine unless a witness saw it. Reads every byte: about 100 MB/s. Raise
    MadeByAnotherVersion.
    """
    findings: list[Finding] = []
    for party in parties:
        try:
            findings += _check_journal(store_dir, data_dir, party)
        except MadeByAnotherVersion as error:
            raise MadeByAnotherVersion(f"{party_title(party)}: {error}") from error
    return findings


def render(findings: Sequence[Finding]) -> str:
    """Say in plain sentences what was found, what is in doubt and what to do."""
    parts = [_sentences(finding) for finding in findings]
    refused = [finding for finding in findings if finding.refuses]
    if refused:
        folders = "\n".join(f"     {folder}" for folder in sorted({str(f.folder) for f in refused}))
        parts.append(_WHAT_TO_DO.format(folders=folders))
    return "\n\n".join(parts)


def _sentences(finding: Finding) -> str:
    kind = "damaged" if finding.refuses else "warning"
    whose = "Coordinator" if finding.party == COORDINATOR else f"Partition {finding.party}"
    return (
        f"{whose}, {kind}: {_in_doubt(finding)}.\n"
        f"  Seen: {finding.seen}.\n"
        f"  Journal: {finding.folder}"
    )


def _in_doubt(finding: Finding) -> str:
    first, last = finding.first_sequence, finding.last_sequence
    if first is None:
        return "no sequence is in doubt"
    if last is None:
        return f"all sequences from {first} on are in doubt"
    if first == last:
        return f"sequence {first} is in doubt"
    return f"sequences {first} to {last} are in doubt"


def _check_journal(store_dir: Path, data_dir: Path, party: int) -> Iterator[Finding]:
    """Check one party's journal."""
    stream = journal_stream(party)
    folders = stream_folders(store_dir, stream)
    folder = folders[0] if folders else store_dir / "jetstream" / "$G" / "streams" / stream
    check = _Check(party, folder)
    for path in witness_paths(data_dir, party):
        yield from check.add_witness(path)
    if len(folders) > 1:
        yield check.finding(1, None, f"there are {len(folders)} folders of this journal")
        return
    if folders:
        for item in read_stream(folder, stream, journal_subject(party)):
            yield from check.take(item)
    yield from check.end()


class _Check:
    """One journal, followed record by record."""

    def __init__(self, party: int, folder: Path) -> None:
        self._party = party
        self._folder = folder
        self._tip = genesis(party)
        self._reached = 0  # last stream sequence that was read
        self._has_damage = False
        self._has_witness = False
        self._witnesses: list[Witnessed] = []
        self._open: list[Damage] = []  # damages since the last frame that counts

    def finding(
        self, first: int | None, last: int | None, seen: str, *, refuses: bool = True
    ) -> Finding:
        """A finding about this journal."""
        return Finding(self._party, refuses, first, last, seen, self._folder)

    def add_witness(self, path: Path) -> Iterator[Finding]:
        """Take what one keeper witnessed."""
        self._has_witness = True
        try:
            witness = read_witness(path)
        except WitnessDamaged as error:
            yield self.finding(None, None, f"{error}; restore it too, or move it away")
            return
        if witness is not None:
            self._witnesses.append(witness)

    def take(self, item: Record | Damage) -> Iterator[Finding]:
        """Take what comes next in the files."""
        if isinstance(item, Record):
            self._reached = item.stream_sequence
            yield from self._follow(item.payload)
            yield from self._compare(item.stream_sequence)
        elif item.kind is DamageKind.INDEX:
            yield self.finding(None, None, _seen(item), refuses=False)
        elif item.kind is DamageKind.SETTINGS:
            yield self.finding(1, None, _seen(item))  # the records may all be there
        elif item.kind is DamageKind.TORN_TAIL and self._was_never_answered(item):
            seen = f"{_seen(item)}; it was never answered, and the server cuts it off"
            yield self.finding(self._tip.sequence + 1, None, seen, refuses=False)
        else:
            self._has_damage = True
            if item.last is not None and item.last <= self._reached:
                # Something behind us: a deletion noted later, or a record a second time.
                yield self.finding(1, self._tip.sequence, _seen(item))
            else:
                self._open.append(item)

    def end(self) -> Iterator[Finding]:
        """After the last record: what stayed open, and how far the journal had to reach."""
        newest = max(self._witnesses, default=None)
        known_last = newest.sequence if newest else 0
        ends_in_damage = bool(self._open)
        yield from self._close(known_last if known_last > self._tip.sequence else None)
        if newest is not None and newest.stream_sequence > self._reached and not ends_in_damage:
            seen = (
                f"the journal ends at sequence {self._tip.sequence} (stream sequence"
                f" {self._reached}), the witness saw {newest.sequence} ({newest.stream_sequence})"
            )
            yield self.finding(self._tip.sequence + 1, newest.sequence, seen)
        if self._reached and not self._has_witness:
            seen = "there is no witness file, so nothing can tell whether the end is complete"
            yield self.finding(None, None, seen, refuses=False)

    def _follow(self, payload: bytes) -> Iterator[Finding]:
        """Advance along the chain; after a damage, from the first frame that lies behind it."""
        step = follow(self._tip, payload)
        if isinstance(step, Chained):
            yield from self._close(step.frame.first_sequence - 1)
            self._tip = step.tip
        elif self._open:
            try:
                frame = EVENT_FRAME.decode(payload)
            except Undecodable:
                return
            if frame.first_sequence > self._tip.sequence and frame.sources:
                before = frame.first_sequence - 1
                yield from self._close(before)
                self._tip = advanced(replace(self._tip, sequence=before), frame, payload)

    def _compare(self, stream_sequence: int) -> Iterator[Finding]:
        """Compare the tip with what was witnessed at this place of the stream."""
        if self._has_damage:
            return  # the tip behind a damage is unproven, and the start is refused anyway
        for witness in self._witnesses:
            if witness.stream_sequence != stream_sequence:
                continue
            if (self._tip.sequence, self._tip.hash) != (witness.sequence, witness.hash):
                first = min(self._tip.sequence, witness.sequence)
                seen = (
                    f"the frame at stream sequence {stream_sequence} is not the one that was"
                    f" witnessed there: the journal is at sequence {self._tip.sequence} with hash"
                    f" {self._tip.hash.hex()[:16]}, the witness at {witness.sequence} with"
                    f" {witness.hash.hex()[:16]}"
                )
                yield self.finding(first, None, seen)

    def _was_never_answered(self, torn: Damage) -> bool:
        """A client is answered only after a witness was kept; without one nothing is known."""
        return self._has_witness and all(w.stream_sequence < torn.first for w in self._witnesses)

    def _close(self, last: int | None) -> Iterator[Finding]:
        """Report the open damages, now that it is known which events are in doubt at most."""
        first = self._tip.sequence + 1
        for damage in self._open:
            yield self.finding(first, None if last is None else max(first, last), _seen(damage))
        self._open.clear()


def _seen(damage: Damage) -> str:
    """What was seen, where, in the stream's own numbers."""
    numbers = f"stream sequence {damage.first}"
    if damage.last is None:
        numbers += " and what follows"
    elif damage.last != damage.first:
        numbers = f"stream sequences {damage.first} to {damage.last}"
    return f"{damage.file}: {damage.seen} ({numbers})"
