"""The streams of a wallet: their configuration, and whether server and streams are fit for it."""

import base64
import datetime as dt
from typing import Any, Final, Protocol

import orjson

from broker.port import BrokerFault, BrokerUnfit, StoredMessage
from contracts.limits import COMMAND_AGE_MS_MAX, COMMAND_QUEUE_BYTES_MAX, FRAME_BYTES_MAX
from contracts.parties import parties
from contracts.subjects import (
    LEASES_STREAM,
    LEASES_SUBJECTS,
    SNAPSHOT_CHUNKS,
    SNAPSHOT_METAS,
    SNAPSHOTS_STREAM,
    journal_stream,
    journal_subject,
    queue_stream,
    queue_subjects,
)

API_TIMEOUT_S: Final = 5.0

SERVER_VERSION_MIN: Final = (2, 12)

NO_MESSAGE: Final = 10037
NO_SUCH_STREAM: Final = 10059
WRONG_LAST_SEQUENCE: Final = 10071
_NO_CLUSTER: Final = 10074
_PARTITIONS: Final = "ewallet.partitions"


class JetStreamApi(Protocol):
    """Requests to `$JS.API.…`."""

    async def __call__(
        self, verb: str, body: dict[str, Any] | None = None, *, timeout_s: float = API_TIMEOUT_S
    ) -> dict[str, Any]:
        """The decoded answer, errors included under "error". Raise NoResponse."""
        ...


def journal_config(party: int, partition_count: int, replicas: int) -> dict[str, Any]:
    """A journal refuses rather than forgets: nothing expires, is discarded or can be deleted."""
    return {
        "name": journal_stream(party),
        "subjects": [journal_subject(party)],
        "storage": "file",
        "retention": "limits",
        "discard": "new",
        "max_msg_size": FRAME_BYTES_MAX,
        "num_replicas": replicas,
        "allow_direct": False,  # a direct read may be stale
        "deny_delete": True,
        "deny_purge": True,
        "metadata": {_PARTITIONS: str(partition_count)},
    }


def queue_config(party: int, replicas: int) -> dict[str, Any]:
    """A queue lives in memory: what it loses, proxies and writers send again."""
    return {
        "name": queue_stream(party),
        "subjects": queue_subjects(party),
        "storage": "memory",
        "retention": "limits",
        "discard": "old",
        "max_age": COMMAND_AGE_MS_MAX * 1_000_000,
        "max_bytes": COMMAND_QUEUE_BYTES_MAX,
        "max_msg_size": FRAME_BYTES_MAX,
        "duplicate_window": 100_000_000,  # unused; the least the server takes
        "num_replicas": replicas,
        "allow_direct": False,
    }


def leases_config(replicas: int) -> dict[str, Any]:
    """A bucket that keeps the last value of each key, in memory: leases do not last anyway.

    A value that names how long it lasts is forgotten then (allow_msg_ttl), or every writer that
    ever ran would leave a key behind.
    """
    return {
        "name": LEASES_STREAM,
        "subjects": [LEASES_SUBJECTS],
        "storage": "memory",
        "retention": "limits",
        "discard": "new",
        "max_msgs_per_subject": 1,
        "allow_msg_ttl": True,
        "num_replicas": replicas,
        "allow_direct": False,
    }


def snapshots_config(replicas: int) -> dict[str, Any]:
    """An object bucket (ADR-20 of NATS). What it holds can be made anew from the journals."""
    return {
        "name": SNAPSHOTS_STREAM,
        "subjects": [f"{SNAPSHOT_CHUNKS}.>", f"{SNAPSHOT_METAS}.>"],
        "storage": "file",
        "retention": "limits",
        "discard": "new",
        "max_msg_size": FRAME_BYTES_MAX,
        "num_replicas": replicas,
        "allow_rollup_hdrs": True,
        "allow_direct": False,  # a direct read may be stale
    }


async def provide_streams(
    api: JetStreamApi, partition_count: int, replicas: int = 1
) -> dict[str, dict[str, Any]]:
    """Make the streams that are missing; give the configurations of those in memory.

    Raise BrokerUnfit where a stream is not as it must be.
    """
    leases = leases_config(replicas)
    await provide_stream(api, leases)
    configs = {LEASES_STREAM: leases}
    for party in parties(partition_count):
        found = await provide_stream(api, journal_config(party, partition_count, replicas))
        _check_journal(found, partition_count)
        queue = queue_config(party, replicas)
        _check_queue(await provide_stream(api, queue), queue)
        configs[queue["name"]] = queue
    await provide_stream(api, snapshots_config(replicas))
    beyond = await api(f"STREAM.INFO.{journal_stream(partition_count)}")
    if "error" not in beyond:
        raise BrokerUnfit(
            f"The broker holds journals of more than {partition_count} partitions. "
            "The number of partitions is fixed when a wallet is made: set EWALLET_PARTITIONS "
            "to that number."
        )
    return configs


async def provide_stream(api: JetStreamApi, config: dict[str, Any]) -> dict[str, Any]:
    """Make the stream if it is missing; give the configuration it has.

    Raise BrokerUnfit if the servers can't keep as many copies, or are told to keep another number.
    """
    answer = await api(f"STREAM.INFO.{config['name']}")
    if answer.get("error", {}).get("err_code") == NO_SUCH_STREAM:
        answer = await api(f"STREAM.CREATE.{config['name']}", config)
    error = answer.get("error", {})
    if error.get("err_code") == _NO_CLUSTER:
        raise BrokerUnfit(
            f"EWALLET_REPLICAS={config['num_replicas']} asks for more copies of each stream than "
            "one nats-server can keep: name a cluster in EWALLET_NATS_URL, or unset it."
        )
    if error:
        raise BrokerFault(f"Stream {config['name']} can't be had now: {error}")
    found: dict[str, Any] = answer["config"]
    _check_replicas(found, config["num_replicas"])
    return found


def _check_journal(config: dict[str, Any], partition_count: int) -> None:
    made_for = config.get("metadata", {}).get(_PARTITIONS)
    if made_for != str(partition_count):
        raise BrokerUnfit(
            f"Stream {config['name']} belongs to a wallet of {made_for} partitions, not "
            f"{partition_count}. The number is fixed when a wallet is made: set "
            f"EWALLET_PARTITIONS={made_for}, or use another server or data folder."
        )
    kept = config["storage"] == "file" and config["discard"] == "new" and not config.get("max_age")
    if not (kept and config.get("deny_delete") and config.get("deny_purge")):
        raise BrokerUnfit(
            f"Stream {config['name']} is not configured as a journal (file storage, discard new, "
            "no max_age, deny_delete, deny_purge). Let the writer make it, or correct it."
        )


def _check_queue(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """A queue that an earlier version made takes no steps: they would be lost for ever."""
    if set(found["subjects"]) != set(wanted["subjects"]):
        raise BrokerUnfit(
            f"Stream {found['name']} takes {', '.join(found['subjects'])} and must take "
            f"{', '.join(wanted['subjects'])}. Delete that stream (it holds nothing that is not "
            "sent again) and start the writer: it makes it anew."
        )


def _check_replicas(found: dict[str, Any], replicas: int) -> None:
    kept = found.get("num_replicas", 1)
    if kept != replicas:
        raise BrokerUnfit(
            f"Stream {found['name']} has {kept} replicas and EWALLET_REPLICAS is {replicas}. Set "
            f"EWALLET_REPLICAS={kept}, or change each stream of this wallet first, as an operator: "
            f"nats stream edit {found['name']} --replicas {replicas}"
        )


def check_version(version: str) -> None:
    """Raise BrokerUnfit for a server that is too old."""
    parts = version.removeprefix("v").split(".")
    if not all(part.isdigit() for part in parts[:2]) or (
        (int(parts[0]), int(parts[1])) < SERVER_VERSION_MIN
    ):
        least = ".".join(map(str, SERVER_VERSION_MIN))
        raise BrokerUnfit(f"nats-server {version} is too old: install {least} or newer.")


def encode_body(body: dict[str, Any] | None) -> bytes:
    """Bytes of an API request."""
    return b"" if body is None else orjson.dumps(body)


def stored_message(answer: dict[str, Any], what: str) -> StoredMessage | None:
    """The message in an answer to STREAM.MSG.GET, None if there is none. Raise BrokerFault."""
    error = answer.get("error")
    if error is not None:
        if error.get("err_code") == NO_MESSAGE:
            return None
        raise BrokerFault(f"{what}: {error.get('description')}")
    message = answer["message"]
    data = base64.b64decode(message.get("data", ""))
    return StoredMessage(message["seq"], unix_ns(message["time"]), message["subject"], data)


def unix_ns(rfc3339: str) -> int:
    """Unix ns of the server's "2026-01-02T03:04:05.123456789Z"; datetime stops at µs."""
    whole, _, fraction = rfc3339.removesuffix("Z").partition(".")
    seconds = dt.datetime.fromisoformat(f"{whole}+00:00").timestamp()
    return int(seconds) * 1_000_000_000 + int(fraction.ljust(9, "0") or 0)
