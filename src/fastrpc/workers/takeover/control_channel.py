"""The messages over a control socket, between a program and the program that replaces it.

::

    new program ──► old    (connects; the system reports its user)
    new program ◄── old    {"process", "version", "listeners", "environment"} with the listening sockets,
                           or {"refused": why}
    new program ──► old    {"serves": [addresses]}: it serves with the sockets of these addresses
    new program ◄── old    {"drains": true}, or {"refused": why}

A message is its length in four bytes, then JSON. Then the sockets are sent, in groups, each with one further byte.
"""

import json
import socket
import struct
from collections.abc import Sequence
from typing import Any

__all__ = ["VERSION", "Inbox", "peer_of", "receive", "send", "send_sockets", "take_sockets"]

#: The version of these messages, because programs of different releases take over from each other.
VERSION = 1

_LENGTH = struct.Struct("!I")

#: The most bytes of a message. An address needs a few hundred bytes.
MOST_BYTES = 1 << 20

#: The most sockets sent with one byte; Linux allows 253 (SCM_MAX_FD).
AT_ONCE = 200

#: The process, the user and the group of a peer (struct ucred of Linux).
_CREDENTIALS = struct.Struct("iII")


class Inbox:
    """A non-blocking reader of messages, which may arrive in parts."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._received = b""

    def read(self) -> dict[str, Any] | None:
        """Return the next message; None if it is incomplete.

        Raises:
            OSError: the connection is lost.
            ValueError: this is not a message.
        """
        try:
            data = self._connection.recv(65_536)
        except BlockingIOError:
            return None
        if not data:
            raise ConnectionResetError("the connection was closed")
        self._received += data
        if len(self._received) < _LENGTH.size:
            return None
        size = _checked_size(self._received)
        body = self._received[_LENGTH.size : _LENGTH.size + size]
        return _decoded(body) if len(body) == size else None


def send(connection: socket.socket, **values: Any) -> None:
    """Send a message; raises OSError if the connection is lost."""
    body = json.dumps(values).encode()
    connection.sendall(_LENGTH.pack(len(body)) + body)


def receive(connection: socket.socket) -> dict[str, Any]:
    """Return the next message.

    Raises:
        OSError: the connection is lost.
        ValueError: this is not a message.
    """
    return _decoded(_exactly(connection, _checked_size(_exactly(connection, _LENGTH.size))))


def send_sockets(connection: socket.socket, sockets: Sequence[socket.socket]) -> None:
    """Send sockets. They stay open in this process."""
    for start in range(0, len(sockets), AT_ONCE):
        part = [one.fileno() for one in sockets[start : start + AT_ONCE]]
        socket.send_fds(connection, [b"+"], part)


def take_sockets(connection: socket.socket, count: int) -> list[socket.socket]:
    """Return the sockets that follow a message; raises OSError if the connection is lost."""
    taken: list[socket.socket] = []
    try:
        while len(taken) < count:
            data, descriptors, _, _ = socket.recv_fds(connection, 1, AT_ONCE)
            for descriptor in descriptors:
                one = socket.socket(fileno=descriptor)
                one.set_inheritable(False)
                taken.append(one)
            if not data:
                raise ConnectionResetError("the connection was closed")
    except BaseException:
        for one in taken:
            one.close()
        raise
    return taken


def peer_of(connection: socket.socket) -> tuple[int, int]:
    """Return the process id and the user id of the peer (Linux)."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    process, user, _ = _CREDENTIALS.unpack(raw)
    return process, user


def _exactly(connection: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        # Sockets are attached to the bytes after a message, so these bytes must not be read with the message.
        data = connection.recv(size - len(received))
        if not data:
            raise ConnectionResetError("the connection was closed")
        received += data
    return received


def _checked_size(prefix: bytes) -> int:
    size: int = _LENGTH.unpack_from(prefix)[0]
    if size > MOST_BYTES:
        raise ValueError(f"a message of {size} bytes, {MOST_BYTES} are allowed")
    return size


def _decoded(body: bytes) -> dict[str, Any]:
    values = json.loads(body)
    if not isinstance(values, dict):
        raise ValueError("a message must be an object of JSON")
    return values
