"""A server for rpcx's service `_filetransfer`, with the files of a folder."""

import asyncio
import contextlib
import functools
import os
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self, cast

from fastrpc._core.calls.call import current_call
from fastrpc._core.server.gate import Gate
from fastrpc._core.server.python_wire import ProvenCaller
from fastrpc._core.server.served_call import ServerCall
from fastrpc.assigned_numbers import CODECS, VALUE_CODECS
from fastrpc.endpoint import Address
from fastrpc.errors import CallError, ConfigError
from fastrpc.files.hashing import Digests
from fastrpc.files.information import FileDigest, version_of
from fastrpc.files.lane import Lane, finished, new_pool
from fastrpc.files.names import is_partial, quoted
from fastrpc.files.partial_file import PartialFile
from fastrpc.files.read_ahead import ReadAhead
from fastrpc.files.reader import PIECE_BYTES, FileReader
from fastrpc.files.refusals import refused
from fastrpc.files.root import Root, check_regular
from fastrpc.files.rpcx.connection import Accepted, TransferWire
from fastrpc.files.rpcx.tickets import Ticket, Tickets
from fastrpc.files.service import DIGEST_SECONDS, pieces_of_call, write_all
from fastrpc.files.write_behind import WriteBehind
from fastrpc.handlers.auth.own_credentials import peer_of
from fastrpc.rpc.marking import method
from fastrpc.rpc.service import service
from fastrpc.status import Status
from fastrpc.transports.base import Listener, ListenOptions, transport_for

__all__ = ["SERVICE_NAME", "RpcxFiles"]

SERVICE_NAME = "_filetransfer"

#: MOST_WAITING: the most unused tokens. A token is valid for TICKET_SECONDS.
MOST_WAITING = 1_024
TICKET_SECONDS = 30.0

#: Seconds within which interrupted transfers can close their files.
_END_SECONDS = 5.0

#: The default of the largest file that callers may write.
MOST_BYTES = 1024 * 1024 * 1024

#: The keys of a reply, as in Go's JSON tags. Go clients ignore the last one.
_KEYS = ("Token", "Addr", "FileSize")
_JSON_KEYS = ("token", "addr", "file_size")
_JSON = frozenset({CODECS["json"], *(number for number, name in VALUE_CODECS.items() if name == "json")})

_SHA256 = re.compile(r"[0-9a-f]{64}")
_EVERY_ADDRESS = {"", "0.0.0.0", "::", "0"}  # noqa: S104 (it is looked for, not listened at)


@service(SERVICE_NAME)
class RpcxFiles:
    """The files below a folder for callers that speak rpcx: `SendFile` and `DownloadFile` of Go's XClient.

    A call returns a token and an address. The caller connects to the address, sends the token, and sends or receives
    the bytes of the file. A token is valid once, for 30 s. The transfer is another call of the same method by the same
    caller, so that policies, limits, drain and metrics apply to it. Folders are not created, and nothing is removed.

    Args:
        root: the folder, which callers never leave.
        writable: whether callers may write files.
        address: the address at which transfers are accepted, `tcp://host:port` with a host that callers can reach. Port
            0 chooses a free port; several worker processes need it, as only the process that issued a token knows it.
        advertise: the `host:port` that callers get instead of `address`.
        most_bytes: the size of the largest file that callers may write.
        allow_plain: whether callers with TLS are served, although transfers are in plain text.

    Raises:
        ConfigError: `root` is not a folder, or callers cannot dial `address` by TCP.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        writable: bool = False,
        address: str = "tcp://127.0.0.1:0",
        advertise: str | None = None,
        most_bytes: int = MOST_BYTES,
        allow_plain: bool = False,
    ) -> None:
        self._root = Root(root)
        self._is_writable = writable
        self._address = _checked_address(address, advertise)
        self._advertise = None if advertise is None else _checked_place(advertise)
        if most_bytes < 1:
            raise ConfigError(f"most_bytes is {most_bytes}, it must be bytes from 1")
        self._most_bytes = most_bytes
        self._allow_plain = allow_plain
        self._digests = Digests()
        self._accepted = Accepted(Tickets(MOST_WAITING, TICKET_SECONDS))
        self._listener: Listener | None = None
        self._gate: Gate | None = None
        self._pool: ThreadPoolExecutor | None = None
        # A future for each transfer, which is done when the transfer has closed its file.
        self._under_way: set[asyncio.Future[None]] = set()

    async def __aenter__(self) -> Self:
        # Create the pool here: threads do not survive the fork of worker processes.
        self._pool = new_pool()
        transport = transport_for(self._address)
        self._listener = await transport.listen(self._address, self._stream, ListenOptions())
        return self

    async def __aexit__(self, *error: object) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()
            await listener.wait_closed()
        self._accepted.close()
        if self._under_way:
            # Interrupted transfers close their files in threads of the pool.
            await asyncio.wait(self._under_way, timeout=_END_SECONDS)
        self._gate = None
        if self._pool is not None:
            self._pool.shutdown(wait=False)

    def _stream(self) -> Any:
        if self._gate is None:
            # No token was issued yet, so refuse every connection.
            return _Refused()
        return self._accepted.stream(self._gate)

    @method("TransferFile", timeout=DIGEST_SECONDS)
    async def transfer_file(self, args: dict[str, Any]) -> dict[str, Any]:
        """Return a token and an address for writing a file with the given name and size."""
        transfer = self._transfer()
        if transfer is not None:
            assert transfer.ticket is not None
            with self._noted():
                await self._store(transfer, transfer.ticket)
            return {}
        path, size = _text(args, "FileName", "file_name"), _number(args, "FileSize", "file_size")
        sha256 = _text(_meta(args), "sha256")
        self._check_write(path, size, sha256)
        await self._lane().run(self._check_place, path)
        return self._ticket(path, size, sha256=sha256)

    @method("DownloadFile", timeout=DIGEST_SECONDS)
    async def download_file(self, args: dict[str, Any]) -> dict[str, Any]:
        """Return a token and an address for reading the file with the given name, and its size."""
        transfer = self._transfer()
        if transfer is not None:
            assert transfer.ticket is not None
            with self._noted():
                await self._send(transfer, transfer.ticket)
            return {}
        path = _text(args, "FileName", "file_name")
        status = await self._lane().run(self._status_of, path)
        return self._ticket(path, status.st_size, version=version_of(status))

    # Tickets

    def _ticket(self, path: str, size: int, *, sha256: str = "", version: str = "") -> dict[str, Any]:
        call = cast(ServerCall, current_call())
        peer = call.peer
        if peer is not None and peer.address.scheme == "tls" and not self._allow_plain:
            text = "transfers are not encrypted, and this connection is (RpcxFiles.allow_plain)"
            raise CallError(Status.FAILED_PRECONDITION, text)
        assert self._listener is not None
        self._gate = gate = call.connection.gate
        caller = ProvenCaller(call)
        if peer is not None and caller.has_own_credential:
            peer = peer_of(call, call.metadata.get("authorization", ""))
        name = None if caller.identity is None else caller.identity.name
        holder = f"peer {gate.dispatcher.peer_name(call.connection)!r}" if name is None else f"name {name}"
        ticket = Ticket(call.method, caller, path, size, sha256, version, peer, holder)
        token = self._accepted.tickets.give(ticket)
        place = self._advertise or str(self._listener.address).partition("://")[2]
        names = _JSON_KEYS if call.codec_id in _JSON else _KEYS
        return dict(zip(names, (token, place, size), strict=True))

    def _check_write(self, path: str, size: int, sha256: str) -> None:
        if not self._is_writable:
            raise CallError(Status.PERMISSION_DENIED, "these files can only be read")
        if is_partial(path):
            raise CallError(Status.INVALID_ARGUMENT, f"{quoted(path)} is the name of an unfinished file")
        if size < 0:
            raise CallError(Status.INVALID_ARGUMENT, f"FileSize is {size}, it must be bytes from 0")
        if size > self._most_bytes:
            text = f"{quoted(path)} has {size} bytes, the limit is {self._most_bytes} (RpcxFiles.most_bytes)"
            raise CallError(Status.RESOURCE_EXHAUSTED, text, processed="no", retryable=False)
        if sha256 and not _SHA256.fullmatch(sha256):
            text = f"sha256 is {quoted(sha256)}, it must be 64 hexadecimal digits in lower case"
            raise CallError(Status.INVALID_ARGUMENT, text)

    def _check_place(self, path: str) -> None:
        with self._root.place(path) as place:
            if place.status is not None:
                check_regular(path, place.status)

    def _status_of(self, path: str) -> os.stat_result:
        descriptor = self._root.open_file(path)
        try:
            return os.fstat(descriptor)
        finally:
            os.close(descriptor)

    # Transfers

    def _transfer(self) -> TransferWire | None:
        """Return the transfer if the current call is a transfer; None if the call requests a token."""
        return self._accepted.transfer_of(cast(ServerCall, current_call()).connection)

    @contextlib.contextmanager
    def _noted(self) -> Iterator[None]:
        """Register a transfer until it has closed its file."""
        ended = asyncio.get_running_loop().create_future()
        self._under_way.add(ended)
        try:
            yield
        finally:
            self._under_way.discard(ended)
            if not ended.done():
                ended.set_result(None)

    async def _store(self, transfer: TransferWire, ticket: Ticket) -> None:
        """Write the received bytes, and give the file its name once it is complete."""
        path, lane = ticket.path, self._lane()
        partial = PartialFile(functools.partial(self._root.place, path), path, self._digests)
        job = functools.partial(refused, path)
        is_claimed = is_whole = False
        try:
            await lane.run(job(partial.open))
            is_claimed = True
            await lane.run(job(partial.start_at), 0)
            written = WriteBehind(job(partial.write), lane.start, finished)
            await write_all(transfer.receive(), written, ticket.size)
            found = partial.digest
            if ticket.sha256 and found != FileDigest(ticket.size, ticket.sha256):
                text = f"the SHA-256 of the bytes received for {quoted(path)} is {found.sha256}, not {ticket.sha256}"
                raise CallError(Status.DATA_LOSS, text)
            await lane.run(job(partial.finish))
            is_whole = True
        finally:
            # An incomplete file is dropped, as rpcx cannot resume a transfer. Closing is a single job, as this call may
            # be cancelled while it waits.
            await lane.run(partial.close, keeps=is_whole or not is_claimed)

    async def _send(self, transfer: TransferWire, ticket: Ticket) -> None:
        """Send a file, which must not have changed since its size was sent to the caller."""
        lane = self._lane()
        reader = FileReader(functools.partial(self._root.open_file, ticket.path), ticket.path)
        pieces = pieces_of_call()
        pieces.begin(PIECE_BYTES)
        try:
            await lane.run(reader.open)
            reader.start_at(0, ticket.version)
            ahead = ReadAhead(refused(ticket.path, reader.read), lane.start, pieces)
            while await ahead.has_more():
                await transfer.send_piece(ahead.pop())
        finally:
            pieces.hold(0)
            await lane.run(reader.close)

    def _lane(self) -> Lane:
        if self._pool is None:
            text = "this service was added to a server that runs: give it to the Server when it is made"
            raise CallError(Status.FAILED_PRECONDITION, text)
        return Lane(self._pool)


class _Refused(asyncio.Protocol):
    """Closes a connection that arrives before any token was issued."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).abort()


def _checked_address(text: str, advertise: str | None) -> Address:
    address = Address.parse(text)
    if address.scheme != "tcp":
        raise ConfigError(f"address is {text!r}, rpcx transfers files only by tcp://host:port")
    if address.host in _EVERY_ADDRESS and advertise is None:
        raise ConfigError(
            f"callers cannot dial {text!r}",
            hint="use a host that callers can reach, or give advertise='host:port'",
        )
    return address


def _checked_place(text: str) -> str:
    address = Address.parse(f"tcp://{text}")
    if not address.host or not address.port:
        raise ConfigError(f"advertise is {text!r}, it must be 'host:port'")
    return text


# Names of fields in Go's MessagePack, and in its JSON


def _text(args: Mapping[str, Any], *names: str) -> str:
    value = next((args[name] for name in names if name in args), "")
    if not isinstance(value, str):
        raise CallError(Status.INVALID_ARGUMENT, f"{names[0]} is not text")
    return value


def _number(args: Mapping[str, Any], *names: str) -> int:
    value = next((args[name] for name in names if name in args), 0)
    if not isinstance(value, int) or isinstance(value, bool):
        raise CallError(Status.INVALID_ARGUMENT, f"{names[0]} is not a whole number")
    return value


def _meta(args: Mapping[str, Any]) -> Mapping[str, Any]:
    value = args.get("Meta", args.get("meta"))
    return value if isinstance(value, dict) else {}
