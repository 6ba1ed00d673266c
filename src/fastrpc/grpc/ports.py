"""Ports of servers, with addresses in gRPC's form. They are bound before the server starts."""

import socket
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

__all__ = ["Port", "bound_port"]

#: The port number that gRPC returns for an address without one.
_WITHOUT_NUMBER = 1

_ANY_IPV4 = "0.0.0.0"  # noqa: S104
#: The hosts that mean every address of the machine.
_ANY = ("", "::", _ANY_IPV4)


class Port(NamedTuple):
    """A bound port: our addresses, each with its socket, or with None if the server makes the socket."""

    number: int
    sockets: list[tuple[str, socket.socket | None]]

    def close(self) -> None:
        """Close the sockets before a server uses them."""
        for _, bound in self.sockets:
            if bound is not None:
                bound.close()


def bound_port(address: str, *, is_encrypted: bool, reuse_port: bool) -> Port:
    """Bind an address: `host:port`, `[::]:port`, `unix:path`.

    Raises:
        RuntimeError: the address cannot be bound, or is malformed.
    """
    if address.startswith("unix:"):
        path = Path(address.removeprefix("unix:").removeprefix("//")).absolute()
        return Port(_WITHOUT_NUMBER, [(f"unix://{path}", None)])
    host, _, text = (
        address.removeprefix("dns:///").removeprefix("ipv4:").removeprefix("ipv6:").rpartition(":")
    )
    try:
        host = host.strip("[]")
        found = _sockets("::" if host in _ANY else host, int(text), reuse_port)
    except (OSError, ValueError) as error:
        raise RuntimeError(f"Failed to bind to address {address}: {error}") from error
    scheme = "tls" if is_encrypted else "tcp"
    return Port(found[0].getsockname()[1], [(_name(scheme, one), one) for one in found])


def _name(scheme: str, bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _sockets(host: str, port: int, reuse_port: bool) -> list[socket.socket]:
    """Bind each address of a host at one port. A wildcard host means IPv4 and IPv6, as in gRPC."""
    found: list[socket.socket] = []
    failure: OSError | None = None
    for family, _, _, _, place in socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    ):
        number = found[0].getsockname()[1] if found else port
        made = None
        try:
            made = socket.socket(family, socket.SOCK_STREAM)
            _prepare(made, family, is_any=host == "::", reuse_port=reuse_port)
            made.bind((place[0], number, *place[2:]))
            # Other programs find the port taken only if its socket listens. Callers that connect now wait until the
            # server starts.
            made.listen()
        except OSError as error:
            failure = error
            if made is not None:
                made.close()
        else:
            found.append(made)
    if not found and host == "::":
        # This machine has no IPv6.
        return _sockets(_ANY_IPV4, port, reuse_port)
    if not found:
        raise failure or OSError(f"{host} has no address")
    return found


def _prepare(made: socket.socket, family: int, *, is_any: bool, reuse_port: bool) -> None:
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if reuse_port:
        with suppress(AttributeError, OSError):
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if is_any else 1)
