"""Decided transfers are remembered for ever, in about 30 bytes each."""

from hypothesis import given
from hypothesis import strategies as st

from contracts.rejections import Rejection
from writer.core.idempotency import (
    FINGERPRINT_KEY_BYTES,
    NAME_BYTES,
    Decided,
    DecidedTransfers,
    Fingerprints,
)

FINGERPRINTS = Fingerprints(b"k" * FINGERPRINT_KEY_BYTES)
OTHERS = Fingerprints(b"o" * FINGERPRINT_KEY_BYTES)


def test_every_one_of_many_is_found_and_no_other() -> None:
    transfers = DecidedTransfers()
    content = FINGERPRINTS.content("payee", 1, "USD")
    for number in range(50_000):
        transfers.remember(FINGERPRINTS.name("payer", str(number)), number, content, None)
    assert len(transfers) == 50_000
    for number in range(50_000):
        assert transfers.find(FINGERPRINTS.name("payer", str(number))) == Decided(
            number, content, None
        )
    assert transfers.find(FINGERPRINTS.name("payer", "50000")) is None
    assert transfers.memory_bytes() / len(transfers) <= 32


@given(
    st.dictionaries(
        st.binary(min_size=NAME_BYTES, max_size=NAME_BYTES),
        st.integers(min_value=1, max_value=2**48 - 1),
        max_size=300,
    ),
    st.sampled_from([b"\x00" * 6, b"\xff" * 6]),
    st.sampled_from([None, *Rejection]),
)
def test_it_equals_a_dictionary_also_for_keys_that_overlap(
    decided: dict[bytes, int], content: bytes, reason: Rejection | None
) -> None:
    transfers = DecidedTransfers()
    for key, sequence in decided.items():
        assert transfers.find(key) is None
        transfers.remember(key, sequence, content, reason)
    assert {key: transfers.find(key) for key in decided} == {
        key: Decided(sequence, content, reason) for key, sequence in decided.items()
    }


def test_names_and_contents_are_told_apart_whole() -> None:
    assert FINGERPRINTS.name("a", "b-c") != FINGERPRINTS.name("a-b", "c")
    assert FINGERPRINTS.content("a1", 1, "USD") != FINGERPRINTS.content("a", 11, "USD")
    assert FINGERPRINTS.name("a", "b") != OTHERS.name("a", "b")
    assert FINGERPRINTS.content("a", 1, "USD") != OTHERS.content("a", 1, "USD")
