"""The new program's side of a takeover: it gets the listening sockets, and the old program drains.

::

    connect ──► the old one's sockets ──► start, serve, register ──► tell the old one ──► it drains
                                                  │
                                                  └─► it fails: its copies are closed, the old one continues

Sockets are passed on instead of bound a second time, so no connection is refused or waits at an abandoned socket.
"""

import contextlib
import logging
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from fastrpc.endpoint import Address
from fastrpc.errors import ConfigError
from fastrpc.transports.sockets import close_all
from fastrpc.workers.takeover.control_channel import VERSION, receive, send, take_sockets

__all__ = ["Given", "Takeover"]

logger = logging.getLogger("fastrpc.audit")

#: The timeout of each answer of the old program in seconds.
ANSWER_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Given:
    """The sockets of one address of the old program."""

    #: The address as it was given, perhaps with port 0 or `fd://`.
    wanted: Address
    address: Address
    sockets: tuple[socket.socket, ...]
    #: Whether the program that listens at the socket has to remove the socket's file at its end.
    removes_file: bool

    def fits(self, wanted: Address) -> bool:
        """Return whether these sockets belong to a given address."""
        places = {_place(self.wanted), _place(self.address)}
        return _place(wanted) in places


class Takeover:
    """The connection to the program that this program replaces.

    Raises:
        ConfigError: no program listens at the control socket, or the program there refuses the takeover.
    """

    def __init__(self, control: Address) -> None:
        self._control = control
        self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._given: list[Given] = []
        # The names of the addresses whose sockets were taken.
        self._taken: list[str] = []
        try:
            self._take()
        except ConfigError:
            self.close()
            raise
        except (OSError, ValueError, KeyError, TypeError) as failure:
            self.close()
            raise ConfigError(f"cannot take over at {control}: {failure}", hint=_hint(failure)) from failure
        except BaseException:
            self.close()
            raise

    def _take(self) -> None:
        self._connection.settimeout(ANSWER_SECONDS)
        self._connection.connect(self._control.path)
        values = receive(self._connection)
        if "refused" in values:
            raise ConfigError(
                f"cannot take over at {self._control}: the program there refuses: {values['refused']}"
            )
        if values["version"] != VERSION:
            raise ConfigError(
                f"cannot take over at {self._control}: the program there has version {values['version']} of the "
                f"takeover, this one version {VERSION}",
                hint="stop it, and start this one without --takeover",
            )
        #: The process id of the old program.
        self.process = int(values["process"])
        #: The service manager's variables of the old program.
        self.environment: Mapping[str, str] = dict(values["environment"])
        counts = [int(one["sockets"]) for one in values["listeners"]]
        sockets = take_sockets(self._connection, sum(counts) + 1)
        #: The control socket.
        self.control = sockets.pop()
        for one, count in zip(values["listeners"], counts, strict=True):
            own, sockets = tuple(sockets[:count]), sockets[count:]
            wanted, address = Address.parse(one["wanted"]), Address.parse(one["address"])
            self._given.append(Given(wanted, address, own, bool(one["removes_file"])))
        logger.info("takeover: this program takes the place of process %d", self.process)

    def take(self, wanted: Address) -> Given | None:
        """Return and remove the sockets for an address; None if the old program has none for it."""
        found = next((one for one in self._given if one.fits(wanted)), None)
        if found is not None:
            self._given.remove(found)
            self._taken.append(str(found.address))
        return found

    def address_of(self, wanted: Address) -> Address | None:
        """Return the bound address of the sockets for an address; None if the old program has none for it."""
        return next((one.address for one in self._given if one.fits(wanted)), None)

    def let_go(self) -> None:
        """Close the sockets that were not taken, because connections to them would never be accepted."""
        for one in self._given:
            close_all(one.sockets)
        self._given.clear()

    def conclude(self) -> None:
        """Notify the old program that this program serves with its sockets. Return when it drains or has ended.

        Raises:
            ConfigError: the old program stops for another reason, and keeps its addresses.
        """
        try:
            with contextlib.suppress(OSError):
                send(self._connection, serves=self._taken)
            # Read even if the old program has ended: it may have sent a reason before its end.
            answer = receive(self._connection)
        except (OSError, ValueError) as failure:
            # Continue: this program has the sockets, so no other program can use their addresses.
            logger.warning("takeover: process %d gives no answer, this one serves: %s", self.process, failure)
        else:
            if "refused" in answer:
                raise ConfigError(
                    f"cannot take over at {self._control}: the program there refuses: {answer['refused']}"
                )
        self._connection.close()

    def close(self) -> None:
        """Close the connection and the sockets that were not taken."""
        self.let_go()
        self._connection.close()


def _place(address: Address) -> tuple[str, str, int, str]:
    """Return the identity of an address's socket. `tcp` and `tls` are the same, as TLS concerns only connections."""
    scheme = "tcp" if address.scheme == "tls" else address.scheme
    path = os.path.abspath(address.path) if scheme == "unix" else address.path
    return scheme, address.host, address.port, path


def _hint(failure: Exception) -> str | None:
    if isinstance(failure, FileNotFoundError | ConnectionRefusedError):
        return "no program listens there; start this one without --takeover"
    if isinstance(failure, PermissionError | ConnectionResetError):
        return "only a program of the same user may take over"
    return None
