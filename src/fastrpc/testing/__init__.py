"""Help for the tests of programs that use fastrpc: no sockets, no ports, no waiting.

pytest finds the fixtures `fastrpc_connected`, `fastrpc_serving`, `fastrpc_store` and `fastrpc_broker` by itself; the
types of the first two are `ConnectedFixture` and `ServingFixture`. Depends on clients, servers, stores and brokers.
"""

from typing import TYPE_CHECKING

from fastrpc.first_use import names_on_first_use
from fastrpc.testing.clock import FakeClock
from fastrpc.testing.connected import connected, handling
from fastrpc.testing.faults import FaultyTransport
from fastrpc.testing.fixture_types import ConnectedFixture, ServingFixture
from fastrpc.testing.serving import serving

__all__ = [
    "ConnectedFixture",
    "FakeClock",
    "FaultyTransport",
    "KeptMessage",
    "ServingFixture",
    "SteeredBroker",
    "SteeredStore",
    "broker",
    "connected",
    "handling",
    "serving",
    "store",
]

if TYPE_CHECKING:
    from fastrpc.testing.brokers import KeptMessage, SteeredBroker, broker
    from fastrpc.testing.stores import SteeredStore, store
else:  # Type checkers would accept any attribute name. Most tests need neither store nor broker.
    __getattr__ = names_on_first_use(
        __name__, {"brokers": "KeptMessage SteeredBroker broker", "stores": "SteeredStore store"}
    )
