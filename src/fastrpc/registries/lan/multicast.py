"""Multicast on every interface of this machine, IPv4 and IPv6, never beyond the link."""

import contextlib
import errno
import ipaddress
import socket
import struct
import sys

__all__ = ["Multicast", "own_hosts"]

GROUP_4, GROUP_6, PORT = "239.255.73.31", "ff02::7331", 8973

#: An address for documentation (RFC 5737), which only the default route reaches.
_BEYOND = "192.0.2.1"

#: Socket options of Linux for which Python has no names. On other systems the numbers have other meanings. With the
#: value 0 a socket receives only from groups that it has joined itself, not from groups of other sockets.
_IP_MULTICAST_ALL, _IPV6_MULTICAST_ALL = 49, 29

#: A socket option of Linux that returns nine numbers. The last number counts dropped datagrams.
_SO_MEMINFO = 55

#: The size of each socket's receive buffer in bytes.
_WAITING_BYTES = 1024 * 1024


class Multicast:
    """Sockets that send to a group and receive from it.

    Args:
        interface: the only interface to use; None for all interfaces.

    Raises:
        OSError: no socket could be opened.
    """

    def __init__(self, interface: str | None) -> None:
        self._interface = interface
        self.sockets: list[socket.socket] = []
        # Pairs of an address family and the index of an interface.
        self._joined: set[tuple[int, int]] = set()
        errors: list[OSError] = []
        for make in (_open_4, _open_6):
            try:
                self.sockets.append(make())
            except OSError as error:
                errors.append(error)
        if not self.sockets:
            raise errors[0]
        self.join()

    def send(self, data: bytes) -> None:
        """Send a datagram on each interface.

        Raises:
            OSError: no interface accepts it.
        """
        failed: OSError | None = None
        is_sent = False
        for one, index in self.join():
            try:
                _choose(one, index)
                one.sendto(data, (GROUP_4 if one.family == socket.AF_INET else GROUP_6, PORT))
                is_sent = True
            except OSError as error:
                failed = error
        if not is_sent:
            raise failed or OSError("no interface can send to a group")

    def dropped(self) -> int:
        """Return the number of unread datagrams that the system has dropped; 0 if the system does not report it."""
        found = 0
        for one in self.sockets if sys.platform == "linux" else ():
            with contextlib.suppress(OSError, struct.error):
                found += struct.unpack("@9I", one.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 36))[8]
        return found

    def close(self) -> None:
        for one in self.sockets:
            one.close()

    def join(self) -> list[tuple[socket.socket, int]]:
        """Join the group on new interfaces; return each socket with the index of each interface."""
        present = {index for index, name in socket.if_nameindex() if self._interface in (None, name)}
        self._joined = {each for each in self._joined if each[1] in present}
        places = [(one, index) for one in self.sockets for index in present]
        for one, index in places:
            if (one.family, index) not in self._joined and _has_joined(one, index):
                self._joined.add((one.family, index))
        return places


def own_hosts() -> list[str]:
    """Return this machine's IPv4 addresses, the default route's address first; [] without a network."""
    found = [_source(None, _BEYOND), *(_source(index, GROUP_4) for index, _ in socket.if_nameindex())]
    return list(dict.fromkeys(str(host) for host in found if not (host.is_unspecified or host.is_loopback)))


def _source(index: int | None, host: str) -> ipaddress.IPv4Address:
    """Return the source address of datagrams to a host; the unspecified address if there is no route.

    Args:
        index: the interface; None to let the routing table choose it.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one, contextlib.suppress(OSError):
        if index is not None:
            _choose(one, index)
        # Connecting a UDP socket sends nothing.
        one.connect((host, PORT))
        return ipaddress.IPv4Address(one.getsockname()[0])
    return ipaddress.IPv4Address(0)


def _open_4() -> socket.socket:
    one = _open(socket.AF_INET, socket.IPPROTO_IP, _IP_MULTICAST_ALL)
    one.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
    return _bound(one, GROUP_4)


def _open_6() -> socket.socket:
    one = _open(socket.AF_INET6, socket.IPPROTO_IPV6, _IPV6_MULTICAST_ALL)
    one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 1)
    # Do not bind to the group: its address would need the scope of one interface.
    return _bound(one, "::")


def _open(family: socket.AddressFamily, level: int, all_groups: int) -> socket.socket:
    one = socket.socket(family, socket.SOCK_DGRAM)
    one.setblocking(False)
    # Let all programs of this machine receive each datagram.
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    with contextlib.suppress(OSError):
        # The system may allow fewer bytes.
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _WAITING_BYTES)
    if sys.platform == "linux":
        # Other systems do not have this option, and need none: they deliver only from groups that this socket has
        # joined.
        with contextlib.suppress(OSError):
            one.setsockopt(level, all_groups, 0)
    return one


def _bound(one: socket.socket, host: str) -> socket.socket:
    try:
        one.bind((host, PORT))
    except OSError:
        one.close()
        raise
    return one


def _has_joined(one: socket.socket, index: int) -> bool:
    """Join the group on an interface; return False while the interface has no address of the family."""
    try:
        if one.family == socket.AF_INET:
            one.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, _mreqn(index))
        else:
            group = ipaddress.IPv6Address(GROUP_6).packed
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group + struct.pack("@I", index))
    except OSError as error:
        return error.errno == errno.EADDRINUSE
    return True


def _choose(one: socket.socket, index: int) -> None:
    """Choose the interface for the next datagram."""
    if one.family == socket.AF_INET:
        one.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, _mreqn(index))
    else:
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, struct.pack("@I", index))


def _mreqn(index: int) -> bytes:
    """Return `struct ip_mreqn`: group, address, index of the interface."""
    return struct.pack("@4s4si", ipaddress.IPv4Address(GROUP_4).packed, bytes(4), index)
