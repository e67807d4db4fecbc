"""Where the reader keeps what it projects, by its setting."""

import pytest

from reader.config import DatabaseAddress, read_database_address
from runtime.process import Unfit


@pytest.mark.parametrize(
    ("setting", "address"),
    [
        ("", None),
        ("sqlite", None),
        ("postgresql://u:p@db:6432/wallet", DatabaseAddress("u", "p", "db", 6432, "wallet")),
        ("postgres://u@db/wallet", DatabaseAddress("u", "", "db", 5432, "wallet")),
        (
            "postgresql://%75:s3cret%3A%2F%40%25@[::1]:5432/a%2Db",
            DatabaseAddress("u", "s3cret:/@%", "::1", 5432, "a-b"),
        ),
        ("postgresql://u:p@%2Frun%2FPg/w", DatabaseAddress("u", "p", "/run/Pg", 5432, "w")),
    ],
)
def test_a_setting_names_a_store(setting: str, address: DatabaseAddress | None) -> None:
    assert read_database_address({"EWALLET_READ_STORE": setting}) == address


@pytest.mark.parametrize(
    "setting",
    [
        "postgresql",
        "mysql://u:hush@db/wallet",
        "postgresql://u:hush@db",
        "postgresql://u:hush@db/",
        "postgresql://u:hush@/wallet",
        "postgresql://:hush@db/wallet",
        "postgresql://u:hush@db:port/wallet",
        "postgresql://u:hush@db:0/wallet",
        "postgresql://u:hush@db:65536/wallet",
        "postgresql://u:hush@db/wallet?sslmode=disable",
        "postgresql://u:hush@db/wal/let",
        "postgresql://u:hu@sh@db/wallet",
        "postgresql://u:hush@db/wal%00let",
        "postgresql://u:hush@db/wallet\n",
        "host=db password=hush",
    ],
)
def test_a_setting_that_names_none_is_refused_without_the_password(setting: str) -> None:
    with pytest.raises(Unfit, match="EWALLET_READ_STORE must be") as refusal:
        read_database_address({"EWALLET_READ_STORE": setting})
    assert "hu" not in str(refusal.value)


def test_an_address_is_shown_without_its_password() -> None:
    address = DatabaseAddress("u", "hush", "db", 5432, "wallet")
    assert f"{address} {address!r} {[address]}".count("postgresql://u@db:5432/wallet") == 3
    assert "hush" not in f"{address} {address!r}"
