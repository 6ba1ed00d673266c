"""Servers announce themselves on the local network by signed multicast; there is no registry server.

    keys       the key file, and how keys are added to it
    datagrams  encodes, signs and checks datagrams
    members  the other programs: which datagrams are accepted, and for how long
    multicast  sockets on every interface
    node       the thread that receives, announces and answers
    backend  lookups and leases over the node

Options: `pass` or `key_file` (by default the variable `FASTRPC_LAN_KEY_FILE`), `interface`. With a pass every address
is `tls://`, and clients without certificates present the pass.
"""

import os

from fastrpc.errors import ConfigError
from fastrpc.registries.base.backed import BackedRegistry
from fastrpc.registries.base.urls import RegistryURL
from fastrpc.registries.lan.backend import LanBackend
from fastrpc.registries.lan.keys import open_keys
from fastrpc.registries.lan.node import LanNode
from fastrpc.tls.pass_file import open_pass, pass_client_tls

__all__ = ["open_lan"]


def open_lan(url: RegistryURL) -> BackedRegistry:
    """Open `lan://?pass=…` or `lan://?key_file=…`.

    Raises:
        ConfigError: the URL has a place, or no file can be used.
    """
    if url.place:
        raise ConfigError(
            f"{url}: lan:// takes no host, as the registry is the network itself",
            hint="write lan:// for the registry, lan://arith for a target",
        )
    pass_file = url.take("pass", None, _absolute)
    key_file = url.take("key_file", None, os.path.expanduser)
    if pass_file is not None and key_file is not None:
        raise ConfigError(f"{url} has a pass and a key_file", hint="leave key_file out: the pass has a key")
    interface = url.take("interface", None, str)
    if pass_file is not None:
        shared = url.take_shared(("tls",))
        backend = LanBackend(LanNode(open_pass(pass_file), interface), is_encrypted=True)
        return BackedRegistry(backend, str(url), **shared, tls=pass_client_tls(pass_file))
    shared = url.take_shared()
    backend = LanBackend(LanNode(open_keys(_key_file(url, key_file)), interface))
    return BackedRegistry(backend, str(url), **shared)


def _absolute(path: str) -> str:
    # An absolute path still names the same file after a `chdir`.
    return os.path.abspath(os.path.expanduser(path))


def _key_file(url: RegistryURL, given: str | None) -> str:
    path = given if given is not None else os.environ.get("FASTRPC_LAN_KEY_FILE") or None
    if path is None:
        raise ConfigError(
            f"{url} needs a key file or a pass",
            hint="add pass=…, which `fastrpc lan pass FILE` makes; for keys alone add key_file=…, or set "
            "FASTRPC_LAN_KEY_FILE",
        )
    return path
