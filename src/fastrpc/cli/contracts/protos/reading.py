"""The origin of descriptors: a .proto file, or the reflection of a gRPC server."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastrpc.cli.calling.command import run_async
from fastrpc.cli.contracts.protos.compiling import compiled
from fastrpc.cli.contracts.protos.files import ProtoFiles
from fastrpc.cli.contracts.protos.module import written_module
from fastrpc.cli.contracts.text import WrittenContract
from fastrpc.errors import ConfigError
from fastrpc.gateway.dialing import Dialing
from fastrpc.gateway.grpc_servers.reflection import OWN_PREFIXES, ServerDescriptors, is_grpc
from fastrpc.server.builtin import BUILTIN_PREFIX

__all__ = ["has_descriptors", "read_proto_contract"]


def has_descriptors(source: str) -> bool:
    """Return whether a source is a .proto file or a server of gRPC."""
    return is_grpc(source) or source.endswith(".proto")


def read_proto_contract(
    source: str, timeout: float, dial: Dialing, folders: Sequence[Path] = (), *, is_sync: bool = False
) -> WrittenContract:
    """Return the contract of a .proto file, or of a server of gRPC.

    Args:
        folders: the folders in which imports of the file are found.
        is_sync: whether to write `def` methods.

    Raises:
        ConfigError: the file has a mistake, or a package is missing.
        DecodeError: the descriptors are malformed.
        FastRPCError: the server cannot be reached, or has no reflection.
    """
    if is_grpc(source):
        files, main = run_async(_told(dial.client(source), source, timeout))
        return written_module(ProtoFiles(files, main), source, is_sync=is_sync)
    files = compiled(Path(source), folders)
    return written_module(ProtoFiles(files, [files[-1].name]), files[-1].name, is_sync=is_sync)


async def _told(client: Any, address: str, timeout: float) -> tuple[list[Any], set[str]]:
    """Return the files of a server, and the names of the files with its services."""
    async with client:
        found = ServerDescriptors(client.with_options(timeout=timeout, idempotent=True), address)
        every = await found.services()
        names = [name for name in every if not name.startswith((BUILTIN_PREFIX, *OWN_PREFIXES))]
        if not names:
            raise ConfigError(
                f"{address} has no service but gRPC's own",
                hint="the server may describe to each caller only the services that this caller may call",
            )
        files = await found.files(names)
        main = {(await found.service(name)).file.name for name in names}
    return files, main
