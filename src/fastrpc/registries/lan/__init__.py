"""Servers announce themselves on the local network by signed multicast: no registry runs anywhere.

    keys       the key file, and how keys are added to it
    datagrams    signed datagrams as bytes
    members    which datagrams count, and for how long
    multicast  sockets on every interface
    node       the thread that receives, announces and answers
    backend    lookups and leases over it

Options: `key_file` (else the variable `FASTRPC_LAN_KEY_FILE`), `interface`.
"""

import os

from fastrpc.errors import ConfigError
from fastrpc.registries.base.backed import BackedRegistry
from fastrpc.registries.base.urls import RegistryURL
from fastrpc.registries.lan.backend import LanBackend
from fastrpc.registries.lan.keys import open_keys
from fastrpc.registries.lan.node import LanNode

__all__ = ["open_lan"]


def open_lan(url: RegistryURL) -> BackedRegistry:
    """Open `lan://?key_file=…`.

    Raises:
        ConfigError: the URL has a place, or there is no usable key file.
    """
    if url.place:
        raise ConfigError(
            f"{url}: the network is no place", hint="write lan:// for the registry, lan://arith for a target"
        )
    path = url.take("key_file", os.environ.get("FASTRPC_LAN_KEY_FILE") or None, os.path.expanduser)
    if path is None:
        raise ConfigError(
            f"{url} needs a key file",
            hint="add key_file=…, or set FASTRPC_LAN_KEY_FILE; `fastrpc lan key FILE` makes one",
        )
    interface = url.take("interface", None, str)
    return BackedRegistry(LanBackend(LanNode(open_keys(path), interface)), str(url), **url.take_shared())
