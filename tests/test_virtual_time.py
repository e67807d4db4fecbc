"""Which loop a test runs on is what its marks say, also those of its parameters."""

import asyncio

import pytest

from simulation.loop import VirtualLoop

MARKED = pytest.mark.virtual_time


@pytest.mark.parametrize("is_virtual", [pytest.param(True, marks=MARKED), False])
async def test_a_parameter_may_be_marked(is_virtual: bool) -> None:  # noqa: FBT001  # a parameter
    assert isinstance(asyncio.get_running_loop(), VirtualLoop) == is_virtual


@pytest.fixture(params=[pytest.param(True, marks=MARKED), False])
async def is_virtual(request: pytest.FixtureRequest) -> tuple[bool, asyncio.AbstractEventLoop]:
    return request.param, asyncio.get_running_loop()


async def test_a_fixtures_parameter_may_be_marked(
    is_virtual: tuple[bool, asyncio.AbstractEventLoop],
) -> None:
    wanted, loop = is_virtual
    assert loop is asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop) == wanted


@MARKED
async def test_a_test_may_be_marked() -> None:
    assert isinstance(asyncio.get_running_loop(), VirtualLoop)
