"""Names in NATS: subjects, streams, queue groups. No user's text ever gets into one."""

from typing import Final

from contracts.parties import COORDINATOR, party_name

READER_QUEUE: Final = "readers"
"""Queue group of the readers: each query that is not asked of all is answered by one of them."""

WALLET_STREAM: Final = "KV_WALLET"
"""The stream behind the key-value bucket `WALLET`, as NATS names it: what all services share."""

WALLET_SUBJECTS: Final = "$KV.WALLET.>"
"""The bucket's keys."""

SLOT_MAP_SUBJECT: Final = "$KV.WALLET.slot-map"
"""The bucket's key `slot-map`: which partition has which hash slots."""

SNAPSHOTS_BUCKET: Final = "SNAPSHOTS"
"""The object bucket of all parties' snapshots."""

SNAPSHOTS_STREAM: Final = f"OBJ_{SNAPSHOTS_BUCKET}"
"""The stream behind it, as NATS names it."""

SNAPSHOT_CHUNKS: Final = f"$O.{SNAPSHOTS_BUCKET}.C"
"""What the subjects of objects' contents begin with; a token of the object follows."""

SNAPSHOT_METAS: Final = f"$O.{SNAPSHOTS_BUCKET}.M"
"""What the subjects of objects' descriptions begin with; the object's encoded name follows."""

LEASES_STREAM: Final = "KV_LEASES"
"""The stream behind the key-value bucket `LEASES`: which writers live, and who leads what."""

LEASES_SUBJECTS: Final = "$KV.LEASES.>"
"""The bucket's keys."""

JOURNAL_STREAM_PREFIX: Final = "EVT_"
"""What the names of all journals' streams begin with, and of no other's."""

QUEUE_STREAM_PREFIX: Final = "CMD_"
"""Likewise of all queues' streams."""

LEADER_ELECTED: Final = "$JS.EVENT.ADVISORY.STREAM.LEADER_ELECTED"
"""What the subject begins with where NATS tells that another server leads a stream's copies; the
stream follows."""


def lease_subject(writer_id: str) -> str:
    """The key that a writer renews while it lives."""
    return f"$KV.LEASES.writer.{writer_id}"


def leader_subject(party: int) -> str:
    """The key that names a party's leader."""
    return f"$KV.LEASES.leader.{party_name(party)}"


def command_subject(partition: int) -> str:
    """Where proxies publish command frames."""
    return f"wallet.cmd.{partition}"


def step_subject(party: int) -> str:
    """Where writers publish step frames. A party's queue holds them with its command frames."""
    return f"wallet.step.{party_name(party)}"


def queue_stream(party: int) -> str:
    """A party's queue of command and step frames, in memory: what it loses is sent again."""
    return f"{QUEUE_STREAM_PREFIX}{party_name(party)}"


def queue_subjects(party: int) -> list[str]:
    """What a party's queue takes. Proxies send nothing to the coordinator."""
    if party == COORDINATOR:
        return [step_subject(party)]
    return [command_subject(party), step_subject(party)]


def journal_subject(party: int) -> str:
    """Where the party's writer appends event frames."""
    return f"wallet.evt.{party_name(party)}"


def journal_subject_of(stream: str) -> str:
    """The subject of the journal with this stream; for another stream one that nobody uses."""
    return f"wallet.evt.{stream.removeprefix(JOURNAL_STREAM_PREFIX)}"


def journal_stream(party: int) -> str:
    """The journal: file storage, never discards, never deletes."""
    return f"{JOURNAL_STREAM_PREFIX}{party_name(party)}"


def result_subject(proxy_id: str) -> str:
    """Where readers push result frames to one proxy process."""
    return f"wallet.res.{proxy_id}"


def change_subject(partition: int) -> str:
    """Where readers push what changed on a partition's accounts, while a proxy listens."""
    return f"wallet.chg.{partition}"


def listen_subject(partition: int) -> str:
    """Where proxies tell all readers of a partition that they listen to its changes."""
    return f"wallet.listen.{partition}"


def query_subject(partition: int) -> str:
    """Where proxies ask one of the readers of a partition: see READER_QUEUE."""
    return f"wallet.qry.{partition}"


def query_all_subject(partition: int) -> str:
    """Where proxies ask all readers of a partition, as some of them may be gone."""
    return f"wallet.qry.{partition}.all"


def status_subject(role: str) -> str:
    """Where every process of a role (writer, reader, proxy) answers with its status."""
    return f"wallet.status.{role}"
