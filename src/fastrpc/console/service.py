"""The services of the console: views for callers, with details and without; acts on servers."""

import hashlib
import time
from typing import Annotated, Any, Final

import msgspec

from fastrpc.console.acts import ActAnswer, act_on
from fastrpc.console.blocks import Block, View
from fastrpc.console.fleet import Fleet
from fastrpc.console.views import console, method, server, service, services, store
from fastrpc.console.views.base import Asked, Show, quoted
from fastrpc.errors import CallError
from fastrpc.rpc.marking import method as marked_method
from fastrpc.rpc.service import service as marked_service
from fastrpc.status import Status

__all__ = ["VIEWS", "ConsoleActService", "ConsoleDetailService", "ConsoleService", "made_view"]

#: Pages such as `/docs` neither show nor keep the value of such a parameter.
_SECRET: Final = msgspec.Meta(extra_json_schema={"format": "password"})

#: The views by name.
VIEWS: Final[dict[str, Show]] = {
    "services": services.view,
    "service": service.view,
    "method": method.view,
    "server": server.view,
    "store": store.view,
    "console": console.view,
}


async def made_view(
    fleet: Fleet, name: str, arguments: dict[str, str], after: str = "", *, is_detailed: bool
) -> View:
    """Return a view.

    Args:
        after: the revision that the reader has; if it is still current, the view has no blocks.

    Raises:
        CallError: there is no such view, or an argument is missing or wrong.
    """
    show = VIEWS.get(name)
    if show is None:
        raise CallError(
            Status.NOT_FOUND, f"there is no view {quoted(name)}", hint=f"the views are {', '.join(VIEWS)}"
        )
    title, blocks = await show(Asked(fleet, arguments, is_detailed))
    revision = _revision_of(title, blocks)
    return View(title, None if revision == after else blocks, revision, time.time())


def _revision_of(title: str, blocks: list[Block]) -> str:
    return hashlib.blake2b(msgspec.json.encode([title, blocks]), digest_size=8).hexdigest()


@marked_service("fastrpc.console", version="1")
class ConsoleService:
    """The figures of a fleet as views."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    @marked_method(idempotent=True)
    async def view(self, name: str, arguments: dict[str, str] | None = None, after: str = "") -> View:
        """Return a view without peers, identities, logs, settings and keys."""
        return await made_view(self._fleet, name, arguments or {}, after, is_detailed=False)


@marked_service("fastrpc.console.detail", version="1")
class ConsoleDetailService:
    """The same views with their details."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    @marked_method(idempotent=True)
    async def view(self, name: str, arguments: dict[str, str] | None = None, after: str = "") -> View:
        """Return a view with peers, identities, logs, settings and keys."""
        return await made_view(self._fleet, name, arguments or {}, after, is_detailed=True)


@marked_service("fastrpc.console.act", version="1")
class ConsoleActService:
    """Changes of servers, by the rights of the operator who calls."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    @marked_method
    async def act(
        self, name: str, servers: list[str], values: dict[str, Any], token: Annotated[str, _SECRET]
    ) -> list[ActAnswer]:
        """Ask servers for an act, and return the answer of each.

        Args:
            name: out, in, weight, serving, log_level, drain or roll.
            servers: the addresses of their admin pages, as http://host:port or tcp://host:port, or by TLS as https://
                or tls://.
            values: the body of `POST /act/NAME`.
            token: an operator's token for these servers, which is passed to them and not kept.
        """
        return await act_on(self._fleet, name, servers, values, token)
