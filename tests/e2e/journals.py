"""The journals in the volumes of the NATS servers: read from their files alone, and damaged."""

import json
import time
from dataclasses import dataclass
from typing import Any, Final

from tests.e2e.cluster import NATS, Cluster

_READ: Final = """
import json
import sys
from pathlib import Path
from broker.store_files import Damage, DamageKind, read_stream, stream_folders
from contracts.chain import Chained, follow, genesis
from contracts.parties import COORDINATOR
from contracts.subjects import journal_stream, journal_subject

def read(store, party):
    tip, damages, unchained = genesis(party), [], 0
    for folder in stream_folders(store, journal_stream(party)):
        for item in read_stream(folder, journal_stream(party), journal_subject(party)):
            if not isinstance(item, Damage):
                step = follow(tip, item.payload)
                if isinstance(step, Chained):
                    tip = step.tip
                else:
                    unchained += 1
            elif item.kind is not DamageKind.INDEX:
                damages.append(f"{item.first} to {item.last}: {item.seen}")
    return {"sequence": tip.sequence, "hash": tip.hash.hex(), "damages": damages,
            "unchained": unchained}

print(json.dumps({
    store.name: {journal_stream(party): read(store, party) for party in [*range(4), COORDINATOR]}
    for store in map(Path, sys.argv[1:])
}))
"""

_DAMAGE: Final = """
import struct
import sys
from pathlib import Path

def records(data):
    at = 0
    while at + 4 <= len(data):
        yield at
        at += struct.unpack_from("<I", data, at)[0] & 0x7FFFFFFF

for stream, share, is_cut in (("EVT_0", 0.1, False), ("EVT_1", 0.5, True), ("EVT_2", 0, False)):
    blocks = Path(sys.argv[1]).glob(f"jetstream/$G/streams/{stream}/msgs/*.blk")
    block = max(blocks, key=lambda path: int(path.stem))
    data = bytearray(block.read_bytes())
    places = list(records(data))
    inside = places[int(len(places) * share)] + 60
    if is_cut:
        del data[inside:]
    else:
        data[inside] ^= 1
    block.write_bytes(data)
"""

_EMPTY: Final = """
import shutil
import sys
from pathlib import Path

shutil.rmtree(Path(sys.argv[1]) / "jetstream")
"""

SETTLED_S_MAX: Final = 60.0


@dataclass(frozen=True)
class Copy:
    """One server's copy of a journal."""

    sequence: int
    """Of the last event along the chain."""
    hash: str
    damages: tuple[str, ...]
    unchained: int
    """Frames that a deposed writer left, or that lie behind a damage."""


def copies(cluster: Cluster, *servers: str) -> dict[str, dict[str, Copy]]:
    """By server and stream. With clients at rest the files say all, also while the servers run."""
    found: dict[str, dict[str, dict[str, Any]]] = json.loads(
        cluster.python_on_journals(_READ, *servers)
    )
    return {
        server: {
            stream: Copy(**(copy | {"damages": tuple(copy["damages"])}))
            for stream, copy in streams.items()
        }
        for server, streams in found.items()
    }


def lacking(cluster: Cluster, server: str) -> list[str]:
    """The journals of which a server does not hold every record."""
    found = copies(cluster, server)[server]
    return sorted(stream for stream, copy in found.items() if copy.damages)


def assert_all_whole_and_equal(cluster: Cluster) -> None:
    """Every server holds every journal whole, and all hold the same; once they have caught up."""
    deadline_s = time.monotonic() + SETTLED_S_MAX
    while True:
        found = copies(cluster, *NATS)
        is_whole = not any(copy.damages for each in found.values() for copy in each.values())
        if is_whole and found[NATS[0]] == found[NATS[1]] == found[NATS[2]]:
            return
        assert time.monotonic() < deadline_s, found
        time.sleep(0.5)


def damage(cluster: Cluster, server: str) -> None:
    """Flip a bit in two journals and cut one, in the files of a server that does not run."""
    cluster.python_on_volumes(_DAMAGE, server)


def empty(cluster: Cluster, server: str) -> None:
    """Remove all that a server has stored, as the cure of a damaged one says."""
    cluster.python_on_volumes(_EMPTY, server)
