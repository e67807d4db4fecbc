"""Decided transfers are remembered for ever, in about 30 bytes each."""

from hypothesis import given
from hypothesis import strategies as st

from writer.core.idempotency import (
    KEY_BYTES,
    Decided,
    DecidedTransfers,
    transfer_content,
    transfer_key,
)


def test_every_one_of_many_is_found_and_no_other() -> None:
    transfers = DecidedTransfers()
    content = transfer_content("payee", 1, "USD")
    for number in range(50_000):
        transfers.remember(transfer_key("payer", str(number)), number, content)
    assert len(transfers) == 50_000
    for number in range(50_000):
        assert transfers.find(transfer_key("payer", str(number))) == Decided(number, content)
    assert transfers.find(transfer_key("payer", "50000")) is None
    assert transfers.memory_bytes() / len(transfers) <= 32


@given(
    st.dictionaries(
        st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES),
        st.integers(min_value=1, max_value=2**48 - 1),
        max_size=300,
    ),
    st.sampled_from([b"\x00" * 6, b"\xff" * 6]),
)
def test_it_equals_a_dictionary_also_for_keys_that_overlap(
    decided: dict[bytes, int], content: bytes
) -> None:
    transfers = DecidedTransfers()
    for key, sequence in decided.items():
        assert transfers.find(key) is None
        transfers.remember(key, sequence, content)
    assert {key: transfers.find(key) for key in decided} == {
        key: Decided(sequence, content) for key, sequence in decided.items()
    }


def test_names_and_contents_are_told_apart_whole() -> None:
    assert transfer_key("a", "b-c") != transfer_key("a-b", "c")
    assert transfer_content("a1", 1, "USD") != transfer_content("a", 11, "USD")
