"""Parts built from clients and servers: the embedded registry, its server and its client.

May import everything below the command line but `files` and `testing`.

The registry is a service called by a client, so it ranks above both; `registries/base/urls.py` only names it, as text.
A watch returns the list when it differs from that of the given cursor: by a stream (`follow`), or by a call that waits
(`watch`), so that every language with plain calls can use it. The registry keeps no state for a watcher between two
streams or calls. Cursors are compared for equality only and change with the process, which reveals a restart.
"""

from fastrpc.coordination.registry_server import RegistryServer
from fastrpc.coordination.registry_service import RegistryService

__all__ = ["RegistryServer", "RegistryService"]
