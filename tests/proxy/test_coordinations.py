"""The client's choice of a coordination, and the wallet's own."""

from __future__ import annotations

import pytest

from contracts.coordination import Coordination
from proxy.config import read_proxy_settings
from proxy.core.coordinations import choose_coordination
from proxy.core.fields import Fault
from runtime.process import Unfit


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["choreography"], Coordination.CHOREOGRAPHY),
        (["orchestration"], Coordination.ORCHESTRATION),
        (["tcc"], Coordination.TCC),
        (["2pc"], Coordination.TWO_PHASE_COMMIT),
        (["TCC"], Coordination.TCC),
        (["tcc", "tcc"], Coordination.TCC),
        (["tcc, Tcc"], Coordination.TCC),
    ],
)
def test_a_choice_that_is_clear_is_taken(values: list[str], expected: Coordination) -> None:
    assert choose_coordination(values) is expected


@pytest.mark.parametrize(
    "values",
    [["none"], [""], ["saga"], ["2pc;q=1"], ["tcc", "2pc"], ["tcc,2pc"], ["tcc,"], ["t\u0441c"]],
)
def test_any_other_is_refused_with_those_there_are(values: list[str]) -> None:
    refused = choose_coordination(values)
    assert isinstance(refused, Fault)
    assert refused.of("Wallet-Coordination") == {
        "field": "Wallet-Coordination",
        "code": "unknown_coordination",
        "detail": "must be one of choreography, orchestration, tcc, 2pc, and only one",
    }


def settings(**variables: str) -> Coordination:
    return read_proxy_settings({"EWALLET_PARTITIONS": "1"} | variables).coordination


def test_the_wallets_own_choice_is_a_setting() -> None:
    assert settings() is Coordination.CHOREOGRAPHY
    assert settings(EWALLET_COORDINATION="") is Coordination.CHOREOGRAPHY
    assert settings(EWALLET_COORDINATION="2pc") is Coordination.TWO_PHASE_COMMIT


@pytest.mark.parametrize("name", ["none", "3pc", "2PC "])
def test_a_wrong_setting_is_said_in_a_sentence(name: str) -> None:
    with pytest.raises(Unfit) as unfit:
        settings(EWALLET_COORDINATION=name)
    assert str(unfit.value) == (
        f"EWALLET_COORDINATION must be one of choreography, orchestration, tcc, 2pc, not {name!r}."
    )
