"""Names in NATS: subjects, streams, queue groups. No user's text ever gets into one."""

from typing import Final

READER_QUEUE: Final = "readers"
"""Queue group of the readers: each query is answered by one of them."""


def command_subject(partition: int) -> str:
    """Where proxies publish command frames."""
    return f"wallet.cmd.{partition}"


def command_stream(partition: int) -> str:
    """The queue of commands, in memory: a lost command is sent again by its proxy."""
    return f"CMD_{partition}"


def journal_subject(partition: int) -> str:
    """Where the partition's writer appends event frames."""
    return f"wallet.evt.{partition}"


def journal_stream(partition: int) -> str:
    """The journal: file storage, never discards, never deletes."""
    return f"EVT_{partition}"


def result_subject(proxy_id: str) -> str:
    """Where readers push result frames to one proxy process."""
    return f"wallet.res.{proxy_id}"


def query_subject(partition: int) -> str:
    """Where proxies ask the readers of a partition."""
    return f"wallet.qry.{partition}"


def status_subject(role: str) -> str:
    """Where every process of a role (writer, reader) answers with its status."""
    return f"wallet.status.{role}"
