"""Opens the stores of all partitions of a reader in a database."""

from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager

from reader.adapters.opening import OpenStores
from reader.adapters.store_postgresql import PostgresqlReadStore
from reader.adapters.store_postgresql_database import READING_THREADS, SCHEMA, Database
from reader.adapters.store_postgresql_version import is_current
from reader.config import DatabaseAddress
from reader.ports import ReadStore


@contextmanager
def postgresql_stores(
    address: DatabaseAddress, partitions: Iterable[int], *, schema: str = SCHEMA
) -> Iterator[OpenStores]:
    """Stores in a schema of a database, made or upgraded first. Raise StoreUnfit or StoreFault."""
    if not is_current(address, schema=schema):
        # Half a second of imports that the start of a reader mostly does without.
        from reader.adapters.store_postgresql_migrating import migrate  # noqa: PLC0415  # see above

        migrate(address, schema=schema)
    numbers = list(partitions)
    with closing(Database(address, len(numbers), schema=schema)) as database:
        stores: dict[int, ReadStore] = {
            number: PostgresqlReadStore(database, number) for number in numbers
        }
        names = dict.fromkeys(numbers, str(address))
        yield OpenStores(
            stores,
            names,
            writing_threads=database.writing_threads,
            reading_threads=READING_THREADS,
            is_remote=True,
        )
