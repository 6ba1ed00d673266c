"""What finished clients and servers add up to: the embedded registry, its server and its client.

May import everything below the command line but `gateway`, `brokers` and `testing`.

The registry is a service that is asked by a client, so it lies above both; `registries/base/urls.py` only names it,
as text. It holds no list for anybody: a watch is a call that waits until the list is not the one whose cursor came
along, so every language with plain calls can use it. Cursors are compared for equality only and change with the
process, so a restart is seen.
"""

from fastrpc.coordination.registry_server import RegistryServer
from fastrpc.coordination.registry_service import RegistryService

__all__ = ["RegistryServer", "RegistryService"]
