"""What the links of both pools have in common."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from fastrpc._core.fleet import Fleet
from fastrpc._core.selector import ConsistentHashSelector, DoubleJumpSelector, JumpHashSelector, UserSelector
from fastrpc.endpoint import Endpoint
from fastrpc.errors import FastRPCError

__all__ = [
    "KEYED",
    "LOOK_SECONDS",
    "REACH_HINT",
    "choose_warm",
    "links_of",
    "trouble_at",
    "wanted_links",
    "what_came_of",
    "with_left",
    "without_frames",
]

#: Selectors that place calls by what the endpoints are, not by which of them is at hand.
KEYED = (ConsistentHashSelector, JumpHashSelector, DoubleJumpSelector, UserSelector)

#: How often it is looked whether the registry failed, as long as it has named nobody yet.
LOOK_SECONDS = 0.05

#: Addresses that one message names.
MOST_NAMED = 100

#: What to do where no connection came in time.
REACH_HINT = "check that the address is right and a server runs there, or give it more time"


class _Link(Protocol):
    endpoint: Endpoint
    error: FastRPCError | None
    rank: float
    is_warm: bool


L = TypeVar("L", bound=_Link)


def links_of(fleet: Fleet, make: Callable[[Endpoint], L]) -> list[L]:
    """Return the links of all endpoints of a fleet; those that have none yet get one."""
    links = []
    for candidate in fleet.candidates:
        if candidate.link is None:
            candidate.link = make(candidate.endpoint)
            candidate.link.candidate = candidate
        candidate.link.endpoint = candidate.endpoint
        links.append(candidate.link)
    return links


def wanted_links(fleet: Fleet, links: Sequence[L]) -> list[L]:
    """Return the links of the endpoints that the selector may ever pick, given that all are in good health."""
    endpoints: Sequence[Endpoint] = [link.endpoint for link in links]
    for narrow in fleet.selector.filters:
        endpoints = narrow(endpoints, lambda _: True)
    addresses = {endpoint.address for endpoint in endpoints}
    return [link for link in links if link.endpoint.address in addresses]


def with_left(usual: Sequence[L], fleet: Fleet) -> list[L]:
    """Return these links and those of the endpoints that the filters leave now: in need a zone is not enough."""
    known = set(usual)
    left = (candidate.link for candidate in fleet.left)
    return [*usual, *(link for link in left if link is not None and link not in known)]


def choose_warm(links: Sequence[_Link], count: int) -> None:
    """Say which endpoints stay connected: by an order of each client's own, which no change of the list disturbs."""
    for place, link in enumerate(sorted(links, key=lambda link: link.rank)):
        link.is_warm = place < count


def without_frames(error: FastRPCError) -> FastRPCError:
    """Return an error that is to be kept: the frames it came through would keep all calls that are in them."""
    each: BaseException | None = error
    while each is not None:
        each.__traceback__ = None
        each = each.__cause__ or each.__context__
    return error


def what_came_of(links: Sequence[_Link]) -> str:
    """Name addresses and why there is no connection; of very many the first."""
    text = "; ".join(trouble_at(link.endpoint, link.error) for link in links[:MOST_NAMED])
    return text if len(links) <= MOST_NAMED else f"{text}; and {len(links) - MOST_NAMED} more"


def trouble_at(endpoint: Endpoint, error: FastRPCError | None) -> str:
    """Name an endpoint and its error, which mostly names it already."""
    text = "no answer yet" if error is None else error.message
    return text if str(endpoint) in text else f"{endpoint}: {text}"
