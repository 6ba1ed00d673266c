"""Files of a server for its clients: a ready service, and the transfers of both clients.

May import everything below the command line but `coordination` and `testing`: the service needs
only `rpc`, the transfers a client. `fastrpc.files.sync` has the transfers of a `SyncClient`.
"""

from fastrpc.files import sync as sync
from fastrpc.files.client import download, upload
from fastrpc.files.information import FileDigest, FileInfo
from fastrpc.files.service import FileService

__all__ = ["FileDigest", "FileInfo", "FileService", "download", "upload"]
