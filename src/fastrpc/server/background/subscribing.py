"""The broker of a server, and its subscribers."""

from typing import Any

from fastrpc.config import ServerConfig
from fastrpc.errors import BrokerError, ConfigError
from fastrpc.first_use import registered
from fastrpc.handlers.services import ServiceTable
from fastrpc.rpc.aliases import ServiceNames
from fastrpc.rpc.background.subscribing import subscriptions_of

__all__ = ["Subscribing", "check_broker"]


class Subscribing:
    """Opens the broker, and runs the subscribers of services while they are served.

    Args:
        broker: the URL of a broker, or a broker that its owner opens and closes.

    Raises:
        ConfigError: the broker is neither a URL nor a broker.
    """

    def __init__(self, served: ServiceTable, broker: Any, config: ServerConfig) -> None:
        self._served = served
        self._broker = broker
        self._bounds = {"depth": config.limits.depth, "items": config.memory.items}
        # Created with the first subscriber.
        self._subscribers: Any = None
        if broker is not None:
            check_broker(broker)

    async def open(self) -> None:
        """Open the broker. It is closed after the sources of services have ended."""
        if self._broker is not None:
            opened = self._broker
            if isinstance(opened, str):
                opened = registered("server", "open_broker")(opened)
                await self._served.hold(opened)
            self._served.gate.dispatcher.broker = opened

    def shown(self, most_rows: int) -> dict[str, Any] | None:
        """Return topics and groups for the admin page; None without a broker, or for a broker of another process."""
        broker = self._served.gate.dispatcher.broker
        try:
            # Backends of brokers on other machines may have no figures.
            figures = None if broker is None else getattr(broker.backend, "figures", None)
        except BrokerError:
            return None
        found: dict[str, Any] | None = None if figures is None else figures.shown(most_rows)
        return found

    def made_for(self, names: ServiceNames, service: Any) -> list[Any]:
        """Return the subscribers of a service, which do not receive messages yet.

        Raises:
            ConfigError: there is no broker, or it lacks a feature that an option requires.
        """
        if not subscriptions_of(type(service)):
            return []
        if self._subscribers is None:
            gate = self._served.gate
            subscribers = registered("server", "Subscribers")
            self._subscribers = subscribers(gate.dispatcher.broker, gate, **self._bounds)
        made: list[Any] = self._subscribers.add(names, service)
        return made

    async def begin(self, made: list[Any]) -> None:
        """Start to receive messages. Raises ConfigError if the broker lacks a required feature."""
        if made:
            await self._subscribers.begin(made)

    def begin_soon(self, made: list[Any]) -> None:
        """Start to receive messages in one of the next iterations of the loop."""
        if made:
            self._subscribers.begin_soon(made)

    async def stop_taking(self) -> None:
        """Receive no further messages."""
        if self._subscribers is not None:
            await self._subscribers.stop_taking()

    async def stop(self, seconds: float | None, name: str | None = None) -> bool:
        """End the subscribers of one service or of all; return whether each handler ended in time."""
        return self._subscribers is None or bool(await self._subscribers.stop(name, seconds))

    def forget(self) -> None:
        """Forget all services, so that `made_for` starts again."""
        self._subscribers = None


def check_broker(broker: Any) -> None:
    """Raise ConfigError unless this is a broker or the URL of a broker. Each process opens the broker only later."""
    if isinstance(broker, str):
        registered("server", "open_broker")(broker)
    elif not isinstance(broker, registered("server", "Broker")):
        raise ConfigError(
            f"broker is a {type(broker).__name__}, it must be a URL or a Broker",
            hint="write broker='broker://127.0.0.1:8971', or pass the value of `async with … as broker`",
        )
