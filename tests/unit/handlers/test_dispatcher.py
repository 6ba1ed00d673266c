"""The dispatcher knows engines by their own descriptions, for any protocol."""

from typing import Any

import pytest

from fastrpc._core.server.gate import Gate
from fastrpc.peers.push_client import PushClient
from tests.support.kept_connection import KeptConnection, gate_for
from tests.support.shop import Shop


class Numbers:
    """The settings of a peer."""

    client_id = b"\x01\x02"


class Foreign:
    """A connection of a protocol that the dispatcher has never seen."""

    transport = None
    peer_name = ("127.0.0.1", 5)
    peer = Numbers()
    is_closed = False
    pusher: Any = None

    def __init__(self, gate: Gate, peer_takes: str | None) -> None:
        self.peer_takes = peer_takes
        self.connection = KeptConnection(gate, "foreign")


@pytest.mark.parametrize("takes", ["calls", "pushes", None])
async def test_an_engine_states_the_capabilities_of_its_peer(takes: str | None) -> None:
    async with gate_for(Shop) as gate:
        engine = Foreign(gate, takes)
        peer = gate.dispatcher.describe_peer(engine)
        assert (peer.protocol, str(peer.address)) == ("foreign", "tcp://127.0.0.1:5")
        assert peer.id == ("0102" if takes == "calls" else None)
        assert peer._is_pushed == (takes == "pushes")
        if takes != "calls":
            assert isinstance(peer.client, PushClient) == (takes == "pushes")
            assert (engine.pusher is None) == (takes is None)


async def test_a_connection_without_a_protocol_has_a_peer_that_serves_nothing() -> None:
    class Detected:
        transport = None
        peer_name = ("127.0.0.1", 5)

    async with gate_for(Shop) as gate:
        peer = gate.dispatcher.describe_peer(Detected())
        assert (peer.protocol, peer.id, peer.client) == ("native", None, None)
