"""Machines of one local network, for tests: network namespaces at a bridge.

If this machine may make none, they share its loopback, where multicast reaches all programs as well.
"""

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Machine", "local_network"]

#: A constant of Linux: the kind of namespace that `setns` enters.
CLONE_NEWNET = 0x40000000

#: Addresses for tests of networks (RFC 2544), which lead nowhere else.
NETWORK = "198.18.73"


@dataclass(frozen=True)
class Machine:
    """A host of the network."""

    host: str

    #: Its network namespace; None is the namespace of this machine.
    namespace: str | None = None

    @property
    def option(self) -> str:
        """The option of a registry's URL that keeps announcements in the network of the tests."""
        return "" if self.namespace else "interface=lo"

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Be on this machine: the calling thread, and the threads and programs that it starts, for their life."""
        if self.namespace is None:
            yield
            return
        there = Path("/run/netns", self.namespace)
        with open("/proc/thread-self/ns/net", "rb") as home, there.open("rb") as entered:
            _enter(entered.fileno())
            try:
                yield
            finally:
                _enter(home.fileno())


@contextlib.contextmanager
def local_network(count: int) -> Iterator[list[Machine]]:
    """Yield the given number of machines of a network of their own."""
    names = [f"fastrpc-{os.getpid()}-{number}" for number in range(count + 1)]
    bridge, *others = names
    with contextlib.ExitStack() as stack:
        try:
            for name in names:
                _ip("netns", "add", name)
                stack.callback(_ip, "netns", "delete", name)
            machines = _joined(bridge, others)
        except (FileNotFoundError, subprocess.CalledProcessError) as error:
            # Some systems allow namespaces, and no bridge between them.
            stack.close()
            print(f"no network of namespaces can be made ({error}): the machines share loopback")
            machines = [Machine(f"127.0.0.{number}") for number in range(1, count + 1)]
        yield machines


def _joined(bridge: str, namespaces: Sequence[str]) -> list[Machine]:
    """Connect namespaces by a bridge in another one; return them as machines."""
    _ip("-n", bridge, "link", "add", "bridge", "type", "bridge")
    _ip("-n", bridge, "link", "set", "bridge", "up")
    machines = [Machine(f"{NETWORK}.{number}", name) for number, name in enumerate(namespaces, 1)]
    for number, machine in enumerate(machines, 1):
        _plug(machine, bridge, f"port{number}")
    return machines


def _plug(machine: Machine, bridge: str, port: str) -> None:
    """Connect a machine with a port of the bridge."""
    assert machine.namespace is not None
    peer = ("type", "veth", "peer", "name", "eth0", "netns", machine.namespace)
    _ip("-n", bridge, "link", "add", port, *peer)
    _ip("-n", bridge, "link", "set", port, "master", "bridge", "up")
    _ip("-n", machine.namespace, "address", "add", f"{machine.host}/24", "dev", "eth0")
    for interface in ("lo", "eth0"):
        _ip("-n", machine.namespace, "link", "set", interface, "up")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def _enter(descriptor: int) -> None:
    """Move the calling thread into a network namespace."""
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
