"""The admin pages of one server: opens and closes their listeners."""

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from fastrpc.config import ServerConfig
from fastrpc.endpoint import Address, is_local
from fastrpc.errors import ConfigError
from fastrpc.server.inherited import inherited_address, is_inherited, take_inherited
from fastrpc.tls import HTTP_AGREED
from fastrpc.transports.base import Listener, ListenOptions, reload_listeners, transport_for

if TYPE_CHECKING:
    from fastrpc.server.admin.access import AdminAccess, Token
    from fastrpc.server.admin.acting import Acting, Acts
    from fastrpc.server.admin.connection import AdminConnection
    from fastrpc.server.admin.operators import Operators
    from fastrpc.server.admin.pages import AdminPages, Shown
    from fastrpc.server.admin.state import ServerState

__all__ = ["Admin", "check_admin"]

logger = logging.getLogger("fastrpc.server")

#: The most simultaneous connections. Further connections are closed. A monitor has one or two, a browser six.
MOST_CONNECTIONS = 100


def check_admin(config: ServerConfig, *, has_registry: bool) -> Address | None:
    """Return the address of the admin pages, or None. For `fd://` it is the address of the socket.

    Raises:
        ConfigError: the settings contradict each other.
    """
    if config.admin_address is None:
        for name in ("admin_token", "admin_operators", "admin_advertise", "ready_needs_registry"):
            if getattr(config, name):
                raise ConfigError(
                    f"ServerConfig.{name} is set, but admin_address is None: it would have no effect",
                    hint="write admin_address='tcp://127.0.0.1:9090'",
                )
        return None
    for name in ("admin_advertise", "ready_needs_registry"):
        if getattr(config, name) and not has_registry:
            raise ConfigError(
                f"ServerConfig.{name} is set, but the server has no registry", hint="write registry=…"
            )
    address = _parsed("admin_address", config.admin_address, Address.parse)
    if isinstance(config.admin_advertise, str):
        # Imported on first use, because most servers advertise the bound address.
        from fastrpc.server.admin.label import advertised_pages

        _parsed("admin_advertise", config.admin_advertise, advertised_pages)
    if is_inherited(address):
        address = inherited_address(address, is_encrypted=config.tls is not None)
    if address.scheme not in ("tcp", "tls", "unix"):
        raise ConfigError(
            f"ServerConfig.admin_address is {str(address)!r}, it must begin with tcp://, tls://, unix:// or fd://"
        )
    if address.scheme == "tls" and config.tls is None:
        raise ConfigError(
            f"ServerConfig.admin_address is {str(address)!r}, but tls is None", hint="write tls=TLS(…)"
        )
    if address.scheme == "tcp" and config.tls is not None and not is_local(address):
        raise ConfigError(
            f"ServerConfig.admin_address is {str(address)!r}, which is not encrypted, and tls is set",
            hint=f"write tls://{str(address).partition('://')[2]}",
        )
    return address


def _parsed(name: str, given: str, parse: Callable[[str], Address]) -> Address:
    try:
        return parse(given)
    except ConfigError as error:
        raise ConfigError(f"ServerConfig.{name}: {error.message}", hint=error.hint) from None


class Admin:
    """The admin pages of a server."""

    def __init__(self, config: ServerConfig, *, has_registry: bool) -> None:
        self._config = config
        self._wanted = check_admin(config, has_registry=has_registry)
        self._listeners: list[Listener] = []
        self._pages: AdminPages | None = None
        self._token: Token | None = None
        self._operators: Operators | None = None
        self._acts: Acts | None = None
        self._state: ServerState | None = None
        #: Connections, ordered by their last request.
        self._connections: dict[AdminConnection, None] = {}

    @property
    def address(self) -> Address | None:
        """The address of the pages, with the bound port; None without pages or before the start."""
        return self._listeners[0].address if self._listeners else None

    def reload(self) -> None:
        """Read the files of certificates, of the token and of the operators again now."""
        reload_listeners(self._listeners)
        for file in (self._token, self._operators):
            if file is not None:
                file.reload()

    async def open(self, state: "Callable[[ServerConfig], ServerState]") -> None:
        """Listen, if the server has admin pages.

        Args:
            state: returns the state that the pages show.

        Raises:
            OSError: the address is not available.
            ConfigError: the file of the token, or of the operators, cannot be used.
        """
        if self._wanted is None:
            return
        named = Address.parse(self._config.admin_address or "")
        bound = take_inherited(named) if is_inherited(named) else None
        self._state = state(self._config)
        await self.show(self._state, [bound], self._state.acted)

    async def show(
        self, shown: "Shown", sockets: "Sequence[socket.socket | None]", acting: "Acting | None" = None
    ) -> None:
        """Listen at bound sockets (None for a new socket), with pages that show a state.

        Args:
            acting: the server that operators change; None for no acts.

        Raises:
            OSError: the address is not available.
            ConfigError: the file of the token, or of the operators, cannot be used.
        """
        # Imported on first use, because most servers have no such pages.
        from fastrpc.protocols.http.detection import http1_stream
        from fastrpc.server.admin.access import AdminAccess, Token
        from fastrpc.server.admin.connection import AdminConnection
        from fastrpc.server.admin.pages import AdminPages

        address, token, loop = self._wanted, self._config.admin_token, asyncio.get_running_loop()
        assert address is not None
        self._token = None if token is None else Token(token)
        access = AdminAccess(
            self._token,
            is_local=is_local(address),
            has_host=address.scheme != "unix",
        )
        pages = self._pages = AdminPages(shown)
        if acting is not None:
            self._take_acts(acting, access)

        def accepted() -> asyncio.BufferedProtocol:
            connection = AdminConnection(
                pages, access, self._acts, self._gone, self._asked, is_surplus=self._is_full()
            )
            self._connections[connection] = None
            return http1_stream(connection, loop)

        for bound in sockets:
            options = ListenOptions(tls=self._config.tls, agreed=HTTP_AGREED, socket=bound)
            listener = await transport_for(address).listen(address, accepted, options)
            self._listeners.append(listener)
        place = str(self._listeners[0].address)
        if token is not None and address.scheme == "tcp" and not is_local(address):
            logger.warning(
                "the admin token is sent in plain text: %s is not encrypted, write tls:// and tls=TLS(…)",
                place,
            )
        logger.info("admin pages at %s", place, extra={"event": "admin_listening", "address": place})

    def _take_acts(self, acting: "Acting", access: "AdminAccess") -> None:
        """Accept acts from now on, if there are operators."""
        file, address = self._config.admin_operators, self._wanted
        if file is None or address is None:
            return
        # Imported on first use, because most servers have no operators.
        from fastrpc.server.admin.acting import Acts
        from fastrpc.server.admin.operators import Operators

        self._operators = Operators(file, access, "https" if address.scheme == "tls" else "http")
        self._acts = Acts(acting, self._operators)
        if address.scheme == "tcp" and not is_local(address):
            logger.warning(
                "tokens of operators are sent in plain text: %s is not encrypted, write tls:// and tls=TLS(…)",
                address,
            )

    def _is_full(self) -> bool:
        """Return whether there are too many connections. If possible, close the longest idle connection to make room.

        Otherwise clients without a token could occupy all connections and block the probes.
        """
        if len(self._connections) < MOST_CONNECTIONS:
            return False
        resting = next((one for one in self._connections if not one.is_answering), None)
        if resting is not None:
            resting.abort()
        return resting is None

    def _asked(self, connection: "AdminConnection") -> None:
        self._connections.pop(connection, None)
        self._connections[connection] = None

    def _gone(self, connection: "AdminConnection") -> None:
        self._connections.pop(connection, None)

    async def close(self) -> None:
        """Stop listening, and close every connection. Closing twice is allowed."""
        listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener.close()
        try:
            for listener in listeners:
                await listener.wait_closed()
        finally:
            for connection in list(self._connections):
                connection.abort()
            if self._pages is not None:
                self._pages.close()
            if self._acts is not None:
                self._acts.close()
            if self._state is not None:
                self._state.close()
