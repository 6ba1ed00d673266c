"""Help for the tests of programs that use fastrpc: no sockets, no ports, no waiting.

pytest finds the fixtures `fastrpc_connected` and `fastrpc_serving` by itself; their types are `ConnectedFixture` and
`ServingFixture`. Depends on clients and servers.
"""

from fastrpc.testing.clock import FakeClock
from fastrpc.testing.connected import connected, handling
from fastrpc.testing.faults import FaultyTransport
from fastrpc.testing.fixture_types import ConnectedFixture, ServingFixture
from fastrpc.testing.serving import serving

__all__ = [
    "ConnectedFixture",
    "FakeClock",
    "FaultyTransport",
    "ServingFixture",
    "connected",
    "handling",
    "serving",
]
