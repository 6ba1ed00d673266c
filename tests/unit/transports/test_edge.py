"""Accepting with a judge, where it fails and on systems that behave in other ways than this one."""

import asyncio
import errno
import os
import socket
from typing import Any

import pytest

from fastrpc.transports import edge
from fastrpc.transports.edge import JudgedServer, accept_judged, admitted


class ResetSocket(socket.socket):
    """A connection that takes no options any more, as on macOS once its peer has reset it."""

    def setsockopt(self, *_: object) -> None:  # type: ignore[override]
        raise OSError(errno.EINVAL, "Invalid argument")


def test_a_refused_connection_is_closed_even_if_it_takes_no_options() -> None:
    one, other = socket.socketpair()
    with other:
        refused = ResetSocket(fileno=one.detach())
        assert not admitted(refused, lambda _: False)
        assert refused.fileno() == -1


class AcceptingSocket(socket.socket):
    """A listening socket that accepts one connection, or fails to."""

    def __init__(self, accepted: int | OSError) -> None:
        super().__init__()
        self._accepted = accepted

    def _accept(self) -> tuple[int, Any]:
        if isinstance(self._accepted, OSError):
            raise self._accepted
        return self._accepted, ("10.0.0.1", 1)


@pytest.mark.parametrize(
    "number",
    [errno.ECONNABORTED, errno.EPROTO, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EPERM, errno.ETIMEDOUT],
)
def test_an_error_of_one_connection_is_a_connection_that_was_lost(number: int) -> None:
    with AcceptingSocket(OSError(number, os.strerror(number))) as bound:
        assert accept_judged(bound, None) is None


@pytest.mark.parametrize(
    "number",
    [errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EINVAL, errno.EBADF],
)
def test_an_error_of_the_next_connection_as_well_is_raised(number: int) -> None:
    with AcceptingSocket(OSError(number, os.strerror(number))) as bound:
        with pytest.raises(OSError, match=os.strerror(number)):
            accept_judged(bound, None)


def test_a_connection_is_closed_where_its_judge_fails() -> None:
    one, other = socket.socketpair()
    with other, AcceptingSocket(one.detach()) as bound:
        with pytest.raises(ZeroDivisionError):
            accept_judged(bound, lambda _: 1 / 0 > 0)
        assert other.recv(1) == b""


@pytest.mark.parametrize("source", ["127.0.0.1", "127.0.0.2"])
async def test_accepting_rests_behind_refused_connections_alone(
    source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge, "REST_SECONDS", 3_600.0)
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    taken: list[socket.socket] = []
    judged: list[str] = []

    def admits(peer_name: Any) -> bool:
        judged.append(peer_name[0])
        return bool(peer_name[0] == "127.0.0.1")

    server = JudgedServer(bound, admits, taken.append)
    server.start(10)
    dialled = []
    for host in (source, "127.0.0.1"):
        dialled.append(socket.create_connection(bound.getsockname(), source_address=(host, 0)))
        for _ in range(20):
            await asyncio.sleep(0)
    server.close()
    for one in (*dialled, *taken):
        one.close()
    assert judged == (["127.0.0.1"] * 2 if source == "127.0.0.1" else ["127.0.0.2"])
