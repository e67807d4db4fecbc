"""The reader's settings, from EWALLET_* variables."""

from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from contracts.limits import PARTITION_COUNT_MAX


class BadSetting(Exception):
    """A setting is missing or makes no sense; the message names it."""


class Settings(Struct, frozen=True):
    """What one reader process is told."""

    nats_url: str
    partitions: int
    data_dir: Path
    """The read store is in reader/ of it, the witness files are in witness/."""

    @property
    def store_dir(self) -> Path:
        """The folder of the read store; one reader process uses it at a time."""
        return self.data_dir / "reader"


def settings_from(environment: Mapping[str, str]) -> Settings:
    """Read the settings; raise BadSetting."""
    nats_url = environment.get("EWALLET_NATS_URL", "")
    if not nats_url:
        raise BadSetting("EWALLET_NATS_URL must name the NATS server: nats://user:password@host")
    partitions = environment.get("EWALLET_PARTITIONS", "")
    if not partitions.isdecimal() or not 1 <= int(partitions) <= PARTITION_COUNT_MAX:
        raise BadSetting(
            f"EWALLET_PARTITIONS must be the wallet's number of partitions, 1 to "
            f"{PARTITION_COUNT_MAX}; it is {partitions!r}"
        )
    data_dir = Path(environment.get("EWALLET_DATA_DIR", ".ewallet")).expanduser().absolute()
    return Settings(nats_url=nats_url, partitions=int(partitions), data_dir=data_dir)
