"""What the generated nats-server configuration says, and what it leaves out."""

import json
from pathlib import Path
from typing import Any

import pytest

from contracts.limits import FRAME_BYTES_MAX
from ewallet.nats_configuration import NatsSettings, read_urls, render
from ewallet.permissions import Role, inbox_prefix, permissions_of_roles


def settings(store: str = "/data/nats") -> NatsSettings:
    return NatsSettings(
        server_name="ewallet-1",
        port=4222,
        monitor_port=8222,
        store=Path(store),
        passwords={role: f"secret-{role.value}" for role in Role},
    )


def configuration(partitions: int = 1, store: str = "/data/nats") -> dict[str, Any]:
    text = render(settings(store), permissions_of_roles(partitions))
    document: dict[str, Any] = json.loads(text)
    return document


def test_every_acknowledged_frame_is_fsynced() -> None:
    assert configuration()["jetstream"]["sync_interval"] == "always"


def test_who_is_silent_is_soon_given_up() -> None:
    """A reader that is gone without a word would take its share of the questions for minutes."""
    assert (configuration()["ping_interval"], configuration()["ping_max"]) == ("2s", 2)


def test_frames_fit_and_the_server_does_not_warn() -> None:
    assert FRAME_BYTES_MAX < configuration()["max_payload"] <= 8 * 1024 * 1024


def test_nothing_listens_beyond_loopback_and_nobody_is_anonymous() -> None:
    document = configuration()
    assert document["listen"] == "127.0.0.1:4222"
    assert document["http"] == "127.0.0.1:8222"
    assert set(document) == {
        *("server_name", "listen", "http", "max_payload", "jetstream", "authorization"),
        *("ping_interval", "ping_max"),
    }
    assert set(document["authorization"]) == {"users"}


def test_odd_characters_of_a_path_survive() -> None:
    odd = 'a "b" \\ $PATH ü'
    assert configuration(store=f"/{odd}")["jetstream"]["store_dir"] == f"/{odd}"


def test_each_role_has_its_own_user_inbox_and_lists() -> None:
    users = configuration()["authorization"]["users"]
    assert [user["user"] for user in users] == ["writer", "reader", "proxy"]
    assert len({user["password"] for user in users}) == 3
    for role, user in zip(Role, users, strict=True):
        heard = user["permissions"]["subscribe"]["allow"]
        inboxes = [subject for subject in heard if subject.startswith("_INBOX")]
        assert inboxes == [f"{inbox_prefix(role)}.>"]
        assert "deny" not in user["permissions"]["publish"]


@pytest.mark.parametrize("partitions", [1, 4])
def test_lists_name_the_streams_of_this_wallet_alone(partitions: int) -> None:
    writer = permissions_of_roles(partitions)[Role.WRITER].publish
    made = {subject for subject in writer if ".STREAM.CREATE." in subject}
    assert made == {
        "$JS.API.STREAM.CREATE.KV_WALLET",
        "$JS.API.STREAM.CREATE.KV_LEASES",
        "$JS.API.STREAM.CREATE.OBJ_SNAPSHOTS",
        *(
            f"$JS.API.STREAM.CREATE.{kind}_{party}"
            for kind in ("EVT", "CMD")
            for party in (*map(str, range(partitions)), "c0")
        ),
    }


def test_only_writers_may_send_steps_and_only_of_this_wallet() -> None:
    """A step that anybody else could send would make money."""
    sent = {
        role: [subject for subject in permissions.publish if subject.startswith("wallet.step")]
        for role, permissions in permissions_of_roles(2).items()
    }
    assert sent == {
        Role.WRITER: ["wallet.step.0", "wallet.step.1", "wallet.step.c0"],
        Role.READER: [],
        Role.PROXY: [],
    }


def test_no_list_names_a_way_to_lose_history() -> None:
    """Old snapshots are purged; they are no history, but made of it."""
    snapshots = "$JS.API.STREAM.PURGE.OBJ_SNAPSHOTS"
    for permissions in permissions_of_roles(2).values():
        for subject in set(permissions.publish) - {snapshots}:
            assert not any(
                verb in subject
                for verb in ("STREAM.DELETE", "PURGE", "UPDATE", "MSG.DELETE", "RESTORE")
            )


def test_urls_are_read_back_from_the_file() -> None:
    text = render(settings(), permissions_of_roles(1))
    for role in Role:
        assert read_urls(text, role) == (settings().url(role), settings().monitor_url)
    assert settings().url(Role.PROXY) == "nats://proxy:secret-proxy@127.0.0.1:4222"


def test_foreign_file_is_not_taken_for_ours() -> None:
    with pytest.raises(ValueError, match="Expecting"):
        read_urls("port: 4222", Role.READER)
