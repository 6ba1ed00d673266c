"""Accepting with a judge, on systems that behave in other ways than this one."""

import errno
import socket

from fastrpc.transports.edge import admitted


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
