"""Files of a server for its clients: a ready service, and the transfers of both clients.

May import everything below the command line but `coordination` and `testing`: the service needs
only `rpc`, the transfers a client. `fastrpc.files.sync` has the transfers of a `SyncClient`.
"""

import importlib
from typing import TYPE_CHECKING, Any

from fastrpc.files.client import download, upload
from fastrpc.files.information import FileDigest, FileInfo
from fastrpc.files.service import FileService

__all__ = ["FileDigest", "FileInfo", "FileService", "download", "upload"]

if TYPE_CHECKING:
    from fastrpc.files import sync as sync
else:  # Type checkers would accept any attribute name.

    def __getattr__(name: str) -> Any:
        """Import `fastrpc.files.sync` on first access: a server needs no transfers of a `SyncClient`."""
        if name != "sync":
            raise AttributeError(f"module 'fastrpc.files' has no attribute {name!r}")
        return importlib.import_module("fastrpc.files.sync")


def __dir__() -> list[str]:
    return sorted(globals().keys() | {"sync"})
