"""Sockets that another program opened and passed to this process: the addresses `fd://NAME` and `fd://N`.

systemd passes the sockets of a `.socket` unit as descriptors from 3 on. LISTEN_FDS is the number of sockets,
LISTEN_FDNAMES has their names, and LISTEN_PID is the ID of the process for which they are meant. `fd://NAME` is the
socket with this name. `fd://N` is descriptor N, from systemd or any other parent.
"""

import os
import socket
import stat
from collections.abc import Mapping

from fastrpc.endpoint import Address
from fastrpc.errors import ConfigError

__all__ = ["inherited_address", "is_inherited", "take_inherited"]

#: The first descriptor that a service manager passes (SD_LISTEN_FDS_START).
FIRST_DESCRIPTOR = 3


def is_inherited(address: Address) -> bool:
    """Return whether an address means an inherited socket."""
    return address.scheme == "fd"


def inherited_address(
    address: Address, *, is_encrypted: bool, environment: Mapping[str, str] = os.environ
) -> Address:
    """Return the bound address of the socket of an `fd://` address; leave the socket open for `take_inherited`.

    Args:
        is_encrypted: True if connections of a TCP socket use TLS.

    Raises:
        ConfigError: there is no such socket, or a server cannot listen on it; the hint lists the inherited sockets.
    """
    descriptor = _descriptor(address, environment)
    with socket.socket(fileno=os.dup(descriptor)) as bound:
        return _checked(address, bound, is_encrypted)


def take_inherited(address: Address, environment: Mapping[str, str] = os.environ) -> socket.socket:
    """Return the socket of an `fd://` address. The caller then owns it, so this works only once per socket.

    Raises:
        ConfigError: there is no such socket.
    """
    descriptor = _descriptor(address, environment)
    taken = socket.socket(fileno=os.dup(descriptor))
    # Replace the descriptor by another file, so that a second use of the address fails.
    nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    os.dup2(nothing, descriptor, inheritable=False)
    os.close(nothing)
    return taken


def _address_of(bound: socket.socket, is_encrypted: bool) -> Address | None:
    """Return the address of a bound socket; None if it has no address for clients."""
    place = bound.getsockname()
    if bound.family in (socket.AF_INET, socket.AF_INET6):
        return Address("tls" if is_encrypted else "tcp", host=place[0], port=place[1])
    if bound.family == socket.AF_UNIX and isinstance(place, str) and place:
        return Address("unix", path=place)
    return None


def _descriptor(address: Address, environment: Mapping[str, str]) -> int:
    """Return the number of the descriptor after checking that it is a socket."""
    names = _passed(environment)
    name = address.path
    if name.isascii() and name.isdecimal():
        found = [int(name)]
    else:
        found = [number for number, known in names.items() if known == name]
        if not found:
            raise ConfigError(f"{address}: no socket of this name was passed on", hint=_known(environment))
        if len(found) > 1:
            several = " and ".join(f"fd://{number}" for number in found)
            raise ConfigError(
                f"{address}: {len(found)} sockets have this name", hint=f"name them one by one: {several}"
            )
    try:
        is_socket = stat.S_ISSOCK(os.fstat(found[0]).st_mode)
    except (OSError, OverflowError):
        is_socket = False
    if not is_socket:
        raise ConfigError(
            f"{address}: descriptor {found[0]} is not a socket, or another address has taken it",
            hint=_known(environment),
        )
    return found[0]


def _checked(address: Address, bound: socket.socket, is_encrypted: bool) -> Address:
    """Return the bound address of a socket after checking that a server can listen on it."""
    real = _address_of(bound, is_encrypted)
    if real is None or bound.type != socket.SOCK_STREAM:
        raise ConfigError(
            f"{address}: the socket is neither TCP nor a Unix stream socket with a path",
            hint="write ListenStream= in the .socket unit",
        )
    if real.port == 0 and real.scheme != "unix":
        raise ConfigError(f"{address}: the socket is not bound", hint="pass a socket that listens")
    try:
        bound.getpeername()
    except OSError:
        return real
    raise ConfigError(
        f"{address}: the socket is a connection, not a listener", hint="write Accept=no in the .socket unit"
    )


def _passed(environment: Mapping[str, str]) -> dict[int, str]:
    """Return the descriptors that the service manager passed to this process, with their names."""
    count = environment.get("LISTEN_FDS", "")
    if not count.isdecimal() or environment.get("LISTEN_PID") != str(os.getpid()):
        return {}
    names = environment.get("LISTEN_FDNAMES", "").split(":")
    numbers = range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + int(count))
    # For a descriptor without a name, sd_listen_fds_with_names(3) returns this word too.
    return {number: names[index] if index < len(names) else "unknown" for index, number in enumerate(numbers)}


def _known(environment: Mapping[str, str]) -> str:
    """Return a hint that lists the inherited sockets."""
    passed = _passed(environment)
    if passed:
        return "passed on are " + ", ".join(f"{name} (fd://{number})" for number, name in passed.items())
    process = environment.get("LISTEN_PID")
    if environment.get("LISTEN_FDS") and process != str(os.getpid()):
        return f"LISTEN_PID is {process}, this process is {os.getpid()}: start it without a program between"
    return "LISTEN_FDS is not set: no sockets were passed on"
