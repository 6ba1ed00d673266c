"""Files between peers that speak rpcx: its service `_filetransfer`, and the transfers of both clients.

A call brings a token and an address; whoever shows the token there sends or gets the bytes of one file. Servers and
clients of Go are the other side of either half. `fastrpc.files.rpcx.sync` has the transfers of a `SyncClient`.
"""

from fastrpc.files.rpcx.client import download, upload
from fastrpc.files.rpcx.service import RpcxFiles

__all__ = ["RpcxFiles", "download", "upload"]
