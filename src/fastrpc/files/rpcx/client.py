"""`download` and `upload` by rpcx with a `Client`."""

import os
from typing import Any

from fastrpc.client.client import Client
from fastrpc.files.information import FileDigest
from fastrpc.files.lane import finished, new_pool
from fastrpc.files.refusals import check_client
from fastrpc.files.rpcx.service import SERVICE_NAME
from fastrpc.files.rpcx.transfer import Fetching, Sending, Transfer

__all__ = ["download", "upload"]


async def download(
    client: Client, name: str, path: str | os.PathLike[str], *, allow_plain: bool = False
) -> FileDigest:
    """Copy the file `name` of rpcx's file service to `path`; return the size and the SHA-256 of the bytes received.

    `path` stays unchanged until the whole file has arrived. A Go server does not report the size of a file, so if it
    closes the connection early, the copy is incomplete without an error.

    Args:
        allow_plain: allow the transfer, which is in plain text, even if calls to the server are encrypted.

    Raises:
        CallError: the service refuses the name, or another transfer writes `path`.
        UnavailableError: there is no connection, or the connection was lost.
        OSError: the disk of this machine reports an error.
    """
    return await _run(client, Fetching(name, os.fspath(path), allow_plain=allow_plain))


async def upload(
    client: Client, path: str | os.PathLike[str], name: str, *, allow_plain: bool = False
) -> FileDigest:
    """Copy the file at `path` to rpcx's file service as `name`; return its size and SHA-256.

    It returns once the server has closed the connection. A fastrpc server has stored the file by then, a Go server has
    read it. After the last byte the server may be silent for ten minutes, as its disk may be busy; then the upload
    fails.

    Args:
        allow_plain: allow the transfer, which is in plain text, even if calls to the server are encrypted.

    Raises:
        CallError: the service refuses the name or the size.
        UnavailableError: there is no connection, the connection was lost, or the server did not store the file.
        OSError: the file cannot be read.
    """
    return await _run(client, Sending(os.fspath(path), name, allow_plain=allow_plain))


async def _run(client: Client, transfer: Transfer) -> FileDigest:
    check_client(client, (Client,), "fastrpc.files.rpcx.sync takes a SyncClient")
    pool = new_pool(1)
    try:
        request: dict[str, Any] = await finished(pool.submit(transfer.prepare))
        # Use MessagePack: the fields have other names in JSON.
        view = client.with_options(codec="msgpack")
        reply = await view.request(f"{SERVICE_NAME}.{transfer.method}", request)
        return await finished(pool.submit(transfer.run, reply.value, reply.endpoint.address))
    finally:
        # This has no effect on a finished transfer.
        transfer.cancel()
        closing = pool.submit(transfer.close)
        pool.shutdown(wait=False)
        await finished(closing)
