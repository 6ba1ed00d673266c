"""The metrics of a client have the protocol of its connections, by its settings or by the endpoint's record."""

from typing import Literal

import pytest

import fastrpc
from fastrpc import ClientConfig, Endpoint, ServerConfig
from fastrpc._core.base.histogram import default_registry
from tests.support import toy_client
from tests.support.either_client import CLIENTS, connected
from tests.support.scrapes import scraped
from tests.support.served import served

pytestmark = pytest.mark.one_loop

assert toy_client.ToyCaller is not None
WIRES = ("native", "rpcx", "phobos", "toy")


@fastrpc.service("labelled")
class Labelled:
    @fastrpc.method
    async def double(self, number: int) -> int:
        return 2 * number


def counted(wire: str) -> dict[str, float]:
    """Return the connections and calls of clients by that protocol, and the calls that servers count."""
    found: dict[str, float] = {}
    sides: tuple[Literal["client", "server"], ...] = ("client", "server")
    for side in sides:
        snapshot = default_registry.counters("labelled.double", side, wire).snapshot()
        found[side] = float(snapshot["calls"].get("OK", 0))
    found["connections"] = scraped("fastrpc_client_connections", transport="tcp", protocol=wire) or 0.0
    return found


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize("is_in_record", [False, True])
@pytest.mark.parametrize("wire", WIRES)
async def test_a_client_counts_by_the_protocol_of_its_connections(
    kind: str, is_in_record: bool, wire: str
) -> None:
    before = {each: counted(each) for each in WIRES}
    async with served(Labelled(), scheme="tcp", config=ServerConfig(protocols=(wire,))) as address:
        target = Endpoint(address, protocols=(wire,)) if is_in_record else address
        config = ClientConfig(codec="json", wire_protocol=None if is_in_record else wire)
        async with connected(kind, target, config=config) as client:  # type: ignore[arg-type]
            assert await client.call(Labelled.double, 4) == 8
            assert await client.call(Labelled.double, 5) == 10
            assert await client.call_many("labelled.double", [(6,), (7,)]) == [12, 14]
            after = {each: counted(each) for each in WIRES}
    added = {
        each: {name: after[each][name] - count for name, count in before[each].items()} for each in WIRES
    }
    nothing = {"client": 0.0, "server": 0.0, "connections": 0.0}
    assert added == dict.fromkeys(WIRES, nothing) | {wire: {"client": 4.0, "server": 4.0, "connections": 1.0}}
