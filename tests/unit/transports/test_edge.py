"""Accepting with a judge, where it fails and on systems that behave in other ways than this one."""

import asyncio
import contextlib
import errno
import os
import socket
from typing import Any

import pytest

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
    [errno.ECONNABORTED, errno.EPROTO, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ETIMEDOUT],
)
def test_an_error_of_one_connection_is_a_connection_that_was_lost(number: int) -> None:
    with AcceptingSocket(OSError(number, os.strerror(number))) as bound:
        assert accept_judged(bound, None) is None


@pytest.mark.parametrize(
    "number",
    [
        errno.EAGAIN,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOBUFS,
        errno.ENOMEM,
        errno.EINVAL,
        errno.EBADF,
        errno.EPERM,
    ],
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


async def test_a_turn_of_the_loop_accepts_one_connection() -> None:
    """The loop serves other connections between two of them."""
    with socket.socket() as bound, contextlib.ExitStack() as ends:
        bound.bind(("127.0.0.1", 0))
        turns: list[int] = []
        turn = 0

        def refuse(_: Any) -> bool:
            turns.append(turn)
            return False

        server = JudgedServer(bound, refuse, lambda _: None)
        server.start(10)
        for _ in range(5):
            ends.enter_context(socket.create_connection(bound.getsockname()))
        async with asyncio.timeout(30):
            while len(turns) < 5:
                turn += 1
                await asyncio.sleep(0)
        server.close()
        assert len(set(turns)) == 5
