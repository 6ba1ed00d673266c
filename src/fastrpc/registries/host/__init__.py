"""Servers of this user on this host: a record file next to each socket, in a folder that only this user can open.

    folder   the folder: its path, owner and rights; files opened safely
    records  record files, each locked while its server lives
    node     the records of this process, and all others, which are read every half second
    backend  leases over the node

`FASTRPC_HOST_FOLDER` replaces the path of the folder.
"""

from fastrpc.errors import ConfigError
from fastrpc.registries.base.backed import BackedRegistry
from fastrpc.registries.base.policy import AddressPolicy
from fastrpc.registries.base.urls import RegistryURL
from fastrpc.registries.host.backend import HostBackend
from fastrpc.registries.host.folder import folder_path
from fastrpc.registries.host.node import HostNode

__all__ = ["host_registry", "open_host"]


def open_host(url: RegistryURL) -> BackedRegistry:
    """Open `host://`.

    Raises:
        ConfigError: the URL has a place or an option.
    """
    if url.place:
        raise ConfigError(
            f"{url}: host:// takes no place", hint="write host:// for the registry, host://arith for a target"
        )
    url.refuse_unread()
    return host_registry()


def host_registry() -> BackedRegistry:
    """Return the registry of this host.

    Raises:
        ConfigError: `FASTRPC_HOST_FOLDER` is not an absolute path.
    """
    # Clients dial only the sockets of the folder: the node lists no other address.
    return BackedRegistry(
        HostBackend(HostNode(folder_path())), "host://", policy=AddressPolicy(schemes=["unix"])
    )
