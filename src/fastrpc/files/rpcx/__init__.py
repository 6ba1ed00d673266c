"""Transfer files by rpcx: its service `_filetransfer`, and functions for both clients.

A call returns a token and an address. A connection to that address sends the token, then sends or receives the bytes of
one file. The other side may be a client or server of rpcx in Go. `fastrpc.files.rpcx.sync` has the transfers for a
`SyncClient`.
"""

import importlib
from typing import TYPE_CHECKING, Any

from fastrpc.files.rpcx.service import RpcxFiles

__all__ = ["RpcxFiles", "download", "upload"]

#: Names that are imported on first access, so that servers do not import a client.
_TRANSFERS = frozenset({"download", "upload"})

if TYPE_CHECKING:
    from fastrpc.files.rpcx.client import download, upload
else:  # Type checkers would accept any attribute name.

    def __getattr__(name: str) -> Any:
        """Import a transfer on first access."""
        if name not in _TRANSFERS:
            raise AttributeError(f"module 'fastrpc.files.rpcx' has no attribute {name!r}")
        globals()[name] = value = getattr(importlib.import_module("fastrpc.files.rpcx.client"), name)
        return value


def __dir__() -> list[str]:
    return sorted(globals().keys() | _TRANSFERS)
