"""Free ports, for servers that start later than their port is known or that come back to it."""

import os
import secrets
import socket
from collections.abc import Iterable
from contextlib import ExitStack, suppress

__all__ = ["free_address", "free_ports", "has_ipv6", "ports_instead"]

#: Ports outside of the range that the system assigns (Linux: from 32,768 on), which other tests get meanwhile.
PORTS = range(20_000, 32_000)

#: Each worker of a run has its share of the ports. The search for a free port listens at it for a moment: without
#: shares a server of another worker that returns to its port could find it taken. A run without workers has the last
#: share.
SHARES = 13
_share = int(os.environ.get("PYTEST_XDIST_WORKER", "gw12").removeprefix("gw")) % SHARES
_ports = PORTS[_share::SHARES]
#: Given once already, and kept by whoever got them while they are closed.
_given: set[int] = set()


def free_ports(count: int) -> list[int]:
    """Return ports of loopback at which nobody listens."""
    with ExitStack() as stack:
        return [stack.enter_context(_bound()).getsockname()[1] for _ in range(count)]


def free_address() -> str:
    """Return an address at which nobody listens."""
    return f"tcp://127.0.0.1:{free_ports(1)[0]}"


def has_ipv6() -> bool:
    """Return whether this machine has the address ::1."""
    try:
        with socket.socket(socket.AF_INET6) as one:
            one.bind(("::1", 0))
    except OSError:
        return False
    return True


def ports_instead(ports: Iterable[int | str]) -> dict[str, str]:
    """Return a free port for each port, both as text."""
    names = [str(port) for port in ports]
    return dict(zip(names, map(str, free_ports(len(names))), strict=True))


def _bound() -> socket.socket:
    while True:
        if len(_given) == len(_ports):
            _given.clear()
        port = secrets.choice(_ports)
        if port in _given:
            continue
        _given.add(port)
        with suppress(OSError):  # Another program has it.
            return socket.create_server(("127.0.0.1", port))
