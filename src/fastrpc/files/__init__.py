"""Transfer files between clients and servers: a ready-made service, and functions for both clients.

This package may import everything below the command line except `coordination` and `testing`. The service needs only
`rpc`; the transfers need a client. `fastrpc.files.sync` has the transfers for a `SyncClient`.
"""

import importlib
from typing import TYPE_CHECKING, Any

from fastrpc.files.information import FileDigest, FileInfo
from fastrpc.files.service import FileService

__all__ = ["FileDigest", "FileInfo", "FileService", "download", "upload"]

#: Names that are imported on first access, so that servers do not import a client.
_MODULE_OF = {"download": "client", "upload": "client", "sync": "sync"}

if TYPE_CHECKING:
    from fastrpc.files import sync as sync
    from fastrpc.files.client import download, upload
else:  # Type checkers would accept any attribute name.

    def __getattr__(name: str) -> Any:
        """Import a transfer, or the module `sync`, on first access."""
        if name not in _MODULE_OF:
            raise AttributeError(f"module 'fastrpc.files' has no attribute {name!r}")
        module = importlib.import_module(f"fastrpc.files.{_MODULE_OF[name]}")
        if name == _MODULE_OF[name]:
            return module
        globals()[name] = getattr(module, name)  # From now on it is a plain attribute.
        return globals()[name]


def __dir__() -> list[str]:
    return sorted(globals().keys() | _MODULE_OF.keys())
