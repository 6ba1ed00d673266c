"""All subscribers of one server."""

import asyncio
import contextvars
import logging
from collections.abc import Iterable
from typing import Any

from fastrpc._core.server.gate import Gate
from fastrpc.brokers.broker import Broker
from fastrpc.brokers.subscribers.method import SubscribedMethod
from fastrpc.brokers.subscribers.subscriber import Subscriber
from fastrpc.errors import ConfigError
from fastrpc.rpc.aliases import ServiceNames
from fastrpc.rpc.background.subscribing import subscriptions_of

__all__ = ["Subscribers"]

logger = logging.getLogger("fastrpc.broker")


class Subscribers:
    """The subscribers of the services of a server.

    Args:
        broker: the open broker; None if the server has no broker.
        depth, items: the most depth and the most items of values.
    """

    def __init__(self, broker: Broker | None, gate: Gate, *, depth: int, items: int) -> None:
        self._broker = broker
        self._gate = gate
        self._limits = {"depth": depth, "items": items}
        self._by_service: dict[str, list[Subscriber]] = {}
        self._beginning: set[asyncio.Task[None]] = set()

    def add(self, names: ServiceNames, service: Any) -> list[Subscriber]:
        """Create the subscribers of a service. They take no messages before `begin`.

        Raises:
            ConfigError: there is no broker, or it lacks a feature that an option requires.
        """
        cls = type(service)
        made: list[Subscriber] = []
        known = self._by_service.setdefault(names.name, [])
        for attribute, subscription in subscriptions_of(cls).items():
            method = SubscribedMethod(cls, names, attribute, subscription)
            if self._broker is None:
                raise ConfigError(
                    f"{method.name} is a subscriber, and the server has no broker",
                    hint="give the URL of one, broker='broker://127.0.0.1:8971', which fastrpc broker serves; "
                    "in a test, give what fastrpc.testing.broker() yields",
                )
            handler = getattr(service, attribute)
            made.append(Subscriber(self._broker, self._gate, method, handler, **self._limits))
            known.append(made[-1])
        return made

    async def begin(self, subscribers: Iterable[Subscriber]) -> None:
        """Start to take messages. Raises the errors of `Subscriber.begin`."""
        await asyncio.gather(*(one.begin() for one in subscribers))

    def begin_soon(self, subscribers: Iterable[Subscriber]) -> None:
        """Start to take messages in a task. If a subscriber cannot start, the error is logged."""
        task = asyncio.get_running_loop().create_task(
            self._begin_logged(subscribers), context=contextvars.Context()
        )
        self._beginning.add(task)
        task.add_done_callback(self._beginning.discard)

    async def stop_taking(self) -> None:
        """Stop taking messages."""
        await asyncio.gather(*(one.stop_taking() for made in self._by_service.values() for one in made))

    async def stop(self, service: str | None, seconds: float | None) -> bool:
        """Stop the subscribers of one service or of all services. Return True if no handler was cancelled."""
        names = list(self._by_service) if service is None else [service]
        made = [one for name in names for one in self._by_service.pop(name, ())]
        return all(await asyncio.gather(*(one.stop(seconds) for one in made)))

    async def _begin_logged(self, subscribers: Iterable[Subscriber]) -> None:
        try:
            await self.begin(subscribers)
        except Exception as error:
            logger.error("a subscriber that was added cannot start: %s", error)
