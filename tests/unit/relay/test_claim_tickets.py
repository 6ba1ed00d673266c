"""The tickets of a claim whose stream is not read."""

import asyncio

import pytest

from fastrpc.relay import claims
from fastrpc.relay.claims import SPARES, Claims
from fastrpc.relay.refusals import RefusalReason


class Joining:
    """Joins nothing."""

    def join(self, name: str, caller: object, server: asyncio.Transport, key: bytes) -> None:
        raise AssertionError("there is no pair")

    def refuse(self, reason: RefusalReason, transport: asyncio.Transport) -> None:
        raise AssertionError("there is no connection")


class Caller:
    """Waits."""

    peer_name = ("127.0.0.1", 1)
    network = b"\x7f\x00\x00\x01"
    first = b""

    def leave(self) -> asyncio.Transport:
        raise AssertionError("it waits")

    def refuse(self, reason: RefusalReason) -> None: ...


async def test_old_tickets_are_dropped_while_the_stream_of_a_claim_is_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(claims, "TICKET_SECONDS", 0.0)
    claim = Claims(Joining()).enter("edge-7", "edge", "a", takes_over=True)
    for number in range(1, 41):
        claim.add_caller(Caller())
        assert len(claim._unsent) == len(claim._due) <= SPARES + number
    assert len(claim.tickets()) == SPARES + 40
