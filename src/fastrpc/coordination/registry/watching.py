"""Wake the handlers that wait for changes of services."""

import contextlib
from collections.abc import Iterable, Iterator

from fastrpc.server.wakeup import Wakeup, Watchers

__all__ = ["ServiceWatchers"]


class ServiceWatchers:
    """The handlers that wait for changes of one service or of several."""

    def __init__(self) -> None:
        #: The waiting handlers, by service.
        self.by_service: dict[str, Watchers] = {}

    def wake(self, service: str) -> None:
        """Wake the handlers that watch a service."""
        watchers = self.by_service.get(service)
        if watchers is not None:
            watchers.wake()

    @contextlib.contextmanager
    def watching(self, service: str) -> Iterator[Wakeup]:
        """Yield a wake-up for the current handler, which every change of the service wakes."""
        watchers = self.by_service.setdefault(service, Watchers())
        try:
            with watchers.watching() as wakeup:
                yield wakeup
        finally:
            if not watchers and self.by_service.get(service) is watchers:
                del self.by_service[service]

    @contextlib.contextmanager
    def watching_many(self, services: Iterable[str]) -> Iterator[tuple[Wakeup, dict[str, None]]]:
        """Yield a wake-up for the current handler, and the services to check: first all, then those with changes."""
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
    """Records changes of one service for a handler that follows several services."""

    def __init__(self, service: str, changed: dict[str, None], wakeup: Wakeup) -> None:
        self._service = service
        self._changed = changed
        self._wakeup = wakeup

    def wake(self) -> None:
        self._changed[self._service] = None
        self._wakeup.wake()
