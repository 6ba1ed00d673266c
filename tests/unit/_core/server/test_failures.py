"""The failures that answer errors of handlers, even if the methods of an error raise."""

from typing import Any

import pytest

import fastrpc
from fastrpc import CallError, Status
from tests.support.kept_connection import KeptConnection, gate_for


class MuteError(Exception):
    """Raises where its text is asked for."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


@fastrpc.service("odd")
class Odd:
    @fastrpc.method
    async def refuse(self, details: int) -> None:
        raise CallError(Status.NOT_FOUND, "no such thing", details="d" * details)

    @fastrpc.method
    async def fail(self) -> None:
        raise MuteError


async def failure_of(method: str, *arguments: Any, max_message: int = 1 << 20) -> Any:
    async with gate_for(Odd()) as gate:
        connection = KeptConnection(gate)
        connection.max_message = max_message
        connection.call(method, *arguments)
        [failure] = connection.failures
        return failure


async def test_an_error_keeps_status_text_and_details() -> None:
    failure = await failure_of("odd.refuse", 3)
    assert (failure.status, failure.text) == (Status.NOT_FOUND, "no such thing")
    assert b"ddd" in failure.details


async def test_details_over_the_limit_of_the_peer_are_left_out() -> None:
    failure = await failure_of("odd.refuse", 100, max_message=50)
    assert (failure.status, failure.text, failure.details) == (Status.NOT_FOUND, "no such thing", b"")


async def test_an_error_without_a_text_is_answered_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    failure = await failure_of("odd.fail")
    assert failure.status == Status.INTERNAL
    assert "odd.fail failed" in failure.text
