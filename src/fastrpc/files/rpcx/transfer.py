"""Send or receive one file by rpcx over a separate connection. The code blocks, and both clients use it."""

import contextlib
import errno
import fcntl
import functools
import os
import select
import socket
import sys
import termios
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from fastrpc.endpoint import Address
from fastrpc.errors import CallError, ConfigError, UnavailableError
from fastrpc.files.hashing import Digests
from fastrpc.files.information import FileDigest
from fastrpc.files.names import quoted
from fastrpc.files.partial_file import PartialFile
from fastrpc.files.reader import PIECE_BYTES, FileReader
from fastrpc.files.refusals import told_of_path
from fastrpc.files.rpcx.tickets import TOKEN_BYTES
from fastrpc.files.transfer import local_place, open_local
from fastrpc.status import Status
from fastrpc.transports.tcp import watch_peer

__all__ = ["Fetching", "Sending", "Transfer"]

#: Timeout of the connect, in seconds; also the seconds without a byte after which a transfer fails, as long as the
#: server does not have the whole file.
SILENCE_SECONDS = 20.0

#: Seconds within which a server has to store a completely received file: a busy disk may take minutes. If the server
#: hangs, the upload fails after this time.
STORE_SECONDS = 600.0

#: The longest address that is accepted from a server.
_MOST_BYTES = 4_096


class Transfer(Protocol):
    """One transfer. Its methods block and are called one at a time; any thread may call `cancel` at any time."""

    #: The method of the service that returns the token.
    method: str

    def prepare(self) -> dict[str, Any]:
        """Open the local file, and return the request for the transfer."""

    def run(self, answer: Any, server: Address) -> FileDigest:
        """Make the transfer with the token in an answer of the server; return the digest of the copy."""

    def cancel(self) -> None:
        """Make `run` fail now."""

    def close(self) -> None:
        """Close the file."""


class _Connected:
    """The common part of transfers: the connection."""

    def __init__(self, path: str, *, allow_plain: bool) -> None:
        self.path = path
        self._allow_plain = allow_plain
        self._socket: socket.socket | None = None
        self._is_cancelled = False

    def connect(self, answer: Any, server: Address) -> socket.socket:
        """Connect to the address of an answer, and send the token of the answer.

        Raises:
            CallError: the answer is not one of rpcx's file service.
            ConfigError: calls to the server are encrypted, but this connection would not be.
            UnavailableError: the address cannot be reached.
        """
        if server.scheme == "tls" and not self._allow_plain:
            raise ConfigError(
                f"calls to {server} are encrypted, and rpcx's transfers of files are not",
                hint="give allow_plain=True if they may travel in the clear",
            )
        token, place = _told(answer, server)
        try:
            connected = self._dial(place)
            connected.sendall(token)
        except (OSError, UnicodeError) as error:
            raise _broken(f"{place} of {server}", error) from None
        return connected

    def _dial(self, place: Address) -> socket.socket:
        """Connect to the first address of a host that accepts. `cancel` ends this."""
        found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
        failure: OSError | None = None
        for family, kind, number, _, address in found:
            try:
                self._socket = connected = socket.socket(family, kind, number)
                connected.settimeout(0)
                code = connected.connect_ex(address)
                # From here on `cancel` can end the connect.
                connected.settimeout(SILENCE_SECONDS)
                if self._is_cancelled:
                    raise OSError(errno.ECANCELED, os.strerror(errno.ECANCELED))
                _check_connected(connected, code)
                return connected
            except OSError as error:
                self.disconnect()
                failure = error
                if self._is_cancelled:
                    break
        raise failure or OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))

    def cancel(self) -> None:
        self._is_cancelled = True
        connected = self._socket
        if connected is not None:
            # The connection may have ended already.
            with contextlib.suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)

    def disconnect(self) -> None:
        if self._socket is not None:
            self._socket.close()


class Fetching(_Connected):
    """Copies a file of a server to a local path."""

    method = "DownloadFile"

    def __init__(self, name: str, path: str, *, allow_plain: bool) -> None:
        super().__init__(path, allow_plain=allow_plain)
        self._name = name
        self._partial = PartialFile(functools.partial(local_place, path), path, Digests())
        self._is_claimed = self._is_whole = False

    def prepare(self) -> dict[str, Any]:
        told_of_path(self.path, self._partial.open)()
        self._is_claimed = True
        self._partial.start_at(0)
        return {"FileName": self._name, "Meta": {}}

    def run(self, answer: Any, server: Address) -> FileDigest:
        connected = self.connect(answer, server)
        write = told_of_path(self.path, self._partial.write)
        place = memoryview(bytearray(PIECE_BYTES))
        # Go servers do not report the size.
        told = answer.get("FileSize")
        while size := self._receive(connected, place):
            if isinstance(told, int) and self._partial.position + size > told:
                text = f"more than {told} bytes of {quoted(self._name)} arrived, it has no more"
                raise CallError(Status.DATA_LOSS, text)
            write([place[:size]])
        if self._is_cancelled:
            raise UnavailableError("the transfer was cancelled")
        if isinstance(told, int) and told != self._partial.position:
            text = f"{self._partial.position} bytes of {quoted(self._name)} arrived, it has {told}"
            raise CallError(Status.DATA_LOSS, text)
        told_of_path(self.path, self._partial.finish)()
        self._is_whole = True
        return self._partial.digest

    def _receive(self, connected: socket.socket, place: memoryview) -> int:
        try:
            return connected.recv_into(place)
        except OSError as error:
            raise _broken(f"the transfer of {quoted(self._name)}", error) from None

    def close(self) -> None:
        self.disconnect()
        # Drop an incomplete file, as rpcx cannot resume a transfer.
        self._partial.close(keeps=self._is_whole or not self._is_claimed)


class Sending(_Connected):
    """Copies a local file to a server."""

    method = "TransferFile"

    def __init__(self, path: str, name: str, *, allow_plain: bool) -> None:
        super().__init__(path, allow_plain=allow_plain)
        self._name = name
        self._reader = FileReader(functools.partial(open_local, path), path)

    def prepare(self) -> dict[str, Any]:
        told_of_path(self.path, self._reader.open)()
        while told_of_path(self.path, self._reader.hash_on)(self._reader.size):
            pass
        self._reader.start_at(0)
        # A fastrpc server stores the file only if it has this digest. Go servers ignore the digest.
        meta = {"sha256": self._reader.digest.sha256}
        return {"FileName": self._name, "FileSize": self._reader.size, "Meta": meta}

    def run(self, answer: Any, server: Address) -> FileDigest:
        connected = self.connect(answer, server)
        read = told_of_path(self.path, self._reader.read)
        while piece := read():
            self._send(connected, piece)
        self._await_end(connected)
        if self._is_cancelled:
            raise UnavailableError("the transfer was cancelled")
        return self._reader.digest

    def _send(self, connected: socket.socket, piece: bytes) -> None:
        left = memoryview(piece)
        try:
            while left:
                left = left[_patiently(connected, functools.partial(connected.send, left)) :]
        except OSError as error:
            raise _broken(f"the transfer of {quoted(self._name)}", error) from None

    def _await_end(self, connected: socket.socket) -> None:
        """Wait until the server closes the connection. A fastrpc server resets it if it did not store the file."""
        try:
            connected.shutdown(socket.SHUT_WR)
            watch_peer(connected, 10, 5)
            while _patiently(connected, lambda: len(connected.recv(PIECE_BYTES)), STORE_SECONDS):
                pass
        except OSError as error:
            raise _broken(f"the transfer of {quoted(self._name)}", error) from None

    def close(self) -> None:
        self.disconnect()
        self._reader.close()


def _told(answer: Any, server: Address) -> tuple[bytes, Address]:
    """Return the token and the address of an answer."""
    token, text = (answer.get("Token"), answer.get("Addr")) if isinstance(answer, Mapping) else (None, None)
    if not isinstance(token, bytes) or not isinstance(text, str):
        token, text = b"", ""
    if len(token) != TOKEN_BYTES or len(text) > _MOST_BYTES:
        raise CallError(Status.DATA_LOSS, f"{server} gave no token and address of a transfer")
    try:
        place = Address.parse(f"tcp://{text}")
    except ConfigError as error:
        raise CallError(
            Status.DATA_LOSS, f"{server} gave no address of a transfer: {error.message}"
        ) from None
    if place.host in {"", "0.0.0.0", "::"}:  # noqa: S104 (it is not listened at)
        # A Go server that listens at all addresses reports such an address.
        place = Address("tcp", host=server.host or "127.0.0.1", port=place.port)
    return token, place


def _check_connected(connected: socket.socket, code: int) -> None:
    """Wait until a started connect has completed."""
    if code == errno.EINPROGRESS:
        poll = select.poll()
        poll.register(connected, select.POLLOUT)
        if not poll.poll(SILENCE_SECONDS * 1000):
            code = errno.ETIMEDOUT
        else:
            code = connected.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, os.strerror(code))


def _patiently(connected: socket.socket, step: Callable[[], int], seconds: float = 0.0) -> int:
    """Repeat a step that times out, as long as the peer still reads our output, even slowly.

    Args:
        seconds: how long a peer may be silent after it has read all output.
    """
    ends = time.monotonic() + seconds
    while True:
        before = _unsent(connected)
        try:
            return step()
        except TimeoutError as error:
            left = _unsent(connected)
            # A timeout has no error number. With a number the connection has failed, and another step would mistake
            # that for the end of the stream.
            if error.errno is not None or (left >= before and (left or time.monotonic() >= ends)):
                raise


def _unsent(connected: socket.socket) -> int:
    """Return the number of bytes that the system has not sent yet; 0 if it does not report it."""
    try:
        return int.from_bytes(fcntl.ioctl(connected, termios.TIOCOUTQ, bytes(4)), sys.byteorder)
    except OSError:
        return 0


def _broken(what: str, error: OSError | UnicodeError) -> UnavailableError:
    reason = ""
    if isinstance(error, OSError) and error.errno:
        reason = error.strerror or os.strerror(error.errno)
    reason = reason or str(error) or type(error).__name__
    return UnavailableError(f"{what}: {reason}", processed="unknown", retryable=False)
