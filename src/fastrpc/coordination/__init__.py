"""What finished clients and servers add up to: the embedded registry, its server and its client.

May import everything below the command line but `gateway`, `brokers` and `testing`.
"""

from fastrpc.coordination.registry_server import RegistryServer
from fastrpc.coordination.registry_service import RegistryService

__all__ = ["RegistryServer", "RegistryService"]
