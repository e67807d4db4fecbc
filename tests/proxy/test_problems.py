"""The table of problems: complete, consistent, and documented."""

from __future__ import annotations

import re

import pytest

from contracts.money import AmountProblem
from contracts.queries import Missing
from contracts.rejections import Rejection
from proxy.core.fields import FIELD_FAULTS
from proxy.core.forms import _AMOUNT_FAULTS
from proxy.core.problems import ALL_KINDS, BY_MISSING, BY_REJECTION, Problem, ProblemKind, document


def test_every_rejection_has_a_problem_of_its_own_name() -> None:
    assert {reason: BY_REJECTION[reason].code for reason in Rejection} == {
        reason: reason.name.lower() for reason in Rejection
    }


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        (Rejection.WRONG_PARTITION, 503),
        (Rejection.IDEMPOTENCY_CONFLICT, 422),
        (Rejection.ACCOUNT_EXISTS, 409),
        (Rejection.SAME_ACCOUNT, 422),
        (Rejection.FROM_ACCOUNT_NOT_FOUND, 404),
        (Rejection.TO_ACCOUNT_NOT_FOUND, 404),
        (Rejection.CURRENCY_MISMATCH, 422),
        (Rejection.INSUFFICIENT_FUNDS, 422),
        (Rejection.BALANCE_LIMIT_EXCEEDED, 422),
        (Rejection.HOLD_EXPIRED, 422),
        (Rejection.COORDINATION_TIMED_OUT, 422),
        (Rejection.CANCELLED, 422),
    ],
)
def test_a_rejection_has_its_promised_status(reason: Rejection, status: int) -> None:
    assert BY_REJECTION[reason].status == status


def test_everything_that_can_be_missing_has_a_problem() -> None:
    assert set(BY_MISSING) == set(Missing)


def test_every_amount_problem_has_a_code_of_a_field() -> None:
    assert set(_AMOUNT_FAULTS) == set(AmountProblem)
    assert {fault.code for fault in _AMOUNT_FAULTS.values()} <= set(FIELD_FAULTS)


def test_codes_are_unique_and_fit_an_address() -> None:
    codes = [kind.code for kind in ALL_KINDS]
    assert len(codes) == len(set(codes))
    assert all(re.fullmatch("[a-z_]+", code) for code in codes)
    assert set(BY_REJECTION.values()) | set(BY_MISSING.values()) <= set(ALL_KINDS)


@pytest.mark.parametrize("kind", ALL_KINDS, ids=lambda kind: kind.code)
def test_a_problem_document_has_the_members_of_rfc_9457(kind: ProblemKind) -> None:
    made = document(Problem(kind))
    assert made == {
        "type": f"/docs#{kind.code}",
        "title": kind.title,
        "status": kind.status,
        "detail": kind.detail,
        "code": kind.code,
    }
    assert kind.title
    assert kind.detail
    assert 400 <= kind.status < 600
