"""Whether a backup is one that may be restored: whole, chained, and a consistent cut."""

from msgspec import Struct

from contracts.chain import Chained, Tip, follow, genesis
from contracts.parties import parties, party_name, party_title
from ewallet.backup.cut import Contradiction, Cut
from ewallet.backup.file import Backup, End, NotABackup, Reached


class Place(Struct, frozen=True):
    """The end of one journal in a backup."""

    tip: Tip
    frames: int


class _Journals:
    """All journals of a backup, followed together."""

    def __init__(self, partition_count: int) -> None:
        self.places = {party: Place(genesis(party), 0) for party in parties(partition_count)}
        self._cut = Cut()

    def take(self, party: int, data: bytes) -> None:
        """Follow the next frame. Raise NotABackup, MadeByAnotherVersion, Contradiction."""
        place = self.places.get(party)
        if place is None:
            raise NotABackup(f"it holds a frame of {party_title(party)}, which the wallet has not")
        link = follow(place.tip, data)
        if not isinstance(link, Chained):
            raise NotABackup(f"{party_title(party)}: a frame {link.why}")
        missing = self._cut.missing(link.frame)
        if missing is not None:
            raise NotABackup(f"{party_title(party)}: {missing}")
        self._cut.take(link.frame)
        self.places[party] = Place(link.tip, place.frames + 1)

    def end(self) -> End:
        """What a backup of these frames must say at its end."""
        reached = {party_name(p): Reached.of(at.tip, at.frames) for p, at in self.places.items()}
        return End(reached, self._cut.unfinished_count)


def check(backup: Backup) -> dict[int, Place]:
    """Follow all journals of a backup along their chains; give where they end, by party.

    Raise NotABackup with the reason, or MadeByAnotherVersion if this version can't read them.
    """
    journals = _Journals(backup.header.partitions)
    try:
        for item in backup.frames():
            if isinstance(item, End):
                if item != journals.end():
                    raise NotABackup("its end does not name the journals that it holds")
            else:
                journals.take(*item)
    except Contradiction as error:
        raise NotABackup(str(error)) from error
    return journals.places
