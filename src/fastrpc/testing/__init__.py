"""Help for the tests of programs that use fastrpc: no sockets, no ports, no waiting.

Knows finished clients and servers.
"""

from fastrpc.testing.clock import FakeClock
from fastrpc.testing.connected import connected, handling
from fastrpc.testing.serving import serving

__all__ = ["FakeClock", "connected", "handling", "serving"]
