"""What each role may say and hear on NATS: allow-lists, and nothing else is allowed.

Pure. A role that is taken over can do its own work wrong, but cannot do another's: a proxy
writes no journal and takes no step of a transfer, a reader makes no command, and nobody deletes,
purges or changes a stream but for the snapshots, which can be made anew.
Streams are spelled out one by one because a NATS wildcard stands for a whole token.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from contracts import subjects
from contracts.parties import parties

REPLY_EXPIRES: Final = "2m"
"""How long a query may be answered: longer than any client waits (limits.WAIT_MS_MAX)."""

_READ_SLOT_MAP: Final = f"$JS.API.STREAM.MSG.GET.{subjects.WALLET_STREAM}"
"""Whose body names the key; the slot map is the only one there is."""


SENTINEL: Final = "sentinel"
"""The NATS user of the sentinel, and its module. No `Role`: it belongs to the servers' own NATS
account, sees nothing of the wallet, and only a cluster has one."""


_ELECTIONS: Final = f"{subjects.LEADER_ELECTED}.*"


class Role(Enum):
    """A service that has its own NATS user. The value names the user and the module."""

    WRITER = "writer"
    READER = "reader"
    PROXY = "proxy"


@dataclass(frozen=True)
class Permissions:
    """The subjects that a role may publish and subscribe to, and how often it may reply."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    replies_per_request: int = 0

    def as_configuration(self) -> dict[str, object]:
        """Return the `permissions` block of a nats-server configuration."""
        block: dict[str, object] = {
            "publish": {"allow": list(self.publish)},
            "subscribe": {"allow": list(self.subscribe)},
        }
        if self.replies_per_request:
            block["allow_responses"] = {"max": self.replies_per_request, "expires": REPLY_EXPIRES}
        return block


def inbox_prefix(role: Role) -> str:
    """Return the prefix of the subjects where a role receives answers and deliveries."""
    return f"_INBOX_{role.value}"


def permissions_of_roles(partition_count: int) -> Mapping[Role, Permissions]:
    """Return what each role needs in a wallet of so many partitions."""
    partitions = range(partition_count)
    return {
        Role.WRITER: _writer(partitions),
        Role.READER: _reader(partitions),
        Role.PROXY: _proxy(partitions),
    }


def sentinel_permissions() -> Permissions:
    """What the sentinel needs: it asks the members of Raft groups for votes, and hears nothing.

    Not harmless in wrong hands: forged requests keep groups from having leaders, and together with
    forged answers could bring up a server that lacks acknowledged frames. So is the routes'
    password, which lets a stranger be a server.
    """
    return Permissions(publish=("$NRG.V.*",), subscribe=(f"_INBOX_{SENTINEL}.>",))


def _writer(partitions: Sequence[int]) -> Permissions:
    """What any writer process needs, whichever parties it leads.

    Nobody else sends steps: a forged credit would make money. A reply subject is not checked by
    NATS, so a taken-over role may let an acknowledgement land on any subject: as a step or a frame
    it does not decode, in a journal it costs the writer a rebuild, in a snapshot that snapshot.
    """
    all_parties = parties(len(partitions))
    streams = [
        stream
        for party in all_parties
        for stream in (subjects.journal_stream(party), subjects.queue_stream(party))
    ]
    buckets = (subjects.WALLET_STREAM, subjects.LEASES_STREAM, subjects.SNAPSHOTS_STREAM)
    return Permissions(
        publish=(
            *(subjects.journal_subject(party) for party in all_parties),
            *(subjects.step_subject(party) for party in all_parties),
            *(f"$JS.API.STREAM.CREATE.{stream}" for stream in (*streams, *buckets)),
            *_following((*streams, subjects.LEASES_STREAM, subjects.SNAPSHOTS_STREAM)),
            f"{subjects.SNAPSHOT_CHUNKS}.*",
            f"{subjects.SNAPSHOT_METAS}.*",
            f"$JS.API.STREAM.PURGE.{subjects.SNAPSHOTS_STREAM}",
            _READ_SLOT_MAP,
            subjects.SLOT_MAP_SUBJECT,
            subjects.LEASES_SUBJECTS,
        ),
        subscribe=(_inbox(Role.WRITER), _ELECTIONS, subjects.status_subject(Role.WRITER.value)),
        replies_per_request=1,
    )


def _reader(partitions: Sequence[int]) -> Permissions:
    journals = [subjects.journal_stream(partition) for partition in partitions]
    return Permissions(
        publish=(
            subjects.result_subject("*"),
            *(subjects.change_subject(partition) for partition in partitions),
            *_following(journals),
        ),
        subscribe=(
            _inbox(Role.READER),
            _ELECTIONS,
            subjects.status_subject(Role.READER.value),
            *(subjects.query_subject(partition) for partition in partitions),
            *(subjects.query_all_subject(partition) for partition in partitions),
            *(subjects.listen_subject(partition) for partition in partitions),
        ),
        replies_per_request=1,
    )


def _proxy(partitions: Sequence[int]) -> Permissions:
    return Permissions(
        publish=(
            *(subjects.command_subject(partition) for partition in partitions),
            *(subjects.query_subject(partition) for partition in partitions),
            *(subjects.query_all_subject(partition) for partition in partitions),
            *(subjects.listen_subject(partition) for partition in partitions),
            subjects.status_subject("*"),
            _READ_SLOT_MAP,
        ),
        subscribe=(
            _inbox(Role.PROXY),
            subjects.result_subject("*"),
            *(subjects.change_subject(partition) for partition in partitions),
            subjects.status_subject(Role.PROXY.value),
        ),
        replies_per_request=1,
    )


def _inbox(role: Role) -> str:
    return f"{inbox_prefix(role)}.>"


def _following(streams: Iterable[str]) -> Iterator[str]:
    """Yield the subjects for reading streams by ordered push consumers and by sequence."""
    yield "$JS.API.INFO"
    yield "$JS.API.STREAM.INFO.*"  # any: a service also asks whether there are too many
    for stream in streams:
        yield f"$JS.API.STREAM.MSG.GET.{stream}"
        yield f"$JS.API.CONSUMER.CREATE.{stream}"
        yield f"$JS.API.CONSUMER.CREATE.{stream}.>"
        yield f"$JS.API.CONSUMER.INFO.{stream}.*"
        yield f"$JS.API.CONSUMER.DELETE.{stream}.*"
        yield f"$JS.FC.{stream}.>"
