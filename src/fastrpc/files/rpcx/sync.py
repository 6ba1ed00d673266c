"""`download` and `upload` by rpcx with a `SyncClient`."""

import os

from fastrpc.client.blocking.client import SyncClient
from fastrpc.files.information import FileDigest
from fastrpc.files.refusals import check_client
from fastrpc.files.rpcx.service import SERVICE_NAME
from fastrpc.files.rpcx.transfer import Fetching, Sending, Transfer

__all__ = ["download", "upload"]


def download(
    client: SyncClient, name: str, path: str | os.PathLike[str], *, allow_plain: bool = False
) -> FileDigest:
    """Copy a file of rpcx's file service to `path`. See `fastrpc.files.rpcx.download`."""
    return _run(client, Fetching(name, os.fspath(path), allow_plain=allow_plain))


def upload(
    client: SyncClient, path: str | os.PathLike[str], name: str, *, allow_plain: bool = False
) -> FileDigest:
    """Copy the file at `path` to rpcx's file service. See `fastrpc.files.rpcx.upload`."""
    return _run(client, Sending(os.fspath(path), name, allow_plain=allow_plain))


def _run(client: SyncClient, transfer: Transfer) -> FileDigest:
    check_client(client, (SyncClient,), "fastrpc.files.rpcx takes a Client")
    try:
        request = transfer.prepare()
        view = client.with_options(codec="msgpack")
        reply = view.request(f"{SERVICE_NAME}.{transfer.method}", request)
        return transfer.run(reply.value, reply.endpoint.address)
    finally:
        transfer.close()
