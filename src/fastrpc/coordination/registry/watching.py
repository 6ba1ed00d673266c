"""The handlers that stream the lists of services; changes of these services wake the handlers."""

import contextlib
from collections.abc import Iterable, Iterator

from fastrpc.server.wakeup import Wakeup, Watchers

__all__ = ["ServiceWatchers"]


class ServiceWatchers:
    """The handlers that wait for changes of one service or of several."""

    def __init__(self) -> None:
        #: The handlers of each service that has any.
        self.by_service: dict[str, Watchers] = {}

    def wake(self, service: str) -> None:
        """Wake the handlers that watch a service."""
        watchers = self.by_service.get(service)
        if watchers is not None:
            watchers.wake()

    @contextlib.contextmanager
    def watching(self, service: str) -> Iterator[Wakeup]:
        """Yield the wake-up of the present handler, which is woken at every change of a service."""
        watchers = self.by_service.setdefault(service, Watchers())
        try:
            with watchers.watching() as wakeup:
                yield wakeup
        finally:
            if not watchers and self.by_service.get(service) is watchers:
                del self.by_service[service]

    @contextlib.contextmanager
    def watching_many(self, services: Iterable[str]) -> Iterator[tuple[Wakeup, dict[str, None]]]:
        """Yield the wake-up of the present handler, and the services to check: first all, then changed ones."""
        changed = dict.fromkeys(services)
        with Watchers().watching() as wakeup:
            notes = {service: _Note(service, changed, wakeup) for service in changed}
            try:
                for service, note in notes.items():
                    self.by_service.setdefault(service, Watchers()).add(note)
                yield wakeup, changed
            finally:
                for service, note in notes.items():
                    watchers = self.by_service.get(service)
                    if watchers is not None:
                        watchers.discard(note)
                        if not watchers:
                            del self.by_service[service]


class _Note:
    """Notes the changes of one service for a handler that follows several."""

    def __init__(self, service: str, changed: dict[str, None], wakeup: Wakeup) -> None:
        self._service = service
        self._changed = changed
        self._wakeup = wakeup

    def wake(self) -> None:
        self._changed[self._service] = None
        self._wakeup.wake()
